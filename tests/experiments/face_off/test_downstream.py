"""Errors in the upper half, and strange rows: against players whose answers are known."""

import math

import pytest
import torch
from support.face_off_fakes import (
    CODES,
    COUNT,
    NULL,
    TRUTH,
    WAY,
    FakePlayer,
    FakeWorld,
    N,
    copy_given,
    restore,
)

from vqlearn.experiments.face_off import exposure_bias, quality
from vqlearn.experiments.face_off.data import by_row
from vqlearn.experiments.face_off.downstream import measure_downstream
from vqlearn.experiments.face_off.players import Drawing, RasterPlayer

UPPER = torch.arange(N) < N // 2
ABOVE = ("one", "0.4")


def follow(truth, start):
    """The given tokens; below an error the first lost token, and the last but one, are others."""
    drawn = copy_given(truth, start)
    has_error = (start.given & (start.x != truth)).any(dim=1)
    for position in (8, 14):
        drawn[has_error, position] = (truth[has_error, position] + 1) % CODES
    return drawn


def measured(player):
    return measure_downstream(player, NULL, FakeWorld(), WAY, ABOVE)


def test_damage_is_counted_below_the_errors_and_in_each_row():
    player = FakePlayer(follow)
    report = measured(player)
    assert list(report) == ["keeps", "free"]
    assert report["keeps"] == report["free"]  # it does not use its freedom
    assert report["keeps"]["none"] == {"right": COUNT, "total": COUNT}
    one = report["keeps"]["one"]
    assert (one["right"], one["mended"], one["lost changed"]) == (0, 0.0, 2 / 8)
    *above, first, last = one["changed by row"]
    assert sum(above) == pytest.approx(1 / 4)  # one error in each image, in one of two rows
    assert (first, last) == (1 / 4, 1 / 4)
    some, wrong = report["keeps"]["0.4"], player.starts[2].x != TRUTH
    spoilt = (wrong & UPPER).any(dim=1).double().mean()
    assert some["lost changed"] == pytest.approx(float(spoilt) / 4, abs=1e-4)
    assert some["changed by row"][:2] == by_row(wrong & UPPER)[:2]


def test_one_that_mends_does_no_damage():
    report = measured(FakePlayer(copy_given))
    mending = measured(FakePlayer(lambda truth, start: truth if not start.fixed else start.x))
    for share in ABOVE:
        assert mending["free"][share] == {
            **{"right": COUNT, "total": COUNT, "mended": 1.0, "lost changed": 0.0},
            "changed by row": [0.0] * 4,
        }
        assert report["free"][share]["mended"] == 0.0


def test_damage_is_a_difference_from_what_would_have_been_drawn():
    """It never finds what was lost, but draws the same with errors and without."""
    player = FakePlayer(lambda truth, start: torch.where(start.given, truth, (truth + 3) % CODES))
    for shares in measured(player).values():
        assert shares["none"]["right"] == 0
        for share in ABOVE:
            assert shares[share]["lost changed"] == 0
            assert shares[share]["changed by row"] == [0.0] * 4


def test_both_ways_and_all_players_get_the_same_upper_halves():
    """Nothing but the errors differs, and a raster network has one way only."""

    class FakeRaster(FakePlayer, RasterPlayer):
        pass

    diffusion, raster = FakePlayer(restore), FakeRaster(restore)
    measured(diffusion)
    assert list(measured(raster)) == ["keeps"]
    assert [start.fixed for start in diffusion.starts] == [True] * 3 + [False] * 3
    assert [start.fixed for start in raster.starts] == [True] * 3
    for i, start in enumerate(diffusion.starts):
        assert torch.equal(start.given, UPPER.expand(COUNT, N))
        assert torch.equal(start.x, raster.starts[i % 3].x)
        assert torch.equal(start.x[:, ~UPPER], (TRUTH[:, ~UPPER] + 2) % CODES)
    wrong = [(start.x != TRUTH)[:, UPPER].sum(dim=1) for start in raster.starts]
    assert not wrong[0].any()
    assert (wrong[1] == 1).all()
    assert len(set(diffusion.numbers)) == 1
    assert set(diffusion.ways) == {WAY}


def drawing_badly(wrong_rows):
    """Three wrong tokens in some rows, whichever of them are drawn together."""

    def answer(truth, drawing):
        drawn = TRUTH.clone()
        drawn[wrong_rows, 2:5] = (drawn[wrong_rows, 2:5] + 1) % CODES
        return drawn[[int((row == TRUTH).all(dim=1).nonzero()[0]) for row in truth]]

    return FakePlayer(answer)


def test_strange_rows_are_kept_apart(monkeypatch):
    """A row costs its number and one nat for each wrong token."""
    monkeypatch.setattr(quality, "AT_ONCE", 5)
    player, judge = drawing_badly([1, 3, 4]), FakePlayer()
    found = exposure_bias.measure_strangeness(player, NULL, FakeWorld(), judge)
    expected = {"true": range(8), "right": (0, 2, 5, 6, 7), "wrong": (4, 6, 7)}
    for kind, nats in expected.items():
        nats = torch.tensor(list(nats)).double() / N / math.log(2)
        assert found[kind] == {
            "rows": len(nats),
            "mean": round(float(nats.mean()), 4),
            "standard_error": round(float(nats.std() / len(nats) ** 0.5), 4),
            "median": round(float(nats.median()), 4),
        }
    assert set(player.ways) == {Drawing(calls=100)}


def test_of_a_single_strange_row_only_its_number_is_told():
    found = exposure_bias.measure_strangeness(drawing_badly([2]), NULL, FakeWorld(), FakePlayer())
    assert found["wrong"] == {"rows": 1}
    found = exposure_bias.measure_strangeness(drawing_badly([]), NULL, FakeWorld(), FakePlayer())
    assert found["wrong"] == {"rows": 0}
    assert found["right"] == found["true"]
