"""Half a sequence to complete: what is corrupted, what stays, and from which level it goes on."""

import itertools

import pytest
import torch
from support.imagebart_toys import seeded

from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.imagebart_scale import ImageBARTConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve
from vqlearn.diffusion import kernels
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.sampler import levels_to_visit, step
from vqlearn.diffusion.schedule import build_schedule, multinomial, paper
from vqlearn.experiments import processes as made
from vqlearn.experiments.face_off.halves import (
    Half,
    choose,
    complete_part,
    corrupt_half,
    corrupt_rest,
    half,
    half_level,
    with_errors,
)
from vqlearn.experiments.processes import Codes
from vqlearn.probability.model import Conditioning, Given, Sampling
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig

K, N, T, COUNT = 5, 16, 20, 40
TEXT = torch.randn(COUNT, 3, 6, generator=seeded(1))
CONDITION = Conditioning(TEXT, torch.randn(1, 3, 6, generator=seeded(2)))
GUIDED = Sampling(1.5, 0.9, 7)
X = torch.randint(K, (COUNT, N), generator=seeded(3))
KNOWN = torch.rand(COUNT, N, generator=seeded(4)) < 0.5


def spread(model):
    generator = seeded(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) / 2)
    return model.eval().requires_grad_(False)


def raster():
    return spread(RasterTransformer(RasterTransformerConfig(K, N, 6, 3, 8, 1, 2)))


def imagebart(scales=3):
    return spread(ImageBART(ImageBARTConfig(K, N, scales, 8, 1, 2, 6, 3)))


def diffusion(schedule=paper):
    config = DenoiserConfig(
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=4,
        cross_attention_dim=6,
        attention_bias=True,
        num_vector_embeds=K + 1,
        sample_size=4,
        num_embeds_ada_norm=T,
    )
    process = MaskAndReplace(build_schedule(schedule(K, T)))
    return spread(DiffusionModel(process, Denoiser(config)))


MODELS = {
    "raster": raster,
    "imagebart": imagebart,
    "mask and replace": diffusion,
    "multinomial": lambda: diffusion(multinomial),
}


# what is corrupted


def test_for_a_raster_network_the_lower_half_is_corrupted():
    start = corrupt_half(raster(), X, seeded(0))
    assert torch.equal(start.x, X)
    assert (start.held, start.level) == (False, 0)
    assert torch.equal(start.known, (torch.arange(N) < 8).expand_as(X))


@pytest.mark.parametrize("name", ["imagebart", "mask and replace", "multinomial"])
def test_a_process_corrupts_half(name):
    model = MODELS[name]()
    start = corrupt_half(model, X, seeded(0))
    assert start.level == half_level(model.process, X) > 0
    assert torch.equal(start.x, model.process.corrupt(X, start.level, generator=seeded(0)))
    assert torch.equal(start.known, start.x == X)
    assert 0.3 < float(start.known.double().mean()) < 0.7
    assert not start.held


@pytest.mark.parametrize("name", MODELS)
def test_what_is_hidden_is_noise_and_what_is_known_stays(name):
    model = MODELS[name]()
    start = corrupt_rest(model, X, KNOWN, seeded(0))
    assert start.held
    assert torch.equal(start.x[KNOWN], X[KNOWN])
    assert torch.equal(start.known, KNOWN)
    if name == "raster":
        return
    other = corrupt_rest(model, (X + 1) % K, KNOWN, seeded(0))
    assert torch.equal(start.x[~KNOWN], other.x[~KNOWN])  # it does not depend on the truth
    probability = model.process.log_prior().exp()
    counts = start.x[~KNOWN].bincount(minlength=len(probability)).double()
    total = counts.sum()
    sigma = (total * probability * (1 - probability)).sqrt()
    assert ((counts - total * probability).abs() <= 5 * sigma).all()


class FadingProcess(MaskAndReplace):
    """A token is kept with `kept[t]`, code 0 more than code 1; noise is always code 1."""

    def __init__(self, *kept):
        self.kept, self.num_timesteps = kept, len(kept) - 1
        self.num_codes = self.num_classes = 2

    def log_marginal(self, x_0, t):
        up, down = self.kept[t] + 0.1, self.kept[t] - 0.1
        table = torch.tensor([[up, 1 - up], [1 - down, down]], dtype=torch.float64)
        return table.log()[x_0]

    def log_prior(self):
        return torch.tensor([0.0, 1.0], dtype=torch.float64).log()


