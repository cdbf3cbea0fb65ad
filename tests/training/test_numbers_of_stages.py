"""One number for all stages of a command, or one for each."""

import json

import pytest
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.training import make_small

from vqlearn.cli.train_options import of_stages
from vqlearn.training import record
from vqlearn.training.recipes import RECIPES
from vqlearn.training.stages.plan import recipes_of


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of its first user for the whole process."""
    yield
    forget_accelerate()


def test_an_option_is_a_number_or_one_for_each_stage():
    assert of_stages("steps", None, int) is None
    assert of_stages("steps", "5000", int) == 5000
    assert of_stages("learning_rate", "2e-4", float) == 2e-4
    assert of_stages("steps", "tokens=20, text=10", int) == {"tokens": 20, "text": 10}


@pytest.mark.parametrize(
    "text",
    ["", "many", "1.5", "tokens", "tokens=", "tokens=5,7", "tokens=5,,text=6", "text=1,text=2"],
)
def test_what_is_neither_is_refused_by_name(text):
    with pytest.raises(ValueError, match=r"steps is '.*'; allowed: a number such as 5000, or one"):
        of_stages("steps", text, int)


def test_stages_that_are_not_named_keep_their_recipe():
    names, steps = ["tokens", "text", "diffusion"], {"tokens": 7, "diffusion": 9}
    given = {"steps": steps, "batch_size": 3, "learning_rate": {"text": 0.5}, "seed": None}
    found = recipes_of(names, given)
    assert [found[name].steps for name in names] == [7, RECIPES["text"].steps, 9]
    assert [found[name].batch_size for name in names] == [3, 3, 3]
    rates = [RECIPES["tokens"].learning_rate, 0.5, RECIPES["diffusion"].learning_rate]
    assert [found[name].learning_rate for name in names] == rates
    with pytest.raises(ValueError, match=r"a stage of steps is 'raster'; allowed: 'tokens', 'te"):
        recipes_of(names, {"steps": {"raster": 5}})


def test_each_stage_of_a_command_has_its_own_numbers(tmp_path, monkeypatch, capsys):
    make_small(monkeypatch.setattr)
    size = ["--image-size", 16, "--out", tmp_path]
    numbers = {
        "--steps": "tokens=1,text=2,diffusion=3",
        "--batch-size": "tokens=4,text=5,diffusion=6",
        "--learning-rate": "tokens=0.1,text=0.2,diffusion=0.3",
    }
    options = [word for pair in numbers.items() for word in pair]
    assert run_command(monkeypatch, capsys, "train", *size, *options)[0] == 0
    told = json.loads((tmp_path / record.FILE).read_text())
    for option, values in numbers.items():
        name = option.removeprefix("--").replace("-", "_")
        for pair in values.split(","):
            stage, value = pair.split("=")
            assert told[stage]["choices"][name] == float(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--steps tokens=5,picture=6", "a stage of steps is 'picture'; allowed: 'tokens', 'text',"),
        ("tokens --batch-size text=5", "a stage of batch_size is 'text'; allowed: 'tokens'"),
        ("--learning-rate fast", "learning_rate is 'fast'; allowed: a number such as 2e-3, or"),
        ("--steps tokens=0", "steps is 0; allowed: 1 or more"),
    ],
)
def test_other_stages_and_numbers_are_refused(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, error = run_command(monkeypatch, capsys, "train", *arguments.split())
    assert code == 1
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
