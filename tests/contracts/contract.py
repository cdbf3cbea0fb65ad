"""What every token model promises, each promise as one function that fails if it is broken."""

from dataclasses import replace

import pytest
import torch
from contracts.cases import STATES, Case, K, N

from vqlearn.autoregressive.decoding import sequential_log_likelihood
from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.model import AutoregressiveModel, dependence
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.probability.model import (
    PLAIN,
    ClassConditioning,
    Condition,
    Conditioning,
    Given,
    Sampling,
    TokenModel,
)

COUNT = 20_000
GUIDED = Sampling(guidance_scale=2.0, truncation_rate=0.9, num_inference_steps=2)
UNGUIDED = Sampling(truncation_rate=0.8, num_inference_steps=2)
ONE = torch.tensor([[0, 2, 1, 1]])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def it_is_a_token_model(case: Case, model: TokenModel) -> None:
    assert isinstance(model, TokenModel)
    assert (model.num_codes, model.num_positions) == (K, N)
    assert model.exact is (case.prior is None)


def all_sequences_have_probability_one(case: Case, model: TokenModel) -> None:
    """The enumeration, plain and filtered; for exact models also what `nll` says of all K^n."""
    for sampling in (PLAIN, GUIDED if case.is_conditional else UNGUIDED):
        assert case.exact(case, model, sampling).sum().item() == pytest.approx(1, abs=1e-9)
    if model.exact:
        nll = model.nll(STATES, case.condition(len(STATES)))
        assert nll.neg().exp().sum().item() == pytest.approx(1, abs=1e-9)


def nll_is_minus_log_p_or_above_it(case: Case, model: TokenModel) -> None:
    """Equal to 1e-9 if exact. Else the mean of 4,000 estimates, 5 sigma; never far above it."""
    log_p = case.exact(case, model, PLAIN).log()
    if model.exact:
        nll = model.nll(STATES, case.condition(len(STATES)))
        torch.testing.assert_close(nll, -log_p, rtol=0, atol=1e-9)
        return
    nll = model.nll(ONE.expand(4000, -1), case.condition(4000), generator=seeded(0))
    index = (STATES == ONE).all(dim=1)
    spread = 5 * nll.std() / len(nll) ** 0.5
    assert nll.mean() + spread >= -log_p[index].item()
    assert nll.mean() < -log_p[index].item() + 10


def samples_follow_the_exact_distribution(case: Case, model: TokenModel) -> None:
    """20,000 samples, each of 81 counts within 5 sigma (and 1): a right model fails 1 in 20,000."""
    for sampling in (PLAIN, GUIDED if case.is_conditional else UNGUIDED):
        p = case.exact(case, model, sampling).clamp(0, 1)
        x = model.sample(COUNT, case.condition(COUNT), sampling=sampling, generator=seeded(3))
        found = torch.bincount(x @ K ** torch.arange(N - 1, -1, -1), minlength=len(STATES))
        assert ((found - COUNT * p).abs() <= 5 * (COUNT * p * (1 - p)).sqrt() + 1).all()


def given_tokens_stay(case: Case, model: TokenModel) -> None:
    where = torch.rand(200, N, generator=seeded(4)) < 0.5
    given = Given(torch.randint(K, (200, N), generator=seeded(5)), where)
    x = model.sample(200, case.condition(200), given=given, generator=seeded(6))
    assert torch.equal(x[where], given.tokens[where])
    assert not torch.equal(x[~where], given.tokens[~where])


def a_given_prefix_conditions_an_autoregressive_model(case: Case, model: TokenModel) -> None:
    """Two tokens are given: the other two follow p(x_3, x_4 | x_1, x_2), 5 sigma."""
    if not isinstance(model, AutoregressiveModel):
        return
    given = Given.prefix(ONE.expand(COUNT, -1), 2)
    x = model.sample(COUNT, case.condition(COUNT), given=given, generator=seeded(7))
    p = case.exact(case, model, PLAIN) * (STATES[:, :2] == ONE[:, :2]).all(dim=1)
    p = p / p.sum()
    found = torch.bincount(x @ K ** torch.arange(N - 1, -1, -1), minlength=len(STATES))
    assert ((found - COUNT * p).abs() <= 5 * (COUNT * p * (1 - p)).sqrt() + 1).all()


