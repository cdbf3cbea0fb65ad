"""DiffusionModel: process and network put together, in worlds that can be listed."""

import pytest
import torch

from vqlearn.diffusion.exact.examples import chain
from vqlearn.diffusion.exact.world import all_states, exact_bound
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal import ChooseThenDraw, FixedCount, at_random
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper
from vqlearn.probability.filters import guide, top_p
from vqlearn.probability.log_probs import log_normalise, log_one_hot
from vqlearn.probability.model import Conditioning, Given, Sampling
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser

LEVELS = 6
CONFIG = DenoiserConfig(2, 4, 1, 5, True, 4, 2, LEVELS)  # K = 3, n = 4, text states of width 5


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def true_model(world, schedule):
    process = MaskAndReplace(build_schedule(schedule(world.num_codes, LEVELS)))
    return DiffusionModel(process, world.denoiser(process), num_positions=world.num_positions)


@pytest.fixture
def captioned():
    torch.manual_seed(0)
    network = Denoiser(CONFIG).double()
    process = MaskAndReplace(build_schedule(paper(3, LEVELS)))
    text, null = (torch.randn(b, 2, 5, dtype=torch.float64, generator=seeded(b)) for b in (3, 1))
    return DiffusionModel(process, network), Conditioning(text, null)


@pytest.mark.parametrize("schedule", [paper, absorbing, multinomial])
def test_nll_estimates_the_exact_bound(schedule):
    """4,000 estimates for one sequence: the mean is within 5 standard errors."""
    world = chain()
    model = true_model(world, schedule)
    x = torch.tensor([[0, 0, 2, 2]])
    exact = exact_bound(model.process, model.denoiser(), x)
    nll = model.nll(x.expand(4000, -1), generator=seeded(0))
    assert abs(nll.mean() - exact) <= 5 * nll.std() / 4000**0.5


def test_given_tokens_condition_a_chain_of_masks():
    """With a step for every token (T much larger than n) the rest follows p(x | given)."""
    world, count = chain(), 20_000
    process = MaskAndReplace(build_schedule(absorbing(3, 200)))
    model = DiffusionModel(process, world.denoiser(process), num_positions=4)
    states = all_states(3, 4)
    where = torch.tensor([False, True, False, True])
    given = Given(torch.tensor([[0, 2, 0, 0]]).expand(count, -1), where.expand(count, -1))
    fits = (states[:, 1] == 2) & (states[:, 3] == 0)
    expected = world.distribution * fits / world.distribution[fits].sum()
    x = model.sample(count, given=given, generator=seeded(1))
    assert (x[:, where] == torch.tensor([2, 0])).all()
    found = torch.bincount(x @ torch.tensor([27, 9, 3, 1]), minlength=81)
    spread = (count * expected * (1 - expected)).sqrt()
    # two tokens come out in one step of 200 in about 1 of 200 sequences
    assert ((found - count * expected).abs() <= 5 * spread + count / 200 * (expected > 0)).all()


def test_given_tokens_stay_in_every_step():
    model = true_model(chain(), multinomial)
    tokens, where = torch.full((5, 4), 2), torch.tensor([[True, False, False, True]]).expand(5, -1)
    noise = torch.zeros(5, 4, dtype=torch.long)
    for _, x in model.steps(noise, [LEVELS, 3, 0], given=Given(tokens, where), generator=seeded(0)):
        assert (x[where] == 2).all()


def conditional_and_not(model, condition, x_t, t):
    """What the network says with the captions, and without: log p(x_0 | x_t), twice."""
    texts, levels = (condition.text, condition.null_text()), torch.full((len(x_t),), t)
    return [log_normalise(model.network(x_t, levels, text)) for text in texts]


def test_guidance_and_truncation_are_those_of_the_filters(captioned):
    model, condition = captioned
    x_t = torch.randint(4, (3, 4), generator=seeded(0))
    conditional, unconditional = conditional_and_not(model, condition, x_t, 2)
    expected = top_p(guide(conditional, unconditional, 2.0), 0.8)
    torch.testing.assert_close(model.denoiser(condition, Sampling(2.0, 0.8))(x_t, 2), expected)
    torch.testing.assert_close(model.denoiser(condition)(x_t, 2), conditional)


