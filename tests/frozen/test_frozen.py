"""Nothing has changed: the tokens of the shipped model, and the numbers of a model of every kind.

`record.py` wrote what is compared with here. If a test fails, behaviour has changed; if that was
meant, say so in CHANGELOG.md and record again.
"""

import pytest
import torch
from frozen.kinds import KINDS
from frozen.scenes import EVERYWHERE, HERE, processor, scene_tokens
from frozen.store import RECORDS, RENAMES, load_record, load_scenes, load_weights


@pytest.mark.parametrize("name", KINDS)
def test_the_numbers_of_every_kind_are_the_recorded_ones(name):
    weights, given, frozen = load_record(name)
    network = KINDS[name].fresh()
    load_weights(network, weights, RENAMES.get(name, {}))
    found = KINDS[name].ask(network, given)
    assert found.keys() == frozen.keys()
    for key, expected in frozen.items():
        exact = not expected.is_floating_point()  # tokens
        torch.testing.assert_close(
            found[key],
            expected,
            rtol=0,
            atol=0 if exact else 1e-9,
            msg=lambda text, key=key: f"{key}: {text}",
        )


def test_every_record_has_its_kind():
    assert {file.stem for file in RECORDS.glob("*.safetensors")} == set(KINDS)


@pytest.mark.parametrize(("setting", "dtype"), EVERYWHERE)
def test_the_shipped_model_draws_the_recorded_tokens(setting, dtype):
    assert scene_tokens(setting, dtype) == load_scenes()["tokens"][f"{setting} {dtype}"]


@pytest.mark.parametrize(("setting", "dtype"), HERE)
def test_the_shipped_model_draws_the_recorded_tokens_on_this_processor(setting, dtype):
    record = load_scenes()
    if record["processor"] != processor():
        pytest.skip(f"recorded on {record['processor']}, this is {processor()}")
    assert scene_tokens(setting, dtype) == record["tokens"][f"{setting} {dtype}"]


def test_renamed_modules_load_the_recorded_weights():
    network = torch.nn.ModuleDict({"new": torch.nn.Linear(1, 1), "kept": torch.nn.Linear(1, 1)})
    weights = {name: torch.rand_like(x) for name, x in network.double().state_dict().items()}
    old = {name.replace("new.", "old.part."): x for name, x in weights.items()}
    load_weights(network, old, {"old.part.": "new."})
    assert all(torch.equal(x, weights[name]) for name, x in network.state_dict().items())
