"""`vqlearn verify`, `download` and `doctor`: what anyone with a GPU and the hub can send in."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.on_mps import OnMps
from support.released_hub import NAME
from support.tiny import write_diffusers_folder

from vqlearn import VQDiffusionPipeline
from vqlearn.cli import commands as cli
from vqlearn.cli.verify import agreement, furthest, verify

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_diffusers_folder(tmp_path_factory.mktemp("verify") / "model", text_length=30)


@pytest.fixture
def pipeline(folder):
    pipeline = VQDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["vqlearn", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code or 0


def test_the_largest_difference_is_found_on_mps_too():
    ours, theirs = torch.tensor([0.5, 1.0]), torch.tensor([0.25, 1.0])
    assert furthest(ours.as_subclass(OnMps), theirs.as_subclass(OnMps)) == 0.25


def test_the_report_holds_files_agreement_pictures_time_and_memory(pipeline, folder):
    report, pictures = verify(pipeline, folder, steps=3)
    assert json.loads(json.dumps(report)) == report
    assert [picture.size for picture in pictures] == [(8, 8)] * 4
    assert len({picture["sha256"] for picture in report["pictures"]}) == 4
    assert report["files"].keys() >= {"model_index.json", "transformer/config.json"}
    assert report["seconds_per_picture"] > 0
    assert report["memory_bytes"] > 10**6
    assert report["dtype"] == "torch.float32"


def test_every_step_agrees_with_diffusers(pipeline):
    lines = agreement(pipeline)
    assert [line["level"] for line in lines] == [1, 3, 6, 8, 10]
    assert all(line["clean_token"] < 1e-6 for line in lines)
    assert all(line["one_level_lower"] < 5e-6 for line in lines[1:])
    assert lines[0]["picture"] < 1e-5


@pytest.mark.parametrize(
    ("part", "entry"),
    [("denoiser", "clean_token"), ("vqvae", "picture"), ("process", "one_level_lower")],
)
def test_a_wrong_part_of_ours_is_seen(pipeline, monkeypatch, part, entry):
    if part == "process":
        right = pipeline.process.log_reverse
        monkeypatch.setattr(
            pipeline.process, "log_reverse", lambda p, x, s, t: right(p, x, max(s - 1, 0), t)
        )
    else:
        network = getattr(pipeline, part)
        right = network.decode if part == "vqvae" else network.forward
        name = "decode" if part == "vqvae" else "forward"
        monkeypatch.setattr(network, name, lambda *inputs: right(*inputs).flip(-1))
    assert max(line.get(entry, 0) for line in agreement(pipeline)) > 1e-3


def test_without_diffusers_the_report_says_so(pipeline, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "diffusers" else found(name)
    )
    assert agreement(pipeline) == "not compared: diffusers is not installed"


def test_the_command_writes_a_report_and_a_sheet(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert run(monkeypatch, "verify", folder, "--steps", 2, "--half", "--out", out) == 0
    assert capsys.readouterr().out.split() == [str(out / "report.json"), str(out / "sheet.png")]
    report = json.loads((out / "report.json").read_text())
    assert report["dtype"] == "torch.float16"
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size == (2 * 256 + 8, 2 * 256 + 8)


def test_download_prints_the_folder_and_then_no_network_is_needed(
    hub,
    monkeypatch,
    capsys,
):
    assert run(monkeypatch, "download", NAME, "--revision", "fp16") == 0
    folder = Path(capsys.readouterr().out.strip())
    assert (folder / "transformer" / "config.json").is_file()
    hub.repositories.clear()
    pipe = VQDiffusionPipeline.from_pretrained(NAME, revision="fp16", local_files_only=True)
    assert pipe.null_text.config.learnable
    assert run(monkeypatch, "download", "scenes") == 1
    assert "'scenes'; allowed: OWNER/NAME" in capsys.readouterr().err


def test_doctor_tells_versions_devices_and_where_weights_are(hub, monkeypatch, capsys):
    VQDiffusionPipeline.from_pretrained(NAME)
    assert run(monkeypatch, "doctor") == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["torch"] == torch.__version__.split("+")[0] or lines["torch"] == torch.__version__
    assert "GB free" in lines["memory"]
    assert lines["shipped"].startswith("emoji, scenes in ")