def test_the_half_level_is_the_nearest_to_half_of_these_tokens():
    both = torch.tensor([[0, 1], [1, 0]])
    for kept, level in (
        ((0.9, 0.6, 0.5, 0.4), 2),
        ((0.9, 0.5001, 0.4998, 0.4), 1),
        ((0.9, 0.5002, 0.4999, 0.4), 2),
        ((0.9, 0.6, 0.4), 1),  # the first of equals
        ((0.9, 0.3, 0.2), 1),
        ((0.9, 0.8, 0.7), 2),
    ):
        assert half_level(FadingProcess(*kept), both) == level
    fading = FadingProcess(0.9, 0.7, 0.6, 0.5, 0.4, 0.3)  # code 0 is kept more, code 1 less
    for x, level in (([1, 1], 2), ([0, 1], 3), ([0, 0], 4), ([0, 0, 0, 0, 1], 4)):
        x = torch.tensor([x])
        assert half_level(fading, x) == level


@pytest.mark.parametrize(("scales", "level"), [(2, 1), (3, 2), (4, 2)])
def test_the_half_level_of_an_imagebart_is_no_pure_noise(scales, level):
    """At level t of T the share t/T is drawn anew."""
    assert half_level(imagebart(scales).process, X) == level


def test_half_levels_of_the_systems():
    """Worked out from the schedules; the nearest neighbours from their matrices."""
    vqvae, codes = files.load_vqvae(resolve("scenes")), 384
    every = torch.arange(codes)[None]
    codes_of = Codes(codes, 100, vqvae.quantizer.codebook.weight)
    lines = [0.99999 - (0.99999 - 0.000009) * (t - 1) / 99 for t in range(1, 101)]
    paper_kept = [1 - t / 100 + 0.1 * t / 100 / codes for t in range(1, 101)]
    cosine = kernels.cosine(100)[1:]
    wanted = {
        made.released: lines,
        made.direct: lines,
        made.paper: paper_kept,
        made.absorbing: [1 - t / 100 for t in range(1, 101)],
        made.multinomial: (cosine + (1 - cosine) / codes).tolist(),
    }
    for make, kept in wanted.items():
        away = [round(abs(share - 0.5), 6) for share in kept]
        assert half_level(make(codes_of), every) == 1 + away.index(min(away))
    near = made.nearest_neighbour(codes_of)
    for x in (every, torch.tensor([[121, 364, 92, 121], [152, 13, 230, 230]])):
        level = half_level(near, x)
        kept = [
            near.products.between(0, t).diagonal()[x].mean().item() - 0.5
            for t in (level - 1, level, level + 1)
        ]
        assert kept[0] > kept[1] > kept[2]
        assert abs(kept[1]) <= min(abs(kept[0]), abs(kept[2]))
        assert abs(kept[1]) < 0.02


# how it goes on


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("schedule", [paper, multinomial])
def test_a_diffusion_goes_on_from_the_very_level(schedule, held):
    """Step by step by hand; held tokens are put back after every step."""
    model = diffusion(schedule)
    start = Half(X, KNOWN, held, level=9)
    found = complete_part(model, start, CONDITION, GUIDED, seeded(5))
    x, generator = X, seeded(5)
    denoise, levels = model.denoiser(CONDITION, GUIDED), levels_to_visit(9, 7)
    for t, s in itertools.pairwise(levels):
        x = step(model.process, denoise(x, t), x, (t, s), generator=generator)
        x = torch.where(KNOWN, X, x) if held else x
    assert torch.equal(found, x)
    assert (found == X)[KNOWN].all() == held


def test_there_are_not_more_steps_than_levels_are_left():
    seen, model = [], diffusion()
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    for level, calls in ((3, 3), (9, 7)):
        seen.clear()
        complete_part(model, Half(X, KNOWN, True, level), CONDITION, GUIDED, seeded(5))
        assert (seen[0], len(seen)) == (level, calls)


