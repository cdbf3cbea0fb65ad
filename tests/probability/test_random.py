"""The one way to draw a token: with which frequency, and with which generator."""

import pytest
import torch

from vqlearn.probability import log_normalise, random_stream, sample_categorical


@pytest.mark.parametrize("factor", [7.0, 0.01])
def test_scores_that_are_not_normalised_are_drawn_in_proportion(factor):
    """20,000 draws: a share is off by more than .02 once in 10^8 seeds (5.6 standard errors)."""
    shares = torch.tensor([0.5, 0.2, 0.3])
    log_p = (shares * factor).log().expand(20_000, 1, 3)
    found = sample_categorical(log_p, generator=random_stream("here"))
    assert (torch.bincount(found.flatten()) / 20_000 - shares).abs().max() < 0.02


def test_draws_have_the_distribution_that_was_asked_for():
    """200,000 draws of each row; every count within 5 sigma.

    If the code is right this fails for about one seed in 100,000 (15 counts, 6e-7 each).
    """
    p = torch.tensor([[0.5, 0.3, 0.2, 0, 0], [0, 1, 0, 0, 0], [0.2] * 5], dtype=torch.float64)
    draws = 200_000
    rows = p.log()[:, None].expand(3, draws, 5)
    found = sample_categorical(rows, generator=torch.Generator().manual_seed(0))
    for row, distribution in zip(found, p, strict=True):
        counts = torch.bincount(row, minlength=5)
        assert (
            (counts - draws * distribution).abs()
            <= 5 * (draws * distribution * (1 - distribution)).sqrt()
        ).all()


def test_the_tail_of_4096_classes_is_drawn_as_often_as_it_should():
    """One class has half of the mass, 4,095 share the rest: the rest's count within 5 sigma.

    float32 Gumbel noise, cut at both ends, fails such tests on peaked distributions.
    """
    logits = torch.zeros(4096)
    logits[7] = torch.tensor(4095.0).log()
    log_p = log_normalise(logits)
    found = sample_categorical(
        log_p.expand(1, 20_000, 4096), generator=torch.Generator().manual_seed(1)
    )
    top = (found == 7).sum().item()
    assert abs(top - 10_000) < 5 * (20_000 / 4) ** 0.5


def test_an_impossible_class_is_never_drawn_even_at_the_ends_of_the_uniform(monkeypatch):
    log_p = torch.tensor([[[0.0, 0.25, 0.75, 0.0]]], dtype=torch.float64).log()
    for uniform in (0.0, 1 - 2**-53, 1.0):
        monkeypatch.setattr(torch, "rand", lambda *a, u=uniform, **k: torch.full(a[0], u).double())
        assert sample_categorical(log_p).item() == (1 if uniform == 0 else 2)


def test_one_generator_per_image_makes_images_independent_of_the_batch():
    log_p = log_normalise(torch.randn(4, 6, 9))
    generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
    together = sample_categorical(log_p, generator=generators)
    for i in range(4):
        alone = sample_categorical(log_p[i : i + 1], generator=[torch.Generator().manual_seed(i)])
        assert torch.equal(together[i], alone[0])


def test_a_wrong_number_of_generators_is_refused():
    with pytest.raises(ValueError, match="generators is 1; allowed: 2"):
        sample_categorical(torch.zeros(2, 3, 1), generator=[torch.Generator()])