def no_position_depends_on_itself_or_a_later_one(case: Case, model: TokenModel) -> None:
    """By gradients with respect to the vectors of the tokens, where causality is claimed."""
    if isinstance(model, ImageBART):
        scale = model.scales[0]
        text = None if not case.reads_text else case.condition(1).text
        encoded = scale.encode(scale.embed(ONE), text)
        output, inputs = lambda h: scale.from_embedding(h[None], encoded)[0], scale.embed(ONE)[0]
    elif isinstance(model, AutoregressiveModel):
        text = (case.condition(1).text,) if case.reads_text else ()
        output, inputs = lambda h: model.from_embedding(h[None], *text)[0], model.embed(ONE)[0]
    else:
        return
    depends = dependence(output, inputs.detach())
    assert not depends.triu().any()
    assert depends[1:, :-1].tril().diagonal().all()  # each looks at the token before it


def a_decoder_says_what_one_call_says(case: Case, model: TokenModel) -> None:
    """Token by token, with a KV cache where there is one, as for all positions at once."""
    condition = case.condition(len(STATES))
    if isinstance(model, ImageBART):
        x_t = STATES.flip(0)
        decoder = model.decoder(x_t, 1, condition)
        log_probs = model.log_probs(STATES, x_t, 1, condition)
    elif isinstance(model, AutoregressiveModel):
        decoder, log_probs = model.decoder(condition), model.log_probs(STATES, condition)
    else:
        return
    at_once = log_probs.gather(-1, STATES[..., None]).sum(dim=(1, 2))
    one_by_one = sequential_log_likelihood(decoder, STATES)
    torch.testing.assert_close(one_by_one, at_once, rtol=0, atol=1e-9)


def unwanted_conditions(case: Case, model: TokenModel) -> list[Condition | None]:
    """No condition for a model that needs one; captions and labels for those that read none."""
    found = [None] if case.is_conditional else []
    if not case.reads_text:
        found.append(Conditioning(torch.zeros(2, 2, 5).double()))
    if isinstance(model, DiffusionModel) and not case.reads_classes:
        found.append(ClassConditioning(torch.zeros(2, dtype=torch.long)))
    return found


def wrong_input_is_refused(case: Case, model: TokenModel) -> None:
    condition, given = case.condition(2), Given(STATES[:2], STATES[:2] >= 0)
    ask = (lambda x, c: model.loss(x, c, generator=seeded(0)), lambda x, c: model.nll(x, c))
    for call in ask:
        for tokens in (STATES[:2] + K, STATES[:2] - 1, STATES[:2, :3]):
            with pytest.raises(ValueError, match="allowed"):
                call(tokens, condition)
        for unwanted in unwanted_conditions(case, model):
            with pytest.raises(ValueError, match="allowed"):
                call(STATES[:2], unwanted)
    for count, options in (
        (0, {}),
        (2, {"given": Given(STATES[:3], STATES[:3] >= 0)}),
        (2, {"given": Given(STATES[:2] + K, STATES[:2] >= 0)}),
        (2, {"given": given, "sampling": Sampling(guidance_scale=2.0)}),
    ):
        told = condition
        if told is not None:  # without its null embedding or class there is no guidance
            told = replace(told, null=None)
        with pytest.raises(ValueError, match="allowed"):
            model.sample(count, told, **options)
    if case.is_conditional:
        with pytest.raises(ValueError, match="allowed: 3"):
            model.sample(3, condition)


def the_loss_is_the_nll_without_its_prior(case: Case, model: TokenModel) -> None:
    """n times the loss plus the prior's term is `nll`: to 1e-9, or on average within 5 sigma."""
    count = 1 if model.exact else 8000
    x, condition = ONE.expand(count, -1), case.condition(count)
    loss = N * model.loss(x, condition, generator=seeded(8)).detach()
    loss = loss if case.prior is None else loss + case.prior(model, x)
    nll = model.nll(x, condition, generator=seeded(9))
    if model.exact:
        torch.testing.assert_close(loss, nll, rtol=0, atol=1e-9)
    else:
        spread = (loss.var() / count + nll.var() / count).sqrt()
        assert abs(loss.mean() - nll.mean()) <= 5 * spread


PROMISES = (
    it_is_a_token_model,
    all_sequences_have_probability_one,
    nll_is_minus_log_p_or_above_it,
    samples_follow_the_exact_distribution,
    given_tokens_stay,
    a_given_prefix_conditions_an_autoregressive_model,
    no_position_depends_on_itself_or_a_later_one,
    a_decoder_says_what_one_call_says,
    wrong_input_is_refused,
    the_loss_is_the_nll_without_its_prior,
)
