"""ImageBART against enumeration: its distribution, its bound, its samples, and that it learns."""

import math
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from support.imagebart_toys import (
    BOTH,
    THREE_CODES,
    TINY,
    TINY_WITH_TEXT,
    TOYS,
    WITH_TEXT,
    assert_follows,
    captions,
    exact_p,
    seeded,
    spread_weights,
    steps_back,
    text_states,
    toy,
)

from vqlearn.autoregressive.decoding import exact_distribution, keep_given, without_cache
from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.model import log_likelihood
from vqlearn.diffusion import kernels
from vqlearn.diffusion.exact import world as exact_world
from vqlearn.diffusion.exact.world import ExactWorld, all_states
from vqlearn.diffusion.objective import prior_term
from vqlearn.probability.filters import guide, top_p
from vqlearn.probability.model import PLAIN, Conditioning, Given, Sampling, TokenModel


def forward_steps(config, alpha_bar=kernels.linear):
    """q(x_t | x_{t-1}) over whole sequences, from one position at a time, by loops."""
    codes, states = config.num_codes, all_states(config.num_codes, config.num_positions)
    kept = alpha_bar(config.num_scales)
    steps = []
    for t in range(1, config.num_scales + 1):
        alpha = float(kept[t] / kept[t - 1])
        step = torch.ones(len(states), len(states), dtype=torch.float64)
        for i, before in enumerate(states):
            for j, after in enumerate(states):
                for a, b in zip(before, after, strict=True):
                    step[i, j] *= alpha * float(a == b) + (1 - alpha) / codes
        steps.append(step)
    return steps


def exact_bound(model, alpha_bar=kernels.linear):
    """E log q(x_1 … x_T | x_0) / p(x_0 … x_T): over every path, with no KL of positions in
    sight."""
    forward = [matrix.tolist() for matrix in forward_steps(model.config, alpha_bar)]
    back = [matrix.tolist() for matrix in steps_back(model)]
    count = len(back[0])
    bound = torch.zeros(count, dtype=torch.float64)
    for path in product(range(count), repeat=len(back) + 1):
        q, log_ratio = 1.0, math.log(count)  # -log p(x_T)
        for t, (there, here) in enumerate(zip(forward, back, strict=True), start=1):
            step = there[path[t - 1]][path[t]]
            q *= step
            log_ratio += math.log(step) - math.log(here[path[t]][path[t - 1]])
        bound[path[0]] += q * log_ratio
    return bound


@TOYS
def test_the_distribution_sums_to_1_and_every_step_back_too(config):
    model = toy(config)
    for matrix in steps_back(model):
        torch.testing.assert_close(matrix.sum(dim=1), torch.ones(len(matrix)).double())
    assert abs(float(exact_p(model).sum()) - 1) < 1e-9


@TOYS
def test_the_bound_is_the_exact_one_on_average(config):
    """Within 5 standard errors of 4,000 draws for each sequence: fails once in 10⁵ runs or so."""
    model = toy(config)
    states = all_states(config.num_codes, config.num_positions)
    exact = exact_bound(model)
    assert (exact > -exact_p(model).log()).all()
    many, condition = states.repeat(4000, 1), captions(config)
    draws = model.nll(many, condition, generator=seeded(0)).view(4000, -1)
    error = draws.std(dim=0) / 4000**0.5
    assert ((draws.mean(dim=0) - exact).abs() < 5 * error).all()
    assert (error < 0.02 * exact).all()


def test_a_process_that_leaves_something_of_the_data_pays_for_it():
    """The prior term: noise that still knows the sequence is not the noise that one starts from."""

    def some_left(num_timesteps):
        return 1 - 0.7 * torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps

    model = toy(THREE_CODES)
    model.process = kernels.uniform(3, 2, alpha_bar=some_left)
    states = all_states(3, 2)
    draws = model.nll(states.repeat(4000, 1), generator=seeded(1)).view(4000, -1)
    losses = model.loss(states.repeat(4000, 1), generator=seeded(1)).view(4000, -1)
    prior = prior_term(model.process, states).sum(dim=1)
    assert (prior > 0.1).all()
    torch.testing.assert_close(2 * losses + prior, draws)
    error = draws.std(dim=0) / 4000**0.5
    assert ((draws.mean(dim=0) - exact_bound(model, some_left)).abs() < 5 * error).all()


