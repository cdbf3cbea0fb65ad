"""Importance sampling of levels: the right distribution, the right weights, an exact memory."""

import pytest
import torch

from vqlearn.diffusion.level_sampling import LEAST_COUNT, UNIFORM_SHARE, ImportanceSampler

LOSSES = torch.tensor([1.0, 4.0, 0.5, 2.0], dtype=torch.float64)


def taught(losses=LOSSES):
    """A history that has seen each level ten times with the same loss."""
    levels = ImportanceSampler(len(losses))
    t = torch.arange(1, len(losses) + 1)
    for _ in range(LEAST_COUNT):
        levels.update(t, losses)
    return levels


def test_levels_are_even_until_each_was_seen_ten_times():
    levels = ImportanceSampler(4)
    t = torch.arange(1, 5)
    for _ in range(LEAST_COUNT - 1):
        levels.update(t, LOSSES)
    levels.update(t[:3], LOSSES[:3])
    assert levels.probabilities().tolist() == [0.25] * 4
    levels.update(t[3:], LOSSES[3:])
    assert levels.probabilities().tolist() != [0.25] * 4


def test_the_distribution_follows_the_root_of_the_mean_square():
    expected = (1 - UNIFORM_SHARE) * LOSSES / LOSSES.sum() + UNIFORM_SHARE / 4
    torch.testing.assert_close(taught().probabilities(), expected)


def test_the_history_is_a_running_mean_of_squares():
    levels = ImportanceSampler(2)
    levels.update(torch.tensor([2, 2]), torch.tensor([3.0, 5.0]))
    assert levels.squares.tolist() == pytest.approx([0.0, 0.9 * 9 + 0.1 * 25])
    assert levels.counts.tolist() == [0, 2]


def test_weights_make_the_mean_unbiased():
    """Exactly: each level's weight is read off a draw, and the sum over the distribution is
    formed."""
    levels = taught()
    drawn = levels.draw(4000, generator=torch.Generator().manual_seed(0))
    weights = dict(zip(drawn.t.tolist(), drawn.weight.tolist(), strict=True))
    distribution = levels.probabilities()
    mean = sum(distribution[t - 1] * weights[t] * LOSSES[t - 1] for t in range(1, 5))
    assert mean.item() == pytest.approx(LOSSES.mean().item(), rel=1e-6)
    assert max(weights.values()) <= 1 / UNIFORM_SHARE


def test_a_batch_is_spread_as_evenly_as_the_distribution_allows():
    levels = taught()
    for seed in range(20):
        drawn = levels.draw(64, generator=torch.Generator().manual_seed(seed))
        counts = torch.bincount(drawn.t, minlength=5)[1:]
        assert ((counts - 64 * levels.probabilities()).abs() < 1).sum() >= 2
        assert (counts - 64 * levels.probabilities()).abs().max() <= 1


def test_one_position_of_the_batch_has_the_whole_distribution():
    """4,000 batches of 3; each share is within 5 standard deviations: fails once in 10^6 seeds."""
    levels = taught()
    generator = torch.Generator().manual_seed(1)
    first = torch.stack([levels.draw(3, generator=generator).t[0] for _ in range(4000)])
    distribution = levels.probabilities()
    share = torch.bincount(first, minlength=5)[1:] / 4000
    assert (
        (share - distribution).abs() < 5 * (distribution * (1 - distribution) / 4000).sqrt()
    ).all()


def test_it_makes_an_uneven_loss_less_noisy():
    losses = torch.cat([torch.full((98,), 0.01), torch.tensor([5.0, 10.0])]).double()

    def spread(levels):
        generator = torch.Generator().manual_seed(2)
        means = []
        for _ in range(500):
            drawn = levels.draw(8, generator=generator)
            means.append((drawn.weight * losses[drawn.t - 1]).mean())
        return torch.stack(means).std()

    assert spread(taught(losses)) < 0.2 * spread(ImportanceSampler(100))


def test_the_memory_can_be_saved_and_goes_on_exactly():
    again = ImportanceSampler(4)
    again.load_state_dict(taught().state_dict())
    drawn = [m.draw(9, generator=torch.Generator().manual_seed(3)) for m in (taught(), again)]
    assert torch.equal(drawn[0].t, drawn[1].t)
    assert torch.equal(drawn[0].weight, drawn[1].weight)


def test_the_history_keeps_its_type_and_stays_on_the_cpu():
    levels = taught()
    squares = levels.squares.clone()
    assert torch.equal(levels.half().to("meta").squares, squares)
    assert levels.squares.dtype == torch.float64


def test_no_levels_are_refused():
    with pytest.raises(ValueError, match="num_timesteps is 0"):
        ImportanceSampler(0)
