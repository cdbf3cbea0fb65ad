"""The options of reading a folder: from the command to the record, and what is refused by it."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.training import train_stages, use_small_networks, write_images

from vqlearn.cli import edited, measures, models, tokenizing
from vqlearn.data import Reading
from vqlearn.data.image_files import read_image
from vqlearn.training import record
from vqlearn.training.stages import order

OTHERS = {"crop": "random", "flip": True, "background": "black", "caption_column": "title"}
"""A value of each option that is not the default."""


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of its first user for the whole process."""
    yield
    forget_accelerate()


@pytest.fixture
def recipes(monkeypatch):
    return use_small_networks(monkeypatch)


@pytest.fixture
def data(tmp_path):
    """Four images of one colour, one of them clear; each has a title."""
    folder = write_images(tmp_path / "images", ["red", "green", "blue", "white"])
    Image.new("RGBA", (24, 16)).save(folder / "red.png")
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    titled = [json.dumps({**line, "title": line["text"]}) for line in lines]
    (folder / "metadata.jsonl").write_text("\n".join(titled))
    return folder


def trained(folder, recipes, data, **reading):
    return train_stages(folder, recipes, data=str(data), image_size=16, reading=Reading(**reading))


def recorded(folder, stage="tokens"):
    return json.loads((folder / record.FILE).read_text())[stage]["choices"]


