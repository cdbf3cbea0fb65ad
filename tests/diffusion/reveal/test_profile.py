"""The measured profile: the true one within its error, and too large for a wrong network."""

import math
from itertools import pairwise

import pytest
import torch

from vqlearn.diffusion.exact.examples import WORLDS
from vqlearn.diffusion.exact.profile import exact_profile
from vqlearn.diffusion.kernels import absorbing as absorbing_matrices
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.profile import InformationProfile, measured_profile
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial


def process_of(num_codes, schedule=absorbing):
    return MaskAndReplace(build_schedule(schedule(num_codes, 8)))


def held_out(world, count, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.multinomial(world.distribution, count, replacement=True, generator=generator)
    return world.states[rows]


@pytest.mark.parametrize("name", ["twins", "parity", "chain"])
def test_with_the_true_denoiser_it_is_the_true_profile(name):
    """4,000 sequences, 5 standard errors: it fails for less than one seed in 100,000."""
    world = WORLDS[name]()
    process = process_of(world.num_codes)
    model = DiffusionModel(process, world.denoiser(process), num_positions=world.num_positions)
    x = held_out(world, 4000, seed=1)
    found = measured_profile(model, x, generator=torch.Generator().manual_seed(2))
    error = (found.nats - exact_profile(world).nats).abs()
    assert (error <= 5 * found.standard_error + 1e-12).all()
    assert (found.standard_error < 0.02).all()


def test_a_wrong_network_has_a_larger_cross_entropy():
    world = WORLDS["chain"]()
    asked = []

    def uniform(x_t, t):
        masked = (x_t == 3).sum(dim=-1)
        assert (masked == masked[0]).all()
        if masked[0] < 4:  # every sequence shows positions of its own
            assert not (x_t == 3).eq(x_t[0] == 3).all()
        asked.append((int(masked[0]), t))
        return torch.zeros(*x_t.shape, 3)

    model = DiffusionModel(process_of(3), uniform, num_positions=4)
    found = measured_profile(model, held_out(world, 50, seed=3))
    assert asked == [(4, 8), (3, 6), (2, 4), (1, 2)]
    assert found.nats.tolist() == pytest.approx([math.log(3)] * 4, abs=1e-6)
    assert (found.nats > exact_profile(world).nats).all()
    assert found.cost((4,)) == pytest.approx(0, abs=1e-6)  # it knows of no dependence


def test_the_order_of_a_sequence_is_one_for_all_numbers():
    seen = []

    def remember(x_t, t):
        seen.append(x_t == 3)
        return torch.zeros(*x_t.shape, 3)

    model = DiffusionModel(process_of(3), remember, num_positions=4)
    x = held_out(WORLDS["chain"](), 50, seed=4)
    measured_profile(model, x, generator=torch.Generator().manual_seed(5))
    for before, after in pairwise(seen):
        assert (after <= before).all()  # what is shown stays shown
    first = (seen[0] & ~seen[1]).float().mean(dim=0)
    assert (first > 0).all()  # and any position may come first


def test_the_error_is_that_of_a_mean_over_sequences():
    """Every token of a sequence costs the same, and sequences differ: tokens are no sample."""
    log_p = torch.tensor([0.7, 0.2, 0.1]).log()
    model = DiffusionModel(process_of(3), lambda x, t: log_p.expand(*x.shape, 3), num_positions=4)
    x = torch.tensor([0, 1, 2, 2])[:, None].expand(4, 4)
    found = measured_profile(model, x)
    expected = (-log_p.double())[[0, 1, 2, 2]]
    assert found.nats.tolist() == pytest.approx([float(expected.mean())] * 4, abs=1e-6)
    error = float(expected.std() / 2)
    assert found.standard_error.tolist() == pytest.approx([error] * 4, abs=1e-6)


def profile_of(*nats):
    nats = torch.tensor(nats, dtype=torch.float64)
    return InformationProfile(nats, torch.zeros_like(nats))


def test_the_cost_by_hand():
    profile = profile_of(1.0, 0.7, 0.4, 0.3)
    assert profile.cost((1, 1, 1, 1)) == pytest.approx(0, abs=1e-12)
    assert profile.cost((1, 3)) == pytest.approx(0.3 + 0.4)
    assert profile.cost((2, 2)) == pytest.approx(0.3 + 0.1)
    assert profile.cost((4,)) == pytest.approx(0.3 + 0.6 + 0.7)


def measured(schedule=absorbing, x=((0, 1, 2, 0), (1, 1, 1, 1))):
    model = DiffusionModel(
        process_of(3, schedule), lambda x, t: torch.zeros(*x.shape, 3), num_positions=4
    )
    return measured_profile(model, torch.tensor(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: profile_of(1.0, 0.5).cost((1, 2)), "sum of the tokens is 3; allowed: 2 positions"),
        (lambda: profile_of(1.0, 0.5).cost((2, 0)), "tokens of a step is 0; allowed: 1 or more"),
        (lambda: measured(x=((0, 1, 2, 0),)), "number of sequences is 1; allowed: 2 or more"),
        (lambda: measured(x=((0, 1), (1, 1))), "x has 2 positions; allowed: 4"),
        (lambda: measured(x=((0, 1, 2, 3), (1, 1, 1, 1))), "x holds 0 to 3; allowed: 0 to 2"),
        (lambda: measured(multinomial), "gamma_bar does not grow"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_profile_needs_mask():
    model = DiffusionModel(absorbing_matrices(3, 4), lambda x, t: x, num_positions=4)
    with pytest.raises(TypeError, match="the process of a profile is"):
        measured_profile(model, torch.zeros(2, 4, dtype=torch.long))
