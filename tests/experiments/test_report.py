"""Results become JSON and come back as the same dataclasses; counts know their shares."""

import json
from dataclasses import dataclass

import pytest

from vqlearn.evaluation import Accuracy, Share
from vqlearn.experiments.report import Facts, Samples, from_json, to_json
from vqlearn.probability.estimates import Bits


@dataclass(frozen=True)
class Everything:
    bits: Bits
    by_name: dict[str, Accuracy]
    rows: tuple[float, ...]
    facts: Facts | None = None
    missing: Bits | None = None


def everything():
    accuracy = Accuracy(3, 4, 1, {"colour": Share(2, 3)})
    facts = Facts("bits", 5, {"uniform guess": 2.3}, samples=Samples(("a", "b"), Share(1, 2)))
    return Everything(Bits(0.5, 0.1), {"seen": accuracy}, (1.0, 2.0), facts)


def test_what_is_written_is_read_again():
    stored = json.loads(json.dumps(to_json(everything())))
    assert "missing" not in stored
    assert from_json(Everything, stored) == everything()
    assert from_json(dict[str, Share], {"a": {"right": 1, "total": 2}}) == {"a": Share(1, 2)}
    assert from_json(Bits | None, None) is None


def test_a_field_that_is_missing_or_unknown_is_refused():
    stored = to_json(everything())
    for changed in ({**stored, "more": 1}, {key: stored[key] for key in stored if key != "bits"}):
        with pytest.raises(TypeError):
            from_json(Everything, changed)


def test_a_share_has_an_interval():
    assert Share(50, 50).interval_95 == pytest.approx((0.9287, 1.0), abs=1e-3)
    assert (Share(1, 3).share, Accuracy(2, 3, 0, {}).share) == (0.3333, 0.6667)
