"""The registry: who meets, and that they differ only in what is compared."""

import json

import pytest
from accelerate import Accelerator
from support.accelerate_state import forget_accelerate

from vqlearn.checkpoints.shipped import resolve
from vqlearn.data.batches import Scenes
from vqlearn.experiments import systems
from vqlearn.experiments.face_off.training import RECIPE
from vqlearn.experiments.sequences import count_weights
from vqlearn.experiments.systems import ALL, SYSTEMS, VARIANTS
from vqlearn.training.loop import Run
from vqlearn.training.stages.taken_parts import copy_frozen_parts


@pytest.fixture(autouse=True, scope="module")
def fresh_accelerate():
    forget_accelerate()
    yield
    forget_accelerate()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A run on the shipped tokens, as a training makes it."""
    folder = tmp_path_factory.mktemp("shipped")
    copy_frozen_parts(resolve("scenes"), folder)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    return Run(folder, Scenes(32, "seen"), RECIPE, accelerator)


# who meets


@pytest.fixture(scope="module")
def weights(shipped):
    return {name: count_weights(each.task(shipped).network) for name, each in ALL.items()}


def test_all_have_as_many_weights_but_for_two_percent(weights):
    assert set(weights) == {*SYSTEMS, *VARIANTS}
    for name, count in weights.items():
        assert abs(count / weights["vq-diffusion"] - 1) < 0.02, name
    denoisers = {name for name in ALL if isinstance(ALL[name], systems.Diffusion)} - {"direct"}
    assert len({weights[name] for name in denoisers}) == 1
    assert weights["direct"] - weights["vq-diffusion"] == 96 + 1  # one score more


def test_a_variant_differs_from_vq_diffusion_in_one_thing():
    like = SYSTEMS["vq-diffusion"].settings()
    changed = {
        name: {key for key, value in each.settings().items() if value != like[key]}
        for name, each in VARIANTS.items()
    }
    assert changed["causal"] == {"network"}
    assert changed["no-auxiliary"] == {"auxiliary_weight"}
    # a direct prediction has no predicted distribution about x_0, so no auxiliary loss either
    assert changed["direct"] == {"network", "process", "auxiliary_weight"}


def test_systems_with_other_settings_are_others():
    found = [json.dumps(each.settings(), sort_keys=True) for each in ALL.values()]
    assert len(set(found)) == len(ALL)
    for each in ALL.values():
        assert json.loads(json.dumps(each.settings())) == each.settings()


def test_diffusions_that_only_differ_in_their_process_only_differ_there(shipped):
    for name in ("absorbing", "multinomial", "vq-diffusion-paper"):
        settings = SYSTEMS[name].settings()
        assert settings | {"process": "released"} == SYSTEMS["vq-diffusion"].settings()
    model = SYSTEMS["multinomial"].task(shipped).network.model
    assert model.process.num_timesteps == 100
    assert (model.process.schedule.gamma_bar == 0).all()
    assert model.auxiliary_weight == 5e-4
    assert VARIANTS["no-auxiliary"].task(shipped).network.model.auxiliary_weight == 0
