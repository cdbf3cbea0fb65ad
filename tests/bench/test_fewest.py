"""Right images by steps: paired differences by hand, and the stored table."""

import json

import pytest
from bench import fewest

from vqlearn.experiments.report import from_json
from vqlearn.lessons.marks import between


def test_differences_are_paired_by_prompts():
    """2, 1, 0 against 2, 2, 1 of two images: 0, -50 and -50 points, with a spread of 28.9."""
    found = fewest.difference("210", "221")
    assert found.value == pytest.approx(-100 / 3)
    assert found.high - found.value == pytest.approx(1.96 * 28.8675 / 3**0.5, rel=1e-3)


def test_all_steps_are_the_ancestral_sampler():
    assert fewest.rule_for(fewest.ALL).name == "ancestral, even"
    assert {fewest.rule_for(steps).name for steps in fewest.FEW} == {"fixed counts, slow start"}


def test_the_page_has_the_stored_results():
    found = from_json(fewest.Fewest, json.loads(fewest.RESULTS.read_text(encoding="utf-8")))
    assert set(map(int, found.right)) == {fewest.ALL, *fewest.FEW}
    for by_kind in found.right.values():
        assert all(len(digits) == found.prompts for digits in by_kind.values())
    assert between(fewest.PAGE, "bench-steps") == fewest.steps_table(found)
