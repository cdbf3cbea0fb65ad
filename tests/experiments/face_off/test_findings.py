"""The five findings: that they hold in the stored runs, and that they tell what was measured."""

import math
import re
from dataclasses import replace
from functools import partial

import pytest
from support.face_off_reports import put_right, typed, whole_report

from vqlearn.experiments.face_off.results import equal_cost, findings, measures
from vqlearn.experiments.face_off.results.equal_cost import SETTINGS, Setting, best_within
from vqlearn.experiments.face_off.study import STUDY
from vqlearn.probability import estimates

STEPS = "diffusion 25"


@pytest.fixture(scope="module")
def stored(stored_folder):
    return STUDY.read(stored_folder)


def test_there_are_five_each_with_an_interval_and_a_cost(stored):
    lines = re.split(r"\n(?=\d)", findings.findings_list(stored))
    assert [line[:4] for line in lines] == [f"{i}. *" for i in range(1, 6)]
    for line in lines:
        assert re.search(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]", line), line
        assert re.search(r"operations|Cost: ", line), line
        assert "confirmed" not in line


def test_the_stored_runs_bear_the_first_finding(stored):
    """At few operations its interval is above 0; at any number, or at equal seconds, it is not."""
    ar, spread = equal_cost.AUTOREGRESSIVE, measures.clock_spread(stored)

    def lead(factor, at_once=None):
        best = best_within(stored, "seen", factor * ar.cost(stored, at_once), at_once)
        return ar.lead(best, stored, "seen").estimate

    assert lead(3).low > 20
    assert lead(spread, 32).low > 20
    for of_all in (lead(math.inf), lead(1, 1)):
        assert of_all.low < 0 < of_all.value


def test_the_stored_runs_bear_the_others(stored):
    masks, ar = findings.GUIDED["absorbing"], findings.GUIDED["raster"]
    shares = {
        name: Setting(name, True, 25).accuracy(stored, "held_out").estimate.value
        for name in equal_cost.KERNELS
    }
    second, best = sorted(shares, key=shares.get)[-2:]
    assert best == "absorbing"
    assert masks.lead(ar, stored, "held_out").estimate.low > 0
    assert masks.lead(replace(masks, system=second), stored, "held_out").estimate.low < 0
    assert measures.more_bits("raster", "absorbing", "held_out", stored).estimate.low > 0
    assert measures.suffix(stored).estimate.low > 0
    kept = measures.corrected("absorbing", stored).estimate
    for name in ("vq-diffusion", "vq-diffusion-paper"):
        assert measures.corrected(name, stored).estimate.low > kept.high
    seconds = partial(measures.times_seconds, less=STEPS, report=stored)
    assert seconds("raster without cache").estimate.low > 15
    low, high = seconds("raster").estimate[1:]
    assert low < 1 < high
    assert measures.times_seconds("raster", STEPS, stored, at_once=32).estimate.high < 1


def test_the_best_of_five_kernels_leads_with_intervals_of_99_percent(stored, monkeypatch):
    """One chance in twenty of an error, shared by five kernels to choose from."""
    monkeypatch.setattr(estimates, "Z_95", 2.575829)
    lead = findings.GUIDED["absorbing"].lead(findings.GUIDED["raster"], stored, "held_out")
    assert lead.estimate == pytest.approx((24.0, 7.78, 38.65), abs=0.01)
    assert measures.more_bits("raster", "absorbing", "held_out", stored).estimate.low > 0


def test_the_best_that_can_be_afforded():
    report = whole_report()
    for guided, cost, share in ((False, 5, 0.7), (True, 10, 0.9)):
        name = f"diffusion 5{' guided' if guided else ''}"
        report[f"cost/{name}/64"]["result"]["operations_per_image"] = cost
        put_right(report, "multinomial", "seen", (guided, 5), (share,))
    read = typed(report)
    assert best_within(read, "seen", 5, None) == Setting("multinomial", False, 5)
    assert best_within(read, "seen", 10, None) == Setting("multinomial", True, 5)
    assert best_within(read, "seen", 10, None).text == "multinomial, guided, 5 steps"


def test_a_setting_has_the_cost_of_its_way():
    ways = {each.way for each in SETTINGS}
    assert {"raster", "raster guided", "imagebart", "diffusion 5", "diffusion 100 guided"} <= ways
    assert len(ways) == 3 + 2 * 5


def test_what_was_not_equal_is_counted(stored):
    """By hand: a table of 100 timesteps and a map to scale and shift, two of them a layer."""
    told, weights = findings.adaptive_share()
    assert told == 2 * 5 * (100 * 96 + 96 * 192 + 192) == 282_240
    text = findings.unequal_list(stored)
    assert f"{weights:,}" in text
    assert "1.95 × the training operations" in text
    assert "probability 0.53" in text


def test_the_readme_tells_the_same_numbers(stored, stored_folder):
    readme = " ".join((stored_folder.parent / "README.md").read_text().split())
    ratio = findings.GUIDED["absorbing"].cost(stored) / findings.GUIDED["raster"].cost(stored)
    assert f"at {ratio:.0f} times the operations of AR" in readme
    without, cached = (
        measures.times_seconds(way, STEPS, stored).estimate
        for way in ("raster without cache", "raster")
    )
    assert f"without a KV cache AR takes {without.low:.0f} to {without.high:.0f} times" in readme
    assert f"with it {cached.low:.1f} to {cached.high:.1f} times" in readme


def test_nothing_is_confirmed(stored_folder):
    for page in (stored_folder / "comparison.md", stored_folder.parent / "README.md"):
        assert "confirmed" not in page.read_text().lower()