@pytest.mark.parametrize("held", [True, False])
def test_an_imagebart_goes_on_with_its_last_scales(held):
    model, given = imagebart(), Given(X, KNOWN) if held else None
    found = complete_part(model, Half(X, KNOWN, held, level=2), CONDITION, GUIDED, seeded(5))
    how = {"sampling": GUIDED, "generator": seeded(5)}
    assert torch.equal(found, model.sample_from(X, 2, CONDITION, given=given, **how))
    assert (found == X)[KNOWN].all() == held


@pytest.mark.parametrize("held", [True, False])
def test_a_raster_network_always_keeps_what_is_known(held):
    model = raster()
    found = complete_part(model, Half(X, KNOWN, held), CONDITION, GUIDED, seeded(5))
    how = {"sampling": GUIDED, "generator": seeded(5)}
    assert torch.equal(found, model.sample(COUNT, CONDITION, given=Given(X, KNOWN), **how))
    assert torch.equal(found[KNOWN], X[KNOWN])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", MODELS)
def test_cuda_completes_what_the_cpu_completes(name):
    """All in float64, and random numbers come from the CPU: not a token may differ."""
    model, there = MODELS[name]().double(), MODELS[name]().double().cuda()
    condition = Conditioning(TEXT.double(), CONDITION.null.double())
    condition_there = Conditioning(condition.text.cuda(), condition.null.cuda())
    for make, known in ((corrupt_half, ()), (corrupt_rest, (KNOWN,))):
        here = make(model, X, *known, seeded(2))
        moved = make(there, X.cuda(), *(each.cuda() for each in known), seeded(2))
        assert torch.equal(here.x, moved.x.cpu())
        found = complete_part(model, here, condition, GUIDED, seeded(3))
        found_there = complete_part(there, moved, condition_there, GUIDED, seeded(3))
        assert torch.equal(found, found_there.cpu())


# which tokens are errors


GRID = {
    "upper": {0, 1, 2, 3, 4, 5, 6, 7},
    "lower": {8, 9, 10, 11, 12, 13, 14, 15},
    "left": {0, 1, 4, 5, 8, 9, 12, 13},
    "right": {2, 3, 6, 7, 10, 11, 14, 15},
}


def test_halves_of_a_grid():
    for side, wanted in GRID.items():
        found = half(side, X)
        assert found.shape == X.shape
        assert all(set(row.nonzero()[:, 0].tolist()) == wanted for row in found)
    for x in (torch.zeros(2, n).long() for n in (16, 64, 25)):
        for a, b in (("upper", "lower"), ("left", "right")):
            assert (half(a, x) ^ half(b, x)).all()


def test_nothing_is_chosen_where_nothing_is_known():
    known = torch.tensor([[False, False, False], [False, True, False]])
    for seed in range(20):
        for name in ("one", "1.0"):
            assert torch.equal(choose(known, name, seeded(seed)), known)


def test_choose_takes_some_of_those_that_are_known():
    known = torch.rand(500, 20, generator=seeded(0)) < 0.5
    one = choose(known, "one", seeded(1))
    assert (one.sum(dim=1) == 1).all()
    assert not (one & ~known).any()
    counts = one.double().sum(dim=0)  # every position alike: 25 expected, 5 sigma
    assert ((counts - 25).abs() < 5 * (500 * 0.05 * 0.95) ** 0.5).all()
    for share in (0.0, 0.2, 1.0):
        some = choose(known, str(share), seeded(1))
        assert not (some & ~known).any()
        sigma = (share * (1 - share) / int(known.sum())) ** 0.5
        assert abs(float(some[known].double().mean()) - share) <= 5 * sigma


def test_an_error_is_any_other_code():
    """Every other code as often: 5 sigma of 20,000."""
    x = torch.arange(5).repeat(20000, 1)
    errors = torch.tensor([True, True, True, False, True]).expand_as(x)
    erroneous = with_errors(x, errors, 5, seeded(0))
    assert torch.equal(erroneous == x, ~errors)
    for code in (0, 1, 2, 4):
        counts = erroneous[:, code].bincount(minlength=5)
        others = counts[torch.arange(5) != code].double()
        assert ((others - 5000).abs() < 5 * (20000 * 0.25 * 0.75) ** 0.5).all()
