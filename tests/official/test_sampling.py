"""The second sampler against sums over all tokens in double precision, and by hand."""

from functools import cache

import pytest
import torch
from official import sampling
from official.sizes import DenoiserSizes
from official.values import schedule_buffers

SIZES = DenoiserSizes("unconditional", codes=3, width=16, blocks=1, grid=2, position_rows=4)
MASK, T = 3, 100
STATE = schedule_buffers(SIZES)


@cache
def totals():
    """Rows of q(x_t | x_0) for t = 0 … T, from the two lines that define the schedule."""
    matrices = [torch.eye(4, dtype=torch.float64)]
    for step in range(T):
        keep = 0.99999 + step / (T - 1) * (0.000009 - 0.99999)
        mask = 0.000009 + step / (T - 1) * (0.99999 - 0.000009)
        matrix = torch.full((4, 4), (1 - keep - mask) / 3, dtype=torch.float64)
        matrix += keep * torch.eye(4, dtype=torch.float64)
        matrix[:, MASK] = mask
        matrix[MASK] = torch.eye(4, dtype=torch.float64)[MASK]
        matrices.append(matrix)
    return matrices


def one_step(t):
    """Rows of q(x_t | x_{t-1}): what takes the total of t - 1 to that of t."""
    return torch.linalg.solve(totals()[t - 1], totals()[t])


def enumerated_reverse(p_x0, x_t, t):
    """Σ over x_0 of p(x_0) q(x_{t-1} | x_0) q(x_t | x_{t-1}) / q(x_t | x_0), level t = 1 … T."""
    sums = torch.zeros(4, dtype=torch.float64)
    for x_0 in range(3):
        for previous in range(4):
            path = totals()[t - 1][x_0, previous] * one_step(t)[previous, x_t]
            sums[previous] += p_x0[x_0] * path / totals()[t][x_0, x_t]
    return sums


def test_the_buffers_are_shares_of_one_step_and_of_all():
    for t in range(1, T + 1):
        for prefix, matrix in (("log_", one_step(t)), ("log_cumprod_", totals()[t])):
            shares = (STATE[f"{prefix}{name}"][t - 1].double().exp() for name in ("at", "bt", "ct"))
            keep, replace, mask = shares
            assert keep + replace == pytest.approx(matrix[0, 0].item(), rel=1e-4)
            assert replace == pytest.approx(matrix[0, 1].item(), rel=2e-3)  # a difference of shares
            assert mask == pytest.approx(matrix[0, MASK].item(), rel=1e-4)
            assert keep + 3 * replace + mask == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("level", [1, 2, 3, 40, 99, 100])
@pytest.mark.parametrize("x_t", [0, 2, MASK])
def test_reverse_is_the_sum_over_all_x0(level, x_t):
    p_x0 = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    log_p = sampling.with_mask(p_x0.log().float(), sampling.FLOOR)[None, None]
    found = sampling.reverse(STATE, log_p, torch.tensor([[x_t]]), torch.tensor([level - 1]))
    expected = enumerated_reverse(p_x0, x_t, level)
    assert expected.sum() == pytest.approx(1)
    torch.testing.assert_close(found[0, 0].double().exp(), expected, atol=1e-5, rtol=3e-3)


def test_reverse_of_truncated_probabilities_is_not_normalised():
    """What truncation cut off is missing from the sum: here 0.4."""
    log_p = torch.tensor([0.6, 0.3, 0.1, 0]).log().clamp(min=sampling.FLOOR)[None, None]
    cut = sampling.truncate(log_p, 0.5)
    found = sampling.reverse(STATE, cut, torch.tensor([[MASK]]), torch.tensor([49]))
    assert found.exp().sum() == pytest.approx(0.6, abs=1e-5)


def test_truncation_keeps_classes_until_their_mass_reaches_the_rate():
    log_p = torch.tensor([0.2, 0.5, 0.05, 0.25]).log()
    kept = {rate: sampling.truncate(log_p, rate) > sampling.FLOOR for rate in (0, 0.4, 0.6, 0.8, 1)}
    assert kept[0].tolist() == kept[0.4].tolist() == [False, True, False, False]
    assert kept[0.6].tolist() == [False, True, False, True]
    assert kept[0.8].tolist() == [True, True, False, True]
    assert kept[1].all()
    assert (sampling.truncate(log_p, 0.8)[kept[0.8]] == log_p[kept[0.8]]).all()


def test_guidance_of_two_distributions():
    conditional, null = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.25, 0.5])
    pair = [sampling.with_mask(p.log(), sampling.FLOOR) for p in (conditional, null)]
    expected = conditional**3 / null**2
    guided = sampling.guide(*pair, 3.0).exp()
    torch.testing.assert_close(guided[:3], expected / expected.sum())
    assert guided[3] < 1e-30
    torch.testing.assert_close(sampling.guide(*pair, 1.0)[:3].exp(), conditional)
    torch.testing.assert_close(sampling.guide(*pair, 0.0)[:3].exp(), null)


def test_gumbel_noise_draws_from_the_distribution():
    """Fails once in 10⁵ runs or so, were the noise not seeded."""
    draws, p = 20_000, torch.tensor([0.6, 0.3, 0.1])
    uniform = torch.rand(draws, 3, generator=torch.Generator().manual_seed(0))
    tokens = (sampling.gumbel(uniform) + p.log()).argmax(dim=-1)
    gap = (torch.bincount(tokens, minlength=3) - draws * p).abs()
    assert (gap < 5 * (draws * p * (1 - p)).sqrt()).all()


def test_a_chain_that_is_sure_ends_where_it_was_sure():
    """All MASK at first, no MASK at the end, and what p(x_0) says."""
    sure = torch.tensor([[2, 0, 1, 1], [0, 1, 2, 0]])
    log_p = sampling.log_one_hot(sure, 4)
    uniforms = torch.rand(T, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    path = [x for _, x in sampling.reverse_steps(STATE, lambda x_t, t: log_p, uniforms)]
    masked = [(x == MASK).float().mean().item() for x in path]
    assert masked[0] > 0.5
    assert masked == sorted(masked, reverse=True)
    assert (path[-1] == sure).all()


def test_a_chain_visits_all_levels_downwards_with_the_tokens_it_drew():
    seen = []

    def predict(x_t, t):
        seen.append((x_t, t[0].item()))
        return torch.tensor([0.6, 0.3, 0.1, 1e-30]).log().expand(1, 4, 4)

    uniforms = torch.rand(T, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    drawn = [x for _, x in sampling.reverse_steps(STATE, predict, uniforms)]
    assert [t for _, t in seen] == list(reversed(range(T)))
    assert (seen[0][0] == MASK).all()
    for (x_t, _), previous in zip(seen[1:], drawn, strict=False):
        assert (x_t == previous).all()
    with pytest.raises(ValueError, match="zip"):
        sampling.sample(STATE, predict, uniforms[1:])