def test_the_terms_of_a_sequence_are_those_of_its_scale_alone():
    """At t = 1 the term is -log p_1(x_0 | x_1); other scales do not matter to a term."""
    model = toy(TINY)
    x_0 = torch.tensor([[0, 1, 1], [1, 0, 1]])
    found = [model.term(x_0, t, generator=seeded(2)) for t in (1, 2, 3)]
    x_1 = model.process.corrupt(x_0, 1, generator=seeded(2))
    expected = -log_likelihood(model.log_probs(x_0, x_1, 1), x_0)
    torch.testing.assert_close(found[0], expected, rtol=1e-12, atol=1e-12)
    spread_weights(model.scales[2], seed=9)
    again = [model.term(x_0, t, generator=seeded(2)) for t in (1, 2, 3)]
    assert torch.equal(found[0], again[0])
    assert torch.equal(found[1], again[1])
    assert not torch.equal(found[2], again[2])


@TOYS
def test_samples_follow_the_exact_distribution(config):
    """Counts of 8,000 sequences within 5 sigma: fails once in 10⁵ runs or so."""
    model = toy(config)
    y = None if config.text_width is None else captions(config, 1).text.expand(8000, -1, -1)
    sequences = model.sample(8000, y if y is None else Conditioning(y), generator=seeded(3))
    assert sequences.shape == (8000, config.num_positions)
    distribution = exact_p(model)
    assert_follows(sequences, distribution, config.num_codes)
    assert (distribution.max() / distribution.min()) > 2  # far from noise, which would pass too


def test_each_sequence_follows_the_distribution_of_its_own_caption():
    """Two captions in turn, 8,000 sequences each, far apart; fails once in 10⁵ runs or so."""
    model = toy(TINY_WITH_TEXT)
    text = torch.cat([text_states(TINY_WITH_TEXT, 1, seed) for seed in (0, 1)]).repeat(8000, 1, 1)
    sequences = model.sample(16000, Conditioning(text), generator=seeded(3))
    distributions = [exact_p(model, seed) for seed in (0, 1)]
    for seed in (0, 1):
        assert_follows(sequences[seed::2], distributions[seed], 2)
    assert (distributions[0] - distributions[1]).abs().sum() > 0.2