def test_guidance_then_truncation_then_the_rule(captioned):
    """What a rule is shown is guided, then truncated; what is drawn is what the rule makes of it.

    This one makes a certain code of everything: anything that came after it would be seen.
    """
    model, condition = captioned
    x_t, seen = torch.full((3, 4), model.process.mask), []

    def certain(log_p_x0):
        seen.append(log_p_x0)
        return log_one_hot(torch.full(x_t.shape, 2), 3, log_p_x0.dtype)

    rule, sampling = ChooseThenDraw(FixedCount(4), at_random, certain), Sampling(4.0, 0.5)
    ((_, x_0),) = model.steps(x_t, rule, condition, sampling=sampling, generator=seeded(0))
    assert (x_0 == 2).all()
    conditional, unconditional = conditional_and_not(model, condition, x_t, LEVELS)
    torch.testing.assert_close(seen[0], top_p(guide(conditional, unconditional, 4.0), 0.5))
    swapped = guide(top_p(conditional, 0.5), top_p(unconditional, 0.5), 4.0)
    assert not torch.allclose(swapped.exp(), seen[0].exp(), atol=1e-3)


def test_the_scale_may_be_a_function_of_the_level(captioned):
    """One level for the batch, or one for each sequence: each row has that of its own number."""
    model, condition = captioned
    x_t = torch.randint(4, (3, 4), generator=seeded(0))
    denoise, levels = model.denoiser(condition, Sampling(lambda t: t / 2, 0.9)), [1, 5, 2]
    several = denoise(x_t, torch.tensor(levels))
    for row, t in enumerate(levels):
        number = top_p(guide(*conditional_and_not(model, condition, x_t, t), t / 2), 0.9)
        torch.testing.assert_close(several[row], number[row])
        torch.testing.assert_close(denoise(x_t, t), number)


@pytest.mark.parametrize(
    ("answer", "error"), [(-1, ValueError), (float("nan"), ValueError), ("2", TypeError)]
)
def test_a_wrong_scale_at_any_level_is_refused_before_the_first_step(captioned, answer, error):
    model, condition = captioned
    asked = []
    model.network.register_forward_hook(lambda *_: asked.append(1))
    sampling = Sampling(lambda t: answer if t == 3 else 2.0, num_inference_steps=1)
    with pytest.raises(error, match=r"guidance_scale\(3\) is .*; allowed"):
        model.sample(3, condition, sampling=sampling)
    assert not asked


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5, 3.0, 5.0])
def test_guidance_on_the_step_unmasks_too_early(scale):
    r"""The paper prints guidance for the step, where MASK is a class; we guide x_0, as its code.

    On x_0 a token stays masked with m = 3/4, the share of the process, whatever is guided. On the
    step the codes weigh $(1 - m) \sum_j c_j^w u_j^{1-w}$ together, MASK weighs m. The sum over j is
    at least 1 from w = 1 on, and at most 1 below.
    """
    process = MaskAndReplace(build_schedule(absorbing(3, 4)))
    c, u = (torch.tensor([[p]], dtype=torch.float64) for p in ([0.7, 0.2, 0.1], [0.4, 0.3, 0.3]))
    x_t, levels = torch.tensor([[process.mask]]), (3, 4)

    on_x0 = process.log_reverse(guide(c.log(), u.log(), scale), x_t, *levels)
    on_step = guide(*(process.log_reverse(p.log(), x_t, *levels) for p in (c, u)), scale)

    assert on_x0.exp()[0, 0, -1].item() == pytest.approx(0.75, abs=1e-12)
    codes = 0.25 * (c**scale * u ** (1 - scale)).sum().item()
    stays = on_step.exp()[0, 0, -1].item()
    assert stays == pytest.approx(0.75 / (0.75 + codes), abs=1e-12)
    assert round(stays, 3) == {0.5: 0.76, 1.5: 0.723, 3: 0.572, 5: 0.312}.get(scale, 0.75)
    # Once a token is revealed, its code has the same distribution either way.
    torch.testing.assert_close(log_normalise(on_step[..., :-1]), log_normalise(on_x0[..., :-1]))


