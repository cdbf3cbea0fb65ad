"""The command line: what it prints, what it writes, and how it says no."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.tiny import write_diffusers_folder
from typer.main import get_command
from typer.testing import CliRunner

from vqlearn.checkpoints.folder import load_vqvae
from vqlearn.cli import commands as cli
from vqlearn.diffusion.reveal import fixed_count
from vqlearn.diffusion.schedule import SCHEDULES
from vqlearn.evaluation import frontier
from vqlearn.evaluation.frontier_rules import FrontierRule, counted
from vqlearn.pipeline.grid import make_grid
from vqlearn.tokens.vqvae import QUANTIZERS
from vqlearn.training.stages.order import STAGES


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of its first user for the whole process."""
    yield
    forget_accelerate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_diffusers_folder(tmp_path_factory.mktemp("cli") / "model")


def test_generate_writes_a_grid_and_prints_its_path_last(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "grid.png"
    code, stdout, _ = run_command(
        monkeypatch, capsys, "generate", "a red circle", "--model", folder,
        "--steps", 3, "--images", 3, "--out", out,
    )  # fmt: skip
    assert code == 0
    assert stdout.splitlines()[-1] == str(out)
    with Image.open(out) as grid:
        assert grid.size == (2 * 256 + 8, 2 * 256 + 8)


def test_a_film_shows_how_the_picture_appears(folder, tmp_path, monkeypatch, capsys):
    film = tmp_path / "films" / "film.gif"
    arguments = ["generate", "a red circle", "--model", folder, "--steps", 3, "--seed", 1]
    out = ("--out", tmp_path / "picture.png")
    assert run_command(monkeypatch, capsys, *arguments, *out, "--film", film)[0] == 0
    with Image.open(film) as gif:
        assert gif.n_frames == 4  # with this seed a token comes out in every step
    code, _, error = run_command(monkeypatch, capsys, *arguments, *out, "--film", "film.mp4")
    assert code == 1
    assert "--film is 'film.mp4'; allowed: a GIF file such as film.gif" in error


def test_the_seed_decides_and_picture_i_has_seed_plus_i(folder, tmp_path, monkeypatch, capsys):
    def picture(name, *options):
        out = tmp_path / name
        code, _, _ = run_command(
            monkeypatch, capsys, "generate", "a red circle", "--model", folder,
            "--steps", 3, "--out", out, *options,
        )  # fmt: skip
        assert code == 0
        with Image.open(out) as picture:
            return picture.convert("RGB")

    pair = picture("pair.png", "--images", 2, "--seed", 4)
    second = picture("second.png", "--seed", 5)
    assert pair.crop((264, 0, 520, 256)).tobytes() == second.tobytes()
    assert pair.crop((0, 0, 256, 256)).tobytes() != second.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate"], "PROMPT is missing; allowed: what the image shall show"),
        (["generate", "--class-label", 3], "--class-label is '3'; allowed: none, the model reads"),
        (["generate", "x", "--steps", "many"], "--steps"),
        (["generate", "x", "--steps", "0"], "num_inference_steps is 0; allowed: 1 or more"),
        (["generate", "x", "--steps", "101"], "num_inference_steps is 101; allowed: 1 to 10"),
        (["generate", "x", "--truncation", "0"], "truncation_rate is 0.0"),
        (["generate", "x", "--guidance", "nan"], "guidance_scale is nan"),
        (["generate", "x", "--images", "0"], "--images is 0; allowed: 1 to 1000"),
        (["generate", "x", "--out", "picture.nope"], "--out is 'picture.nope'"),
        (["generate", "x", "--out", "picture.psd"], "--out is 'picture.psd'"),
        (["generate", "x", "--model", "nowhere"], "there is no folder 'nowhere'"),
        (["generate", "x", "--bogus"], "No such option: --bogus"),
        (["train", "everything"], "stage is 'everything'; allowed: 'all', 'tokens'"),
        (["train", "--schedule", "odd"], "schedule is 'odd'; allowed: 'released'"),
        (["train", "--steps", "0"], "steps is 0"),
        (["train", "text", "--batch-size", "-1"], "batch_size is -1"),
        (["train", "--learning-rate", "-1"], "learning_rate is -1.0"),
        (
            ["train", "tokens", "--quantizer", "odd"],
            "quantizer is 'odd'; allowed: 'nearest', '",
        ),
    ],
)
def test_mistakes_end_with_one_line_and_no_traceback(
    folder, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    if arguments[:1] == ["generate"] and "--model" not in arguments:
        arguments = [*arguments, "--model", folder]
    code, stdout, stderr = run_command(monkeypatch, capsys, *arguments)
    lines = [line for line in stderr.splitlines() if line.startswith("vqlearn: ")]
    assert code != 0
    assert message in lines[0]
    assert len(lines) == 1
    assert "Traceback" not in stdout + stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantizer", ["nearest", "gumbel"])
def test_the_quantizer_is_the_one_that_was_asked_for(tmp_path, monkeypatch, capsys, quantizer):
    size = ["--steps", 1, "--batch-size", 1, "--out", tmp_path]
    option = [] if quantizer == "nearest" else ["--quantizer", quantizer]
    option += ["--learning-rate", 0.001]
    assert run_command(monkeypatch, capsys, "train", "tokens", *option, *size)[0] == 0
    assert load_vqvae(tmp_path).config.quantizer == quantizer
    choices = json.loads((tmp_path / "training.json").read_text())["tokens"]["choices"]
    assert choices["learning_rate"] == 0.001


@pytest.mark.parametrize("stage", ["raster", "imagebart"])
def test_an_autoregressive_model_is_trained_and_generates(
    tmp_path, monkeypatch, capsys, short_probe, stage
):
    size = ["--steps", 2, "--batch-size", 2, "--start-from", "scenes"]
    monkeypatch.chdir(tmp_path)
    code, stdout, _ = run_command(monkeypatch, capsys, "train", stage, *size)
    model = f"runs/{stage}"
    assert (code, stdout.split()) == (0, [model])
    words = ["generate", "a small red circle", "--model", model]
    code, stdout, _ = run_command(monkeypatch, capsys, *words, "--images", 2)
    assert (code, stdout.split()) == (0, ["out.png"])
    with Image.open("out.png") as picture:
        assert picture.size == (520, 256)
    code, _, stderr = run_command(monkeypatch, capsys, *words, "--film", "film.gif")
    assert code == 1
    assert "--film is 'film.gif'; allowed: none" in stderr
    code, stdout, _ = run_command(monkeypatch, capsys, "evaluate", "--model", model, "--prompts", 2)
    found = json.loads(stdout)["seen"]
    assert (code, found["model"]["total"], found["floor"]["total"]) == (0, 2, 2)
    assert "calls_per_image" not in found["model"]
    assert found["bound_bits_per_token"] > 0


def test_autoregressive_stages_say_what_they_lack(tmp_path, monkeypatch, capsys):
    code, _, stderr = run_command(monkeypatch, capsys, "train", "raster", "--out", tmp_path / "new")
    assert code == 1
    assert "new has no VQ network; tokens and text come first: `vqlearn train tokens " in stderr
    assert "--start-from scenes" in stderr


def test_help_names_what_can_be_trained_and_every_option_once_in_groups():
    text = CliRunner().invoke(cli.app, ["train", "--help"]).output
    assert all(name in text for name in (*STAGES, *QUANTIZERS, *SCHEDULES))
    command = get_command(cli.app).commands["train"]
    for option in command.params:
        if option.param_type_name == "option":
            lines = [line.split() for line in text.splitlines()]
            assert [line[0] for line in lines if line].count(option.opts[0]) == 1, option.opts
    places = [text.index(f"{group}:\n") for group in ("Options", "Training", "Sizes", "Machine")]
    places += [text.index(f"  {name} ") for name in ("--data", "--steps", "--codes", "--workers")]
    assert sorted(places) == [places[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)]


def test_python_dash_m_runs_the_same_command():
    command = [sys.executable, "-m", "vqlearn", "generate", "x", "--model", "nowhere"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("vqlearn: there is no folder 'nowhere'")


def test_help_lists_the_commands():
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    assert "generate" in result.output
    assert "train" in result.output


@pytest.mark.parametrize(("count", "size"), [(1, (256, 256)), (2, (520, 256)), (5, (784, 520))])
def test_grids_are_filled_row_by_row(count, size):
    shades = [Image.new("RGB", (32, 32), (40 * i, 0, 0)) for i in range(count)]
    grid = make_grid(shades)
    assert grid.size == size
    columns = (size[0] + 8) // 264
    for i in range(count):
        assert grid.getpixel((i % columns * 264 + 9, i // columns * 264 + 9)) == (40 * i, 0, 0)
    if count < columns * ((size[1] + 8) // 264):
        assert grid.getpixel((size[0] - 1, size[1] - 1)) == (255, 255, 255)


def test_large_pictures_are_not_enlarged():
    assert make_grid([Image.new("RGB", (300, 200))]).size == (300, 200)


WITH_MODELS = (
    ["generate", "a red circle", "--steps", 2],
    ["edit", "before.png", "--prompt", "a red circle", "--steps", 2],
    ["batch", "prompts.txt", "--steps", 2],
    ["evaluate", "--prompts", 1, "--steps", 2],
    ["evaluate", "--prompts", 2, "--frontier"],
)
"""The commands that use a model: each has one option for the device, and one for the dtype."""


def name(words):
    return " ".join(map(str, words))


@pytest.fixture
def inputs(tmp_path, monkeypatch, short_probe):
    """The files that `WITH_MODELS` read, in the current folder; the frontier is one quick point."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32)).save("before.png")
    (tmp_path / "prompts.txt").write_text("a red circle")
    rules = (FrontierRule("fixed count", counted(fixed_count), (2,)),)
    monkeypatch.setattr(frontier.measure_rules, "__defaults__", (rules,))


@pytest.mark.parametrize("words", WITH_MODELS, ids=name)
def test_device_and_dtype_are_one_option_each_and_the_progress_bar_says_them(
    inputs, monkeypatch, capsys, words
):
    for number, (options, said) in enumerate(
        (
            ([], "float32"),
            (["--device", "cpu", "--dtype", "bfloat16"], "cpu, bfloat16"),
            (["--dtype", "float64"], "float64"),
        )
    ):
        if words[0] != "evaluate":
            options = [*options, "--out", f"{number}.png"]
        code, _, stderr = run_command(monkeypatch, capsys, *words, *options)
        assert code == 0, stderr
        assert said in stderr


@pytest.mark.parametrize("words", WITH_MODELS, ids=name)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "tpu"], "device is 'tpu'; allowed on this machine: "),
        (["--dtype", "int8"], "dtype is 'int8'; allowed: 'float16', 'bfloat16', 'float32'"),
    ],
)
def test_other_devices_and_dtypes_are_refused(inputs, monkeypatch, capsys, words, options, message):
    code, stdout, stderr = run_command(monkeypatch, capsys, *words, *options)
    assert code == 1
    assert message in stderr
    assert not stdout
    assert not Path("out.png").exists()


@pytest.mark.parametrize("words", [words for words in WITH_MODELS if words[0] != "batch"], ids=name)
def test_mps_is_used_where_torch_has_it(inputs, monkeypatch, capsys, words):
    """A machine without MPS refuses it by name; `batch` asks accelerate for devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "mps" in run_command(monkeypatch, capsys, *words)[2]
    assert "mps" not in run_command(monkeypatch, capsys, *words, "--device", "cpu")[2]