def test_samples_are_those_of_the_generator():
    model = toy(TINY)
    state = torch.get_rng_state()
    first, second = (model.sample(6, generator=seeded(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, model.sample(6, generator=seeded(5)))
    assert torch.equal(torch.get_rng_state(), state)


def walk_distribution(model, condition, sampling, given=None):
    """The distribution of `sample` over all sequences: a matrix for each scale."""
    states = all_states(2, 3)
    distribution = torch.full((8,), 1 / 8, dtype=torch.float64)
    if given is not None:
        start = torch.zeros(8, dtype=torch.float64)
        positions = (given.keep(states) * torch.tensor([4, 2, 1])).sum(dim=1)
        distribution = start.index_add(0, positions, distribution)
    with torch.no_grad():
        for t in (3, 2, 1):
            steps = []
            for x_t in states:
                log_probs = partial(step_log_probs, model, x_t[None], t, condition, sampling)
                decoder = without_cache(log_probs, 3)
                decoder = decoder if given is None else keep_given(decoder, given)
                steps.append(exact_distribution(decoder, 2, 3))
            distribution = distribution @ torch.stack(steps)
    return distribution


def step_log_probs(model, x_t, t, condition, sampling, x):
    log_p = model.log_probs(x, x_t, t, condition)
    if sampling.is_guided:
        null = model.log_probs(x, x_t, t, Conditioning(condition.null))
        log_p = guide(log_p, null, sampling.guidance_scale)
    return top_p(log_p, sampling.truncation_rate)


def test_guidance_and_truncation_are_those_of_every_step_back():
    """8,000 sequences, wrong once in 10⁵ runs or so."""
    model, sampling = toy(TINY_WITH_TEXT), Sampling(1.5, 0.85)
    one = Conditioning(text_states(TINY_WITH_TEXT, 1, 0), text_states(TINY_WITH_TEXT, 1, 1))
    distribution = walk_distribution(model, one, sampling)
    many = replace(one, text=one.text.expand(8000, -1, -1))
    sequences = model.sample(8000, many, sampling=sampling, generator=seeded(1))
    assert_follows(sequences, distribution, 2)
    assert (distribution - exact_p(model)).abs().sum() > 0.1


@pytest.mark.parametrize("where", [[1, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]])
def test_given_tokens_stay_at_every_scale(where):
    """What the docstring of `sample` says, by enumeration: 8,000 sequences."""
    model = toy(TINY)
    given = Given(torch.tensor([[1, 0, 1]]), torch.tensor([where]).bool())
    distribution = walk_distribution(model, None, PLAIN, given)
    many = Given(given.tokens.repeat(8000, 1), given.where.repeat(8000, 1))
    sequences = model.sample(8000, given=many, generator=seeded(1))
    assert torch.equal(many.keep(sequences), sequences)
    assert_follows(sequences, distribution, 2)


def test_one_caption_serves_all_sequences_of_a_likelihood():
    model = spread_weights(ImageBART(WITH_TEXT).double())
    assert isinstance(model, TokenModel)
    assert not model.exact
    x, one, all_three = torch.randint(5, (3, 6), generator=seeded(0)), captions(WITH_TEXT), None
    all_three = Conditioning(one.text.expand(3, -1, -1))
    for ask in (
        lambda y: model.log_probs(x, x, 2, y),
        lambda y: model.term(x, 2, y, generator=seeded(1)),
        lambda y: model.loss(x, y, generator=seeded(1)),
        lambda y: model.nll(x, y, generator=seeded(1)),
    ):
        torch.testing.assert_close(ask(one), ask(all_three), rtol=1e-12, atol=1e-12)


@BOTH
def test_every_scale_has_weights_of_its_own_and_all_are_reached(config):
    torch.manual_seed(0)
    model, text = ImageBART(config), text_states(config, 20)
    condition = None if text is None else Conditioning(text.float())
    assert len(model.scales) == 3
    x_0 = torch.randint(5, (20, 6))
    model.loss(x_0, condition).mean().backward()
    for name, parameter in model.named_parameters():
        if not name.endswith("key.bias"):  # adds the same score to every key: softmax ignores it
            assert parameter.grad.abs().max() > 0, name
    model.zero_grad()
    model.term(x_0, 2, condition).mean().backward()
    reached = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {"1"}


def train(model, sequences, steps):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    generator = seeded(0)
    for _ in range(steps):
        x_0 = sequences[torch.randint(len(sequences), (64,), generator=generator)]
        optimizer.zero_grad()
        (3 * model.loss(x_0, generator=generator)).mean().backward()
        optimizer.step()
    return model


def test_sequences_are_learnt_almost_to_their_entropy():
    """Rows 000 and 111: 2.08 nats (3 log 2) by independent positions, 0.69 (log 2) at best.

    A step back that draws its positions independently cannot do it, however well it is taught: even
    with the true denoiser its bound is above 1.5 nats.
    """
    torch.manual_seed(0)
    config = replace(TINY, num_scales=2, width=16)
    sequences = torch.tensor([[0, 0, 0], [1, 1, 1]])
    model = train(ImageBART(config), sequences, 120).double()
    bound = float(exact_bound(model)[[0, 7]].mean())
    estimates = model.nll(sequences.repeat(100, 1), generator=seeded(1))
    table = torch.zeros(2, 2, 2)
    table[0, 0, 0] = table[1, 1, 1] = 0.5
    denoise = ExactWorld(table).denoiser(model.process)
    independent = float(exact_world.exact_bound(model.process, denoise, sequences).mean())
    assert math.log(2) < bound < 0.8
    assert independent > 1.5
    assert estimates.min() < -exact_p(model)[[0, 7]].log().max()  # one alone may be too low


def test_the_caption_is_learnt():
    """Rows 000 and 111, and the text says which: without it at best 0.69 nats, log 2."""
    torch.manual_seed(0)
    model = ImageBART(replace(TINY_WITH_TEXT, num_scales=2, width=16))
    optimizer, generator = torch.optim.Adam(model.parameters(), 1e-2), seeded(0)
    for _ in range(60):
        which = torch.randint(2, (64,), generator=generator)
        x_0, text = which[:, None].repeat(1, 3), torch.eye(2, 3)[which][:, None].repeat(1, 2, 1)
        nats = 3 * model.loss(x_0, Conditioning(text), generator=generator).mean()
        optimizer.zero_grad()
        nats.backward()
        optimizer.step()
    assert nats < 0.2


@pytest.mark.parametrize("num_scales", [1, 6])
def test_the_number_of_scales_is_2_to_5(num_scales):
    with pytest.raises(ValueError, match=f"num_scales is {num_scales}; allowed: 2, 3, 4, 5"):
        replace(TINY, num_scales=num_scales)
    for allowed in (2, 3, 4, 5):
        assert len(ImageBART(replace(TINY, num_scales=allowed)).scales) == allowed


def test_config_is_validated():
    for name in ("num_positions", "num_scales", "width", "num_layers", "num_heads"):
        for bad in (0, True):
            with pytest.raises(ValueError, match=f"{name} is {bad!r}; allowed: whole numbers of 1"):
                replace(TINY, **{name: bad})
    with pytest.raises(ValueError, match="num_codes is 1; allowed: whole numbers of 2"):
        replace(TINY, num_codes=1)
    with pytest.raises(ValueError, match="width is 8; allowed: multiples of num_heads, 3"):
        replace(TINY, num_heads=3)
    for name in ("text_width", "text_length"):
        for bad in (0, True):
            with pytest.raises(ValueError, match=f"{name} is {bad!r}; allowed: whole numbers of 1"):
                replace(TINY_WITH_TEXT, **{name: bad})
    with pytest.raises(ValueError, match="text_length is 2; allowed: 0 without text_width"):
        replace(TINY_WITH_TEXT, text_width=None)


def test_bad_text_raises():
    x, plain, model = torch.zeros(2, 3, dtype=torch.long), toy(TINY), toy(TINY_WITH_TEXT)

    def ways(model, condition):
        yield lambda: model.log_probs(x, x, 1, condition)
        yield lambda: model.decoder(x, 1, condition)
        yield lambda: model.term(x, 1, condition)
        yield lambda: model.loss(x, condition)
        yield lambda: model.nll(x, condition)
        yield lambda: model.sample(2, condition)

    for ask in ways(plain, captions(TINY_WITH_TEXT, 2)):
        with pytest.raises(ValueError, match="condition is a Conditioning; allowed: None"):
            ask()
    for ask in ways(model, None):
        with pytest.raises(ValueError, match="condition is None; allowed: a Conditioning"):
            ask()
    allowed, text = r"allowed: \(2, 2, 3\), \(1, 2, 3\)", text_states(TINY_WITH_TEXT, 2)
    for wrong in (text[:, :1], text[:, :, :2]):
        for ask in ways(model, Conditioning(wrong)):
            with pytest.raises(ValueError, match=rf"text is .*{wrong.shape[1]}.*; {allowed}"):
                ask()
    with pytest.raises(ValueError, match=f"text is None; {allowed}"):
        model.scales[0](x, x)


def test_bad_sequences_raise():
    model = toy(TINY)
    with pytest.raises(ValueError, match="x has 4 positions; allowed: 3"):
        model.nll(torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="holds 0 to 2; allowed: 0 to 1"):
        model.loss(torch.tensor([[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"holds 0 to 2; allowed: 0 to 1"):
        model.decoder(torch.tensor([[0, 1, 2]]), 1)
    with pytest.raises(ValueError, match=r"holds -1 to 0; allowed: 0 to 1"):
        model.scales[0].embed(torch.tensor([[0, -1, 0]]))
    with pytest.raises(ValueError, match="given has the shapes"):
        model.sample(3, given=Given(torch.zeros(2, 3).long(), torch.ones(2, 3).bool()))


@pytest.mark.parametrize("t", [0, 4])
def test_levels_outside_1_to_T_raise(t):
    with pytest.raises(ValueError, match=rf"level t is {t}; allowed: \d to 3"):
        toy(TINY).term(torch.zeros(1, 3, dtype=torch.long), t)