def test_levels_learn_in_training_mode_only(captioned):
    model, condition = captioned
    x = torch.zeros(3, 4, dtype=torch.long)
    before = model.levels.squares.clone()
    model.eval().loss(x, condition, generator=seeded(0))
    assert torch.equal(model.levels.squares, before)
    model.train().loss(x, condition, generator=seeded(0))
    assert not torch.equal(model.levels.squares, before)


def test_levels_remember_the_bound_without_its_weight(captioned, monkeypatch):
    """All at the last level, with a weight of 0: the loss is 0, the history gets the bound."""
    model, condition = captioned
    told, draw = [], model.levels.draw

    def last(count, *, generator):
        drawn = draw(count, generator=generator)
        return drawn._replace(t=torch.full((count,), LEVELS), weight=0 * drawn.weight)

    monkeypatch.setattr(model.levels, "draw", last)
    monkeypatch.setattr(model.levels, "update", lambda *pair: told.append(pair))
    x = torch.zeros(3, 4, dtype=torch.long)
    loss = model.train().loss(x, condition, generator=seeded(0))
    assert torch.equal(loss.detach(), torch.zeros(3, dtype=torch.float64))
    terms = model.terms(x, model.corrupted(x, generator=seeded(0)), condition)
    ((t, bound),) = told
    assert t.tolist() == [LEVELS] * 3
    assert torch.equal(bound, terms.bound.detach())
    assert (bound > 0).all()


def test_the_auxiliary_loss_counts_as_much_as_it_is_told(captioned):
    """T times its weight times 2 - (t - 1)/T."""
    model, condition = captioned
    x = torch.zeros(3, 4, dtype=torch.long)
    noisy = model.corrupted(x, generator=seeded(0))
    for weight in (0.0, 0.3):
        model.auxiliary_weight = weight
        terms = model.terms(x, noisy, condition)
        counted = LEVELS * weight * (2 - (noisy.t - 1) / LEVELS) * terms.auxiliary
        torch.testing.assert_close(terms.total, terms.bound + counted)


def test_what_does_not_fit_is_refused(captioned):
    model, condition = captioned
    sequences = SequenceDenoiser(SequenceConfig(3, 4, 4, LEVELS, 8, 1, 2))
    plain = DiffusionModel(model.process, sequences)
    x = torch.zeros(3, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="allowed: None, the network reads no text"):
        plain.nll(x, condition)
    with pytest.raises(ValueError, match="allowed: a Conditioning"):
        model.nll(x)
    with pytest.raises(ValueError, match="allowed with a guidance scale above 1"):
        plain.sample(3, sampling=Sampling(guidance_scale=2.0))
    with pytest.raises(ValueError, match="null is None"):
        model.sample(3, Conditioning(condition.text), sampling=Sampling(guidance_scale=2.0))
    two = Conditioning(condition.text, condition.text[:2])
    with pytest.raises(ValueError, match="null is 2 of 3; allowed: one, or one each"):
        model.sample(3, two, sampling=Sampling(guidance_scale=2.0))
    with pytest.raises(ValueError, match="captions is 3; allowed: 2"):
        model.sample(2, condition)
    with pytest.raises(ValueError, match="x holds 0 to 3; allowed: 0 to 2"):
        plain.loss(torch.tensor([[0, 0, 0, 3]]))
    with pytest.raises(ValueError, match="x has 3 positions; allowed: 4"):
        plain.nll(x[:, :3])
    with pytest.raises(ValueError, match="num_inference_steps is 7; allowed: 1 to 6"):
        plain.sample(2, sampling=Sampling(num_inference_steps=7))
    with pytest.raises(ValueError, match="given holds"):
        plain.sample(3, given=Given(x + 3, x == 0))
    with pytest.raises(ValueError, match="given has the shapes"):
        plain.sample(3, given=Given(x, x[:2] == 0))


def test_steps_are_taken_without_gradients(captioned):
    model, condition = captioned
    x_t = torch.full((len(condition), model.num_positions), model.process.mask)
    asked = []
    model.network.register_forward_hook(lambda *_: asked.append(torch.is_grad_enabled()))
    list(model.steps(x_t, [4, 0], condition))
    assert asked == [False]