def test_the_command_takes_each_option_to_the_images_and_the_record(
    tmp_path, data, recipes, monkeypatch, capsys
):
    options = ["--crop", "random", "--flip", "--background", "black", "--caption-column", "title"]
    size = ["--image-size", 16, "--steps", 1, "--batch-size", 2, "--out", tmp_path / "out"]
    opened, open_source = [], order.open_source
    monkeypatch.setattr(
        order, "open_source", lambda *given: opened.append(open_source(*given)) or opened[-1]
    )
    code, _, _ = run_command(
        monkeypatch, capsys, "train", "tokens", "--data", data, *size, *options
    )
    assert code == 0
    assert opened[0].reading == Reading(**OTHERS)
    clear = opened[0].captions().index("red")
    assert opened[0].numbered(torch.tensor([clear])).images.max() == 0
    found = recorded(tmp_path / "out")
    assert {name: found[name] for name in OTHERS} == OTHERS
    code, _, _ = run_command(
        *(monkeypatch, capsys, "train", "tokens", "--data", data),
        *(*size[:-1], tmp_path / "plain"),
    )
    assert code == 0
    found = recorded(tmp_path / "plain")
    assert {name: found[name] for name in [*OTHERS, "hold_out"]} == asdict(Reading())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--crop", "random"], "crop is 'random'; allowed with data 'scenes': 'center'"),
        (["--flip"], "flip is True; allowed with data 'scenes': False"),
        (["--background", "red"], "background is 'red'; allowed with data 'scenes': 'white'"),
        (["--caption-column", "a"], "caption_column is 'a'; allowed with data 'scenes': None"),
        (["--crop", "left"], "crop is 'left'; allowed: 'center', 'random'"),
    ],
)
def test_scenes_are_not_read_and_take_no_option(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    code, _, errors = run_command(monkeypatch, capsys, "train", *options)
    assert code == 1
    assert errors.startswith(f"vqlearn: {message}")
    assert not list(tmp_path.iterdir())
    if "scenes" in message:
        ((name, value),) = ((n, v) for n, v in OTHERS.items() if message.startswith(n))
        with pytest.raises(ValueError, match=f"{name} is .*; allowed with data 'scenes'"):
            order.open_source("scenes", 32, Reading(**{name: value}))


@pytest.mark.parametrize("option", OTHERS)
def test_a_finished_stage_is_kept_only_if_it_was_read_so(tmp_path, data, recipes, option):
    """A record without these names, of an older version, means what was the only way then."""
    folder, tokens = tmp_path / "out", {"tokens": recipes["tokens"]}
    plain, other = asdict(Reading())[option], {option: OTHERS[option]}
    trained(folder, tokens, data)
    refused = f"{option} {OTHERS[option]!r} is not allowed: {option} {plain!r}"
    with pytest.raises(ValueError, match=refused):
        trained(folder, tokens, data, **other)
    stored = json.loads((folder / record.FILE).read_text())
    for name in OTHERS:
        del stored["tokens"]["choices"][name]
    (folder / record.FILE).write_text(json.dumps(stored))
    assert trained(folder, tokens, data) == ["tokens"]
    with pytest.raises(ValueError, match=refused):
        trained(folder, tokens, data, **other)


def test_stages_may_differ_in_how_images_vary_but_not_in_what_they_show(tmp_path, data, recipes):
    folder = tmp_path / "out"
    trained(folder, {"tokens": recipes["tokens"]}, data, crop="random", flip=True)
    text = {"text": recipes["text"]}
    with pytest.raises(ValueError, match=r"tokens of other data; background 'black' is not"):
        trained(folder, text, data, background="black")
    assert trained(folder, text, data) == []


def test_a_stopped_stage_goes_on_only_as_it_was_read(tmp_path, data, recipes):
    folder = tmp_path / "out"
    long = {"tokens": replace(recipes["tokens"], save_every=1)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vqlearn.training.loop.largest", lambda _, asked: 2)
        with pytest.raises(KeyboardInterrupt):
            trained(folder, long, data)
    with pytest.raises(ValueError, match="flip True is not allowed: flip False"):
        trained(folder, long, data, flip=True)
    assert trained(folder, long, data) == []


def test_a_model_is_measured_on_images_read_as_it_has_learned_them(
    tmp_path, data, recipes, monkeypatch, capsys
):
    options = {"crop": "random", "flip": True, "background": "black", "caption_column": "title"}
    trained(tmp_path / "out", recipes, data, **options)
    expected = Reading(background="black", caption_column="title")
    assert models.reading_of(recorded(tmp_path / "out", "diffusion")) == expected
    assert models.reading_of({}) == Reading()
    seen, before = [], measures.own_images.evaluate_images
    monkeypatch.setattr(
        *(measures.own_images, "evaluate_images"),
        lambda pipeline, clip, batch, asked: (
            seen.append(batch) or before(pipeline, clip, batch, asked)
        ),
    )
    arguments = ["--model", tmp_path / "out", "--data", data, "--steps", 1, "--prompts", 4]
    code, _, _ = run_command(monkeypatch, capsys, "evaluate", *arguments)
    assert code == 0
    (batch,) = seen
    assert batch.images[batch.captions.index("red")].max() == 0, "clear pixels are black"


def test_two_processes_encode_a_folder_each_for_itself(tmp_path, data):
    """All stages, to the end: no process waits for what the other does not do."""
    script = tmp_path / "both.py"
    script.write_text(
        "import pathlib, sys\n"
        "from support.training import make_small\n"
        "from vqlearn.training.tasks.captioned import Frozen\n"
        "from vqlearn.cli.commands import main\n"
        "make_small()\n"
        "encode = Frozen.encode_once\n"
        "def told(self, run):\n"
        "    encode(self, run)\n"
        "    assert self.tokens.shape == (4, 16) and len(self.captions.rows) == 4\n"
        "    pathlib.Path(f'{run.folder}-{run.accelerator.process_index}').touch()\n"
        "Frozen.encode_once = told\n"
        "sys.argv[0] = 'vqlearn'\n"
        "main()\n"
    )
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), "train"]
    size = ["--image-size", "16", "--batch-size", "2", "--steps", "2", "--data", str(data)]
    done = subprocess.run(
        [sys.executable, "-m", *launch, *size, "--out", str(tmp_path / "out")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / f"out-{process}").exists() for process in (0, 1))


@pytest.mark.parametrize("command", ["encode", "edit"])
def test_tokens_and_edits_have_the_background_of_the_training(
    command, tmp_path, data, recipes, monkeypatch, capsys
):
    trained(tmp_path / "out", recipes, data, background="#0000ff")
    seen = []

    def noted(*given, **options):
        seen.append(read_image(*given, **options))
        return seen[-1]

    for module in (edited, tokenizing):
        monkeypatch.setattr(module, "read_image", noted)
    arguments = {
        "encode": ["tokens", "encode", data, "--image-size", 16, "--out", tmp_path / "t.npz"],
        "edit": ["edit", data / "red.png", "--steps", 1, "--out", tmp_path / "o.png"],
    }[command]
    code, _, stderr = run_command(monkeypatch, capsys, *arguments, "--model", tmp_path / "out")
    assert code == 0, stderr
    blue = torch.tensor([0, 0, 255], dtype=torch.uint8)[:, None, None].expand(3, 16, 16)
    assert any(torch.equal(image.pixels, blue) for image in seen)  # red.png is clear
