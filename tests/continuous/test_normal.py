"""Samples of the normal distribution and its KL divergence, against scipy and integrals."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from support.gaussian_toys import (
    GRID,
    SPACING,
    density,
    numbers,
)

from vqlearn.continuous.normal import Normal, kl_divergence, standard_normal


def test_draws_of_the_standard_normal_have_its_distribution():
    """200,000 draws; Kolmogorov-Smirnov at 1e-6: fails for one seed in a million."""
    draws = standard_normal((200_000,), generator=torch.Generator().manual_seed(0))
    assert draws.dtype == torch.float32
    assert stats.kstest(draws.double().numpy(), "norm").pvalue > 1e-6


def test_no_draw_is_infinite_even_at_the_ends_of_the_uniform(monkeypatch):
    for uniform in (0.0, 2**-53, 1 - 2**-53):
        value = torch.tensor([uniform], dtype=torch.float64)
        monkeypatch.setattr(torch, "rand", lambda *a, value=value, **k: value)
        found = standard_normal((1,)).item()
        assert abs(found) > 8
        assert math.isfinite(found)
        assert (found > 0) == (uniform > 0.5)


def test_kl_divergence_equals_the_integral():
    for (m_q, v_q), (m_p, v_p) in product([(0.2, 0.5), (-1.0, 0.04)], [(0.5, 0.1), (0.0, 1.0)]):
        q = density(GRID, m_q, v_q)
        where = q > 0
        log_p = stats.norm.logpdf(GRID[where], m_p, math.sqrt(v_p))
        expected = (q[where] * (np.log(q[where]) - log_p)).sum() * SPACING
        found = kl_divergence(
            Normal(numbers(m_q), numbers(v_q)), Normal(numbers(m_p), numbers(v_p))
        )
        assert found.item() == pytest.approx(expected, abs=1e-9)
