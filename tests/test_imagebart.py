"""ImageBART against enumeration: its law, its bound, its samples, and what each place may see."""

import copy
import math
from dataclasses import replace
from functools import lru_cache
from itertools import product

import pytest
import torch

from vqlearn.autoregressive.imagebart import ImageBART, ImageBARTConfig, Scale
from vqlearn.autoregressive.raster import (
    dependence,
    exact_law,
    log_likelihood,
    reread,
    sequential_log_likelihood,
)
from vqlearn.diffusion import exact_world, kernels
from vqlearn.diffusion.exact_world import ExactWorld, all_states

TINY = ImageBARTConfig(
    num_codes=2,
    num_positions=3,
    num_scales=3,
    width=8,
    num_layers=1,
    num_heads=2,
)
THREE_CODES = replace(TINY, num_codes=3, num_positions=2, num_scales=2)
TOYS = pytest.mark.parametrize("config", [TINY, THREE_CODES], ids=["K2 n3 T3", "K3 n2 T2"])
SMALL = replace(TINY, num_codes=5, num_positions=6, num_layers=2)


def spread_weights(module, seed=0):
    """Large random weights everywhere, biases and norms included, so that no term is hidden."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(0.5 * noise + 0.1)
    return module


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@lru_cache
def taught(config):
    """Each step back learns a little to redraw 3 tokens in 10 and take the running maximum."""
    model, chance = spread_weights(ImageBART(config), seed=1), seeded(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    x_t = all_states(config.num_codes, config.num_positions).repeat(4, 1)
    for _ in range(60):
        wrong = torch.randint(config.num_codes, x_t.shape, generator=chance)
        keep = torch.rand(x_t.shape, generator=chance) > 0.3
        x = torch.where(keep, x_t, wrong).cummax(dim=1).values
        levels = range(1, config.num_scales + 1)
        loss = -sum(log_likelihood(model.conditionals(x_t, t), x).mean() for t in levels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.double()


def toy(config):
    """A small chain far from noise; a place depends on $x_t$ and on the place before it."""
    return copy.deepcopy(taught(config))


def steps_back(model):
    """p_t(x_{t-1} | x_t) as matrices, from x_t (rows) to x_{t-1}, by `exact_law`; t = 1 first."""
    config = model.config
    states = all_states(config.num_codes, config.num_positions)

    def law(x_t, t):
        next_law = reread(model.conditionals(x_t[None], t), config.num_positions)
        return exact_law(next_law, config.num_codes, config.num_positions)

    with torch.no_grad():
        return [
            torch.stack([law(x_t, t) for x_t in states]) for t in range(1, config.num_scales + 1)
        ]


def exact_p(model):
    """p(x_0) of all rows: a sum over every path x_T … x_1 x_0, one product each."""
    matrices = [matrix.tolist() for matrix in steps_back(model)]
    count = len(matrices[0])
    p = [0.0] * count
    for path in product(range(count), repeat=len(matrices) + 1):  # x_0, x_1, … x_T
        weight = 1 / count
        for t, matrix in enumerate(matrices, start=1):
            weight *= matrix[path[t]][path[t - 1]]
        p[path[0]] += weight
    return torch.tensor(p, dtype=torch.float64)


def forward_steps(config, alpha_bar=kernels.linear):
    """q(x_t | x_{t-1}) over whole rows, from one place at a time, by loops."""
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
    """E log q(x_1 … x_T | x_0) / p(x_0 … x_T): over every path, with no KL of places in sight."""
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
def test_the_law_sums_to_1_and_every_step_back_too(config):
    model = toy(config)
    for matrix in steps_back(model):
        torch.testing.assert_close(matrix.sum(dim=1), torch.ones(len(matrix)).double())
    assert abs(float(exact_p(model).sum()) - 1) < 1e-9


@TOYS
def test_the_bound_is_the_exact_one_on_average(config):
    """Within 5 standard errors of 4,000 draws for each row: fails once in 10⁵ runs or so."""
    model = toy(config)
    states = all_states(config.num_codes, config.num_positions)
    exact = exact_bound(model)
    assert (exact > -exact_p(model).log()).all()
    with torch.no_grad():
        draws = model.bound(states.repeat(4000, 1), generator=seeded(0)).view(4000, -1)
    error = draws.std(dim=0) / 4000**0.5
    assert ((draws.mean(dim=0) - exact).abs() < 5 * error).all()
    assert (error < 0.02 * exact).all()


def test_a_process_that_leaves_something_of_the_data_pays_for_it():
    """The prior term: noise that still knows the row is not the noise that one starts from."""

    def some_left(num_timesteps):
        return 1 - 0.7 * torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps

    model = toy(THREE_CODES)
    model.process = kernels.uniform(3, 2, alpha_bar=some_left)
    states = all_states(3, 2)
    with torch.no_grad():
        draws = model.bound(states.repeat(4000, 1), generator=seeded(1)).view(4000, -1)
    error = draws.std(dim=0) / 4000**0.5
    assert ((draws.mean(dim=0) - exact_bound(model, some_left)).abs() < 5 * error).all()


def test_the_terms_of_a_row_are_those_of_its_scale_alone():
    """At t = 1 the term is -log p_1(x_0 | x_1); other scales do not matter to a term."""
    model = toy(TINY)
    x_0 = torch.tensor([[0, 1, 1], [1, 0, 1]])
    found = [model.term(x_0, t, generator=seeded(2)) for t in (1, 2, 3)]
    x_1 = model.process.corrupt(x_0, 1, generator=seeded(2))
    expected = -log_likelihood(model.conditionals(x_1, 1), x_0)
    torch.testing.assert_close(found[0], expected, rtol=1e-12, atol=1e-12)
    spread_weights(model.scales[2], seed=9)
    again = [model.term(x_0, t, generator=seeded(2)) for t in (1, 2, 3)]
    assert torch.equal(found[0], again[0])
    assert torch.equal(found[1], again[1])
    assert not torch.equal(found[2], again[2])


@TOYS
def test_samples_follow_the_exact_law(config):
    """Counts of 8,000 rows within 5 sigma: fails once in 10⁵ runs or so."""
    model = toy(config)
    rows = model.sample((8000, config.num_positions), generator=seeded(3))
    assert rows.shape == (8000, config.num_positions)
    places = config.num_codes ** torch.arange(config.num_positions - 1, -1, -1)
    law = exact_p(model)
    counts = torch.bincount((rows * places).sum(dim=1), minlength=len(law))
    sigma = (8000 * law * (1 - law)).sqrt()
    assert ((counts - 8000 * law).abs() < 5 * sigma).all()
    assert (law.max() / law.min()) > 2  # far from noise, which would pass too


def test_samples_are_those_of_the_generator():
    model = toy(TINY)
    state = torch.get_rng_state()
    first, second = (model.sample((6, 3), generator=seeded(4)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, model.sample((6, 3), generator=seeded(5)))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.sample((0, 3)).shape == (0, 3)


def test_the_decoder_sees_all_of_x_t_and_only_earlier_places_of_its_own_row():
    scale = spread_weights(Scale(SMALL).double())
    earlier = torch.ones(6, 6).tril(-1).bool()
    own, noisy, both_sides = torch.zeros(3, 6, 6).bool()
    for seed in range(3):
        h, h_t = torch.randn(2, 6, 8, generator=seeded(seed), dtype=torch.float64)
        encoded = scale.encode(h_t[None])
        both_sides |= dependence(lambda h_t: scale.encode(h_t[None])[0], h_t)
        own |= dependence(lambda h, e=encoded: scale.from_embedding(h[None], e)[0], h)
        noisy |= dependence(
            lambda h_t, h=h: scale.from_embedding(h[None], scale.encode(h_t[None]))[0], h_t
        )
    assert torch.equal(own, earlier)
    assert both_sides.all()
    assert noisy.all()


def test_no_token_of_the_row_reaches_its_own_place_or_an_earlier_one():
    scale = spread_weights(Scale(SMALL).double())
    x, x_t = torch.randint(5, (2, 1, 6), generator=seeded(0))
    before = scale(x, x_t)
    for place in range(6):
        changed = x.clone()
        changed[0, place] = (x[0, place] + 1) % 5
        moved = (scale(changed, x_t) - before).abs().amax(dim=-1)[0] > 1e-9
        assert moved.tolist() == [i > place for i in range(6)]


def test_places_are_told_apart_in_both_rows():
    """The same tokens everywhere: only positions can make a difference, left or right."""
    scale = spread_weights(Scale(SMALL).double())
    same = torch.zeros(1, 6, dtype=torch.long)
    encoded = scale.encode(scale.embed(same))[0]
    scores = scale(same, same)[0]
    for i in range(5):
        assert (encoded[i] - encoded[i + 1]).abs().max() > 1e-3
        assert (scores[i] - scores[i + 1]).abs().max() > 1e-3
    h, encoded = scale.embed(same), encoded[None]
    before = scale.from_embedding(h, encoded)
    with torch.no_grad():
        scale.position_embedding.weight[4] *= -2
    moved = (scale.from_embedding(h, encoded) - before).abs().amax(dim=-1)[0] > 1e-9
    assert moved.tolist() == [False] * 4 + [True] * 2


def test_the_whole_row_at_once_or_token_by_token_is_the_same():
    model = spread_weights(ImageBART(SMALL).double())
    x, x_t = torch.randint(5, (2, 4, 6), generator=seeded(1))
    for t in (1, 2, 3):
        conditionals = model.conditionals(x_t, t)
        expected = model.scales[t - 1](x, x_t).log_softmax(dim=-1)
        torch.testing.assert_close(conditionals(x), expected, rtol=0, atol=1e-9)
        at_once = log_likelihood(conditionals, x)
        one_by_one = sequential_log_likelihood(reread(conditionals, 6), x)
        torch.testing.assert_close(at_once, one_by_one, rtol=0, atol=1e-9)
        for i in range(4):
            alone = model.conditionals(x_t[i : i + 1], t)
            torch.testing.assert_close(log_likelihood(alone, x)[i], at_once[i], rtol=0, atol=1e-9)


def test_every_scale_has_weights_of_its_own_and_all_are_reached():
    torch.manual_seed(0)
    model = ImageBART(SMALL)
    assert len(model.scales) == 3
    x_0 = torch.randint(5, (20, 6))
    model.bound(x_0).mean().backward()
    for name, parameter in model.named_parameters():
        if not name.endswith("key.bias"):  # adds the same score to every key: softmax ignores it
            assert parameter.grad.abs().max() > 0, name
    model.zero_grad()
    model.term(x_0, 2).mean().backward()
    reached = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {"1"}


def test_fresh_weights_are_those_of_the_denoiser():
    """A normal with standard deviation 0.02, biases 0: 3,200 numbers or more, within 10 %."""
    torch.manual_seed(0)
    scale = Scale(replace(SMALL, num_codes=50, num_positions=50, width=64))
    for name, parameter in scale.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif parameter.numel() >= 3200:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name


def train(model, rows, steps):
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    chance = seeded(0)
    for _ in range(steps):
        x_0 = rows[torch.randint(len(rows), (64,), generator=chance)]
        optimiser.zero_grad()
        model.bound(x_0, generator=chance).mean().backward()
        optimiser.step()
    return model


def test_rows_are_learnt_almost_to_their_entropy():
    """Rows 000 and 111: 2.08 nats (3 log 2) by independent places, 0.69 (log 2) at best.

    A step back that draws its places independently cannot do it, however well it is taught: even
    with the true denoiser its bound is above 1.5 nats.
    """
    torch.manual_seed(0)
    config = replace(TINY, num_scales=2, width=16)
    rows = torch.tensor([[0, 0, 0], [1, 1, 1]])
    model = train(ImageBART(config), rows, 120).double()
    bound = float(exact_bound(model)[[0, 7]].mean())
    with torch.no_grad():
        estimates = model.bound(rows.repeat(100, 1), generator=seeded(1))
    table = torch.zeros(2, 2, 2)
    table[0, 0, 0] = table[1, 1, 1] = 0.5
    denoise = ExactWorld(table).denoiser(model.process)
    independent = float(exact_world.exact_bound(model.process, denoise, rows).mean())
    assert math.log(2) < bound < 0.8
    assert independent > 1.5
    assert estimates.min() < -exact_p(model)[[0, 7]].log().max()  # one alone may be too low


@pytest.mark.parametrize("num_scales", [1, 6])
def test_the_number_of_scales_is_2_to_5(num_scales):
    with pytest.raises(ValueError, match=f"num_scales is {num_scales}; allowed: 2 to 5"):
        replace(TINY, num_scales=num_scales)
    for allowed in (2, 3, 4, 5):
        assert len(ImageBART(replace(TINY, num_scales=allowed)).scales) == allowed


def test_config_is_validated():
    for name in ("num_positions", "num_scales", "width", "num_layers", "num_heads"):
        for bad in (0, True):
            with pytest.raises(ValueError, match=f"{name} is {bad!r}; it must be an integer >= 1"):
                replace(TINY, **{name: bad})
    with pytest.raises(ValueError, match="num_codes is 1; it must be an integer >= 2"):
        replace(TINY, num_codes=1)
    with pytest.raises(ValueError, match="width is 8; it must be a multiple of num_heads, 3"):
        replace(TINY, num_heads=3)


def test_bad_rows_raise():
    model = toy(TINY)
    with pytest.raises(ValueError, match="x has 4 positions; allowed: 3"):
        model.bound(torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="x_0 holds 0 to 2; allowed: 0 to 1"):
        model.bound(torch.tensor([[0, 1, 2]]))
    with pytest.raises(ValueError, match=r"tokens span 0\.\.2; allowed are 0\.\.1"):
        model.conditionals(torch.tensor([[0, 1, 2]]), 1)
    with pytest.raises(ValueError, match=r"tokens span -1\.\.0; allowed are 0\.\.1"):
        model.scales[0].embed(torch.tensor([[0, -1, 0]]))
    with pytest.raises(ValueError, match="x has 5 positions; allowed: 3"):
        model.sample((2, 5))


@pytest.mark.parametrize("t", [0, 4])
def test_levels_outside_1_to_T_raise(t):
    with pytest.raises(ValueError, match=rf"level t is {t}; allowed: \d to 3"):
        toy(TINY).term(torch.zeros(1, 3, dtype=torch.long), t)
