"""Errors in the upper half: against models whose answers are known."""

import pytest
import torch
from support.face_off_fakes import (
    CODES,
    COUNT,
    GUIDED,
    TRUTH,
    FakeModel,
    FakeRaster,
    N,
    all_of,
    copy_given,
    measure,
    restore,
)

from vqlearn.experiments.face_off import inpainting
from vqlearn.experiments.face_off.inpainting import DownstreamRun
from vqlearn.experiments.tokens import by_grid_row

UPPER = torch.arange(N) < N // 2
ABOVE = ("one", "0.4")


def follow(truth, start):
    """The given tokens; below an error the first lost token, and the last but one, are others."""
    drawn = copy_given(truth, start)
    has_error = (start.known & (start.x != truth)).any(dim=1)
    for position in (8, 14):
        drawn[has_error, position] = (truth[has_error, position] + 1) % CODES
    return drawn


@pytest.fixture(autouse=True)
def above(monkeypatch):
    monkeypatch.setattr(inpainting, "ABOVE", ABOVE)


def measured(model):
    return measure(DownstreamRun("a", 0), model)


def test_damage_is_counted_below_the_errors_and_in_each_row():
    model = FakeModel(follow)
    report = measured(model)
    assert list(report) == ["keeps", "free"]
    assert report["keeps"] == report["free"]  # it does not use its freedom
    assert report["keeps"].untouched == all_of(COUNT)
    one = report["keeps"].by_amount["one"]
    assert (one.accuracy.right, one.corrected_share, one.changed_share) == (0, 0.0, 2 / 8)
    *above, first, last = one.changed_share_by_row
    assert sum(above) == pytest.approx(1 / 4)  # one error in each image, in one of two rows
    assert (first, last) == (1 / 4, 1 / 4)
    some, wrong = report["keeps"].by_amount["0.4"], model.starts[2].x != TRUTH
    spoilt = (wrong & UPPER).any(dim=1).double().mean()
    assert some.changed_share == pytest.approx(float(spoilt) / 4, abs=1e-4)
    assert some.changed_share_by_row[:2] == by_grid_row(wrong & UPPER)[:2]


def test_one_that_mends_does_no_damage():
    report = measured(FakeModel(copy_given))
    mending = measured(FakeModel(lambda truth, start: truth if not start.held else start.x))
    for share in ABOVE:
        found = mending["free"].by_amount[share]
        assert (found.accuracy, found.changed_share_by_row) == (all_of(COUNT), (0.0,) * 4)
        assert (found.corrected_share, found.changed_share) == (1.0, 0.0)
        assert report["free"].by_amount[share].corrected_share == 0.0


def test_damage_is_a_difference_from_what_would_have_been_drawn():
    """It never finds what was lost, but draws the same with errors and without."""
    model = FakeModel(lambda truth, start: torch.where(start.known, truth, (truth + 3) % CODES))
    for shares in measured(model).values():
        assert shares.untouched.right == 0
        for share in ABOVE:
            assert shares.by_amount[share].changed_share == 0
            assert shares.by_amount[share].changed_share_by_row == (0.0,) * 4


def test_both_ways_and_all_models_get_the_same_upper_halves():
    """Nothing but the errors differs, and a raster network has one way only."""

    diffusion, raster = FakeModel(restore), FakeRaster(restore)
    measured(diffusion)
    assert list(measured(raster)) == ["keeps"]
    assert [start.held for start in diffusion.starts] == [True] * 3 + [False] * 3
    assert [start.held for start in raster.starts] == [True] * 3
    for i, start in enumerate(diffusion.starts):
        assert torch.equal(start.known, UPPER.expand(COUNT, N))
        assert torch.equal(start.x[:, UPPER], raster.starts[i % 3].x[:, UPPER])
    wrong = [(start.x != TRUTH)[:, UPPER].sum(dim=1) for start in raster.starts]
    assert not wrong[0].any()
    assert (wrong[1] == 1).all()
    assert len(set(diffusion.numbers)) == 1
    assert set(diffusion.ways) == {GUIDED}
