"""The rule of all readings, and the measure of every claim against reports made by hand."""

from functools import partial

import pytest
from support.face_off_reports import put, put_right, typed, whole_report

from vqlearn.experiments.face_off.results import measures
from vqlearn.experiments.face_off.results.claims import (
    BELOW,
    CLAIMS,
    NOT_SUPPORTED,
    NOT_TESTED,
    SUPPORTED,
    Claim,
)
from vqlearn.experiments.face_off.results.effects import Effect
from vqlearn.experiments.face_off.results.numbers import Seeds
from vqlearn.experiments.face_off.study import STUDY
from vqlearn.experiments.report import Report
from vqlearn.probability.estimates import Estimate

EMPTY = Report("a command")


def claim_of(estimate, *seeds, above=1.0):
    found = Effect(Estimate(*estimate), Seeds(dict(enumerate(seeds))))
    return Claim("a text", "a source", "metres", effect=lambda report: found, above=above)


@pytest.fixture
def report():
    return whole_report()


@pytest.mark.parametrize(
    ("estimate", "seeds", "reading"),
    [
        ((2.0, 1.1, 3.0), (1.9, 2.1), SUPPORTED),
        ((2.0, 1.0, 3.0), (1.9, 2.1), NOT_SUPPORTED),  # 1 is not above 1
        ((2.0, 1.1, 3.0), (3.1, 0.9), NOT_SUPPORTED),  # a seed
        ((2.0, 1.1, 3.0), (1.2, 2.0, 2.8), NOT_SUPPORTED),  # the interval over three seeds
        ((2.0, 1.1, 3.0), (1.9, 2.0, 2.1), SUPPORTED),
        ((0.5, 0.1, 0.9), (0.4, 0.6), BELOW),
        ((0.5, 0.1, 1.0), (0.4, 0.6), NOT_SUPPORTED),
    ],
)
def test_one_rule_for_all(estimate, seeds, reading):
    assert claim_of(estimate, *seeds).reading(EMPTY) == reading


def test_what_no_run_measures_is_not_tested():
    claim = Claim("a text", "a source", "needs another run")
    assert claim.reading(EMPTY) == NOT_TESTED
    assert claim.effect_text(EMPTY) == claim.seeds_text(EMPTY) == ""


def test_an_effect_is_told_with_its_intervals():
    claim = claim_of((2.0, 1.25, 3.0), 1.0, 2.0, 3.0)
    assert claim.effect_text(EMPTY) == "2.0 [1.2, 3.0] points"
    assert claim.seeds_text(EMPTY) == "1.0, 2.0, 3.0 [-0.5, 4.5]"
    assert claim_of((2.0, 2.0, 2.0), 2.0).effect_text(EMPTY) == "2.0 points"  # exact


def test_every_claim_is_one_measure_with_a_source(report):
    read = typed(report)
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS) >= 25
    for claim in CLAIMS:
        assert "https://" in claim.source
        assert claim.measure
        assert claim.reading(read) in (SUPPORTED, NOT_SUPPORTED, BELOW, NOT_TESTED)
        words = f"{claim.text} {claim.measure} {claim.reading(read)}".lower()
        assert "confirmed" not in words
        assert "refuted" not in words


def test_the_readings_of_the_stored_runs_differ(stored_folder):
    """All four occur: the rule tells them apart."""
    read = STUDY.read(stored_folder)
    assert {claim.reading(read) for claim in CLAIMS} == {
        *(SUPPORTED, NOT_SUPPORTED, BELOW, NOT_TESTED)
    }


def costs(report, kind, of):
    """Numbers of ways at 64 and at 1,024 tokens; the others do not count."""
    for way, (short, long) in of.items():
        for n, value in ((64, short), (1024, long)):
            result = report[f"cost/{way}/{n}"]["result"]
            if kind == "operations":
                result["operations_per_image"] = value
            else:
                result["seconds_per_image"][kind] = value


