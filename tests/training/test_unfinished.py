"""Drawing from the newest state of a training: its mean weights, and nothing is changed by it."""

import hashlib
from dataclasses import replace

import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.training import make_small

from vqlearn.data import Scenes
from vqlearn.data.picture import picture_of_rows
from vqlearn.pipeline import load_pipeline
from vqlearn.probability import Sampling, random_stream
from vqlearn.training.loop import Run, best_accelerator
from vqlearn.training.preview import preview_batch
from vqlearn.training.recipes import RECIPES
from vqlearn.training.sizes import Size
from vqlearn.training.stages import order
from vqlearn.training.stages.unfinished import write_newest

SOURCE = Scenes(32, "seen")
OPTIONS = {
    "diffusion": {"schedule": "absorbing", "size": Size(64, 1, 2), "levels": 30},
    "raster": {"size": Size(64, 1, 2)},
    "imagebart": {"num_scales": 2, "size": Size(64, 1, 2)},
}


@pytest.fixture(autouse=True)
def _forget():
    yield
    forget_accelerate()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with tokens and text."""
    folder = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch.setattr)
        for stage in ("tokens", "text"):
            train(folder, stage)
    return folder


def train(folder, stage, start_from=None, **options):
    recipe = replace(RECIPES[stage], steps=6, batch_size=2, save_every=4)
    run = Run(folder, SOURCE, recipe, best_accelerator(), start_from=start_from, preview=4)
    order.train(stage, run, **options)


def stopped(folder, stage, base=None, **options):
    """Stop a training in step 5: its newest state is that of step 4."""

    def stop(*given):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vqlearn.training.loop._preview", stop_after(stop))
        with pytest.raises(KeyboardInterrupt):
            train(folder, stage, base, **options)


def stop_after(stop):
    from vqlearn.training import loop

    before = loop._preview

    def preview(*given):
        before(*given)
        stop()

    return preview


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("stage", OPTIONS)
def test_it_draws_what_the_preview_of_that_step_shows(stage, base, tmp_path):
    folder = tmp_path / "run"
    stopped(folder, stage, base, **OPTIONS[stage])
    before = digests(folder)
    assert write_newest(folder, tmp_path / "newest") == (stage, 4)
    assert digests(folder) == before
    pipe, batch = load_pipeline(tmp_path / "newest"), preview_batch(SOURCE)
    tokens = pipe.model.sample(
        len(batch.captions),
        pipe.conditioning(batch.captions),
        sampling=Sampling(1.5, 0.9, 25 if stage == "diffusion" else None),
        generator=random_stream("preview noise"),
    )
    rows = torch.stack([batch.images, pipe.pixels(tokens).detach()])
    with Image.open(folder / "preview" / f"{stage}_000004.png") as picture:
        assert picture.tobytes() == picture_of_rows(rows).tobytes()


def test_a_fine_tuning_is_drawn_from_as_well(base, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    train(whole, "diffusion", base, **OPTIONS["diffusion"])
    stopped(folder, "diffusion", whole)
    assert write_newest(folder, tmp_path / "newest") == ("diffusion", 4)
    assert load_pipeline(tmp_path / "newest").process.num_timesteps == 30


def test_the_command_says_what_is_missing_and_draws_on_request(
    base, tmp_path, monkeypatch, capsys, caplog
):
    folder, out = tmp_path / "run", tmp_path / "out.png"
    stopped(folder, "diffusion", base, **OPTIONS["diffusion"])
    generate = ["generate", "a red circle", "--model", folder, "--steps", 2, "--out", out]
    code, _, stderr = run_command(monkeypatch, capsys, *generate)
    assert code == 1
    assert "the stage diffusion is missing" in stderr
    assert "or --unfinished, to draw from its newest state" in stderr
    assert not out.exists()
    code, stdout, stderr = run_command(monkeypatch, capsys, *generate, "--unfinished")
    assert (code, stdout) == (0, f"{out}\n"), stderr
    assert caplog.messages[-1] == f"{folder} is not finished: this is diffusion after 4 steps"
    train(folder, "diffusion", base, **OPTIONS["diffusion"])
    code, stdout, _ = run_command(monkeypatch, capsys, *generate)
    assert code == 0
    code, _, stderr = run_command(monkeypatch, capsys, *generate, "--unfinished")
    assert code == 1
    assert "has no state of diffusion, raster, imagebart; allowed with --unfinished: " in stderr


def test_damaged_states_are_refused(base, tmp_path):
    stopped(tmp_path / "run", "raster", base, **OPTIONS["raster"])
    file = tmp_path / "run" / ".training" / "raster" / "4" / "state.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="was changed since it was written"):
        write_newest(tmp_path / "run", tmp_path / "newest")
