"""DiffusionModel: process and network put together, in worlds that can be listed."""

import pytest
import torch

from vqlearn.diffusion.exact.examples import chain
from vqlearn.diffusion.exact.world import all_states, exact_bound
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper
from vqlearn.probability.filters import guide, top_p
from vqlearn.probability.log_probs import log_normalise
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


def test_guidance_and_truncation_are_those_of_the_filters(captioned):
    model, condition = captioned
    x_t = torch.randint(4, (3, 4), generator=seeded(0))
    levels = torch.full((3,), 2)
    conditional, unconditional = (
        log_normalise(model.network(x_t, levels, text))
        for text in (condition.text, condition.null_text())
    )
    expected = top_p(guide(conditional, unconditional, 2.0), 0.8)
    torch.testing.assert_close(model.denoiser(condition, Sampling(2.0, 0.8))(x_t, 2), expected)
    torch.testing.assert_close(model.denoiser(condition)(x_t, 2), conditional)


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