def test_operations_are_exact_and_a_clock_is_not(report):
    ways = {"raster without cache": (1, 90), "raster": (5, 50), "diffusion 100": (10, 40)}
    costs(report, "operations", ways)
    costs(report, "1", {**ways, "diffusion 25": (3.75, 5)})
    for steps in (100, 50, 25, 10, 5):  # a guided step always takes 0.2 s
        of_step = 0.2 * steps
        report[f"cost/diffusion {steps} guided/64"]["result"]["seconds_per_image"]["1"] = of_step
    for steps in (50, 10, 5):  # a plain one takes 0.1 s, and one of 25 steps 0.15 s
        report[f"cost/diffusion {steps}/64"]["result"]["seconds_per_image"]["1"] = steps / 10
    read = typed(report)
    assert measures.clock_spread(read) == pytest.approx(1.5)
    assert measures.growth(None, read).estimate == pytest.approx((2.5, 2.5, 2.5))
    growth = measures.growth(1, read).estimate  # of two ratios
    assert growth == pytest.approx((2.5, 2.5 / 1.5**2, 2.5 * 1.5**2))
    found = measures.times_seconds("raster without cache", "diffusion 25", read)
    assert found.estimate == pytest.approx((18, 12, 27))
    report["cost/diffusion 5 guided/64"]["result"]["seconds_per_image"]["1"] = 3
    assert measures.clock_spread(typed(report)) == pytest.approx(3)  # 0.6 s for a guided step


def seeds_of(found):
    return pytest.approx(found.seeds.values, abs=1e-9)


def test_change_and_robustness_below_corrupted_tokens(report):
    for name, how, shares in (
        ("raster", "keeps", (0.5, 0.6, 0.7)),
        ("vq-diffusion", "keeps", (0.0, 0.0, 0.0)),
        ("vq-diffusion", "free", (0.1, 0.2, 0.3)),
    ):
        put(report, "downstream", name, (how, "by_amount", "0.1", "changed_share"), shares)
        path = (how, "by_amount", "0.1", "accuracy", "share")
        put(report, "downstream", name, path, [share + 0.1 for share in shares])
    read = typed(report)
    assert seeds_of(measures.more_change(read)) == (40, 40, 40)
    assert seeds_of(measures.robust("free", read)) == (-40, -40, -40)
    assert seeds_of(measures.robust("keeps", read)) == (-50, -60, -70)


def test_corrected_tokens(report):
    path = ("by_amount", "one", "corrected_share")
    put(report, "errors", "vq-diffusion", path, (0.7, 0.8, 0.9))
    found = measures.corrected("vq-diffusion", typed(report))
    assert seeds_of(found) == (70, 80, 90)
    assert found.estimate.low < 72  # 80 of 100 images


def test_a_suffix_is_compared_with_a_prefix_and_with_diffusion(report):
    halves = {"raster": {"upper": 0.9, "lower": 0.3}, "vq-diffusion": {"upper": 0.7, "lower": 0.6}}
    for name, sides in halves.items():
        for side, share in sides.items():
            put(report, "directions", name, ("seen", side, "accuracy", "share"), (share,) * 3)
    assert seeds_of(measures.suffix(typed(report))) == (50, 50, 50)


def test_samples_are_compared_with_data_of_the_same_reference(report):
    for name, gaps in {"raster": (0.1, 0.2, 0.3), "vq-diffusion": (0.4, 0.4, 0.1)}.items():
        true = (1.0, 4.0, 2.0)
        put(report, "forcing", name, ("raster", "data", "mean"), true)
        own = [bits + gap for bits, gap in zip(true, gaps, strict=True)]
        put(report, "forcing", name, ("raster", "own", "mean"), own)
    read = typed(report)
    assert seeds_of(measures.own_less_data(read)) == (0.1, 0.2, 0.3)
    assert seeds_of(measures.own_less_data_than_diffusion(read)) == (-0.3, -0.2, 0.2)


def test_a_variant_against_its_twin(report):
    path = ("by_composition", "held_out", "bits_per_token", "mean")
    put(report, "quality", "causal", path, (3.0, 2.0, 1.0))
    put(report, "quality", "vq-diffusion", path, (1.0, 1.5, 1.5))
    put_right(report, "no-auxiliary", "seen", (False, 100), (0.5, 0.1, 0.3))
    put_right(report, "direct", "seen", (False, 100), (0.1, 0.2, 0.3))
    read = typed(report)
    assert seeds_of(measures.more_bits("causal", "vq-diffusion", "held_out", read)) == (
        2,
        0.5,
        -0.5,
    )
    more = partial(measures.more_accurate, guided=False, steps=100)
    assert seeds_of(more("no-auxiliary", "direct", "seen", read)) == (40, -10, 0)


def test_characters_of_two_kernels(report):
    put(report, "captions", "uniform", ("bits_above_floor", "mean"), (0.4, 0.5, 0.6))
    found = measures.more_character_bits("uniform", "absorbing", typed(report))
    assert seeds_of(found) == (0.3, 0.4, 0.5)
