"""A finished stage learns on from what it has learnt, and its record says so."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.training import make_small

from vqlearn import VQDiffusionPipeline
from vqlearn.checkpoints import folder as files
from vqlearn.data import Scenes
from vqlearn.training import record
from vqlearn.training.loop import Run, best_accelerator
from vqlearn.training.recipes import RECIPES, Recipe
from vqlearn.training.stages import lengthening, order

LOAD = {
    "tokens": lambda folder: files.load_vqvae(folder).encoder,
    "text": files.load_clip,
    "diffusion": lambda folder: files.load_token_model(folder).network,
    "raster": files.load_token_model,
}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """accelerate keeps the precision of its first user for the whole process."""
    make_small(monkeypatch.setattr)
    yield
    forget_accelerate()


def train(folder, stage, steps=2, *, lengthen=False, options=(), **changes):
    """True if it was trained. Two images of 16 pixels in a batch."""
    recipe = replace(RECIPES[stage], steps=steps, batch_size=2, **changes)
    run = Run(folder, Scenes(16, "seen"), recipe, best_accelerator())
    return order.train(stage, run, lengthen=lengthen, **dict(options))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """For each stage a folder in which nothing stands on it, after two steps."""
    folder, found = tmp_path_factory.mktemp("finished"), {}
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch.setattr)
        for stage in ("tokens", "text"):
            train(folder / "both", stage)
            found[stage] = folder / "both"
        for stage in ("diffusion", "raster"):
            found[stage] = shutil.copytree(folder / "both", folder / stage)
            train(found[stage], stage)
    forget_accelerate()
    return found


def copied(finished, stage, folder):
    return shutil.copytree(finished[stage], folder)


def weights(stage, folder):
    return torch.cat([weight.flatten() for weight in LOAD[stage](folder).parameters()])


def choices(folder, stage):
    return json.loads((folder / record.FILE).read_text())[stage]["choices"]


@pytest.mark.parametrize("stage", LOAD)
def test_it_begins_with_the_weights_that_were_kept(finished, tmp_path, stage):
    """With a learning rate of 0 they stay; fresh ones, which 2 steps would give, are others."""
    folder = copied(finished, stage, tmp_path / "run")
    before = weights(stage, folder)
    assert train(folder, stage, 3, lengthen=True, learning_rate=0.0)
    torch.testing.assert_close(weights(stage, folder), before, rtol=0, atol=1e-7)
    assert train(folder, stage, 5, lengthen=True, learning_rate=1e-2)
    assert (weights(stage, folder) - before).abs().max() > 1e-5
    assert not (folder / ".training" / lengthening.state_name(stage)).exists()


def test_the_null_embedding_learns_on_as_well(finished, tmp_path):
    folder = copied(finished, "diffusion", tmp_path / "run")
    before = files.load_null_text(folder).embeddings
    train(folder, "diffusion", 3, lengthen=True, learning_rate=0.0)
    assert torch.equal(files.load_null_text(folder).embeddings, before)
    VQDiffusionPipeline.from_pretrained(folder)


def test_codes_stay_where_they_are_until_vectors_choose_them(finished, tmp_path):
    """The codebook follows the kept codes, not fresh ones: then all of them would move."""
    folder = copied(finished, "tokens", tmp_path / "run")
    before = files.load_vqvae(folder).quantizer.codebook.weight.detach()
    train(folder, "tokens", 3, lengthen=True, learning_rate=0.0)
    after = files.load_vqvae(folder).quantizer.codebook.weight
    moved = (after - before).norm(dim=1) > 1e-5
    assert 1 <= moved.sum() <= len(moved) / 2


def command(monkeypatch, capsys, folder, *arguments):
    """Exit code, standard error of `vqlearn train` with these arguments."""
    size = ["--image-size", 16, "--batch-size", 2, "--out", folder]
    code, _, error = run_command(monkeypatch, capsys, "train", *arguments, *size)
    return code, error


def test_the_command_counts_all_steps_and_the_record_tells_each_time(
    finished, tmp_path, monkeypatch, capsys
):
    folder = copied(finished, "diffusion", tmp_path / "run")
    first = choices(folder, "diffusion")
    five = ["diffusion", "--steps", 5, "--lengthen"]
    assert command(monkeypatch, capsys, folder, *five)[0] == 0
    after = (folder / "SHA256SUMS").read_text()
    code, error = command(monkeypatch, capsys, folder, *five)
    assert (code, "diffusion: has 5 steps, kept" in error) == (0, True)
    assert (folder / "SHA256SUMS").read_text() == after
    six = ["diffusion", "--steps", 6, "--learning-rate", 0.5, "--lengthen"]
    assert command(monkeypatch, capsys, folder, *six)[0] == 0
    found = choices(folder, "diffusion")
    times = found.pop("lengthened")
    assert found == {**first, "steps": 6}
    rate = RECIPES["diffusion"].learning_rate / 10
    assert [(each["steps"], each["learning_rate"], each["seed"]) for each in times] == [
        (3, pytest.approx(rate), 1),
        (1, 0.5, 2),
    ]
    assert set(times[0]) == set(lengthening.ITS_OWN)


def test_as_many_steps_at_once_are_another_training(finished, tmp_path):
    folder = copied(finished, "raster", tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"steps 4 is not allowed: steps 2 .*; to learn on .*--len"
    ):
        train(folder, "raster", 4)
    train(folder, "raster", 4, lengthen=True)
    with pytest.raises(ValueError, match=r"lengthened None is not allowed: lengthened \[\{"):
        train(folder, "raster", 4)


@pytest.mark.parametrize("half_written", [False, True])
def test_a_lengthening_that_was_stopped_goes_on_to_the_same_weights(
    finished, tmp_path, monkeypatch, half_written
):
    """Stopped while it writes its result: what was there before is kept until it goes on.

    The digests are gone first, and the weights may be new already.
    """
    whole, folder = (copied(finished, "diffusion", tmp_path / name) for name in ("whole", "run"))
    train(whole, "diffusion", 5, lengthen=True)

    def stop(name, task, trained):
        if half_written:
            task.save(trained)
            (task.run.folder / "SHA256SUMS").unlink()
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(order, "_save", stop)
        with pytest.raises(InterruptedError):
            train(folder, "diffusion", 5, lengthen=True)
    if half_written:
        with pytest.raises(ValueError, match="diffusion that was being lengthened; allowed: the"):
            train(folder, "diffusion")
    else:
        assert not train(folder, "diffusion")
    with pytest.raises(ValueError, match=r"steps 6 .*is not allowed: steps 5"):
        train(folder, "diffusion", 6, lengthen=True)
    assert train(folder, "diffusion", 5, lengthen=True)
    assert (folder / "SHA256SUMS").read_text() == (whole / "SHA256SUMS").read_text()
    assert choices(folder, "diffusion") == choices(whole, "diffusion")


def test_what_cannot_be_lengthened_is_refused(finished, tmp_path):
    folder = copied(finished, "diffusion", tmp_path / "run")
    before = (folder / "SHA256SUMS").read_text()
    with pytest.raises(ValueError, match=r"not for tokens, diffusion in .* stands on them"):
        train(folder, "tokens", 5, lengthen=True)
    with pytest.raises(ValueError, match=r"not for text, diffusion in .* stands on them"):
        train(folder, "text", 5, lengthen=True)
    with pytest.raises(ValueError, match="steps is 1; allowed: more than the 2 that diffusion has"):
        train(folder, "diffusion", 1, lengthen=True)
    with pytest.raises(ValueError, match="levels 9 is not allowed: levels 100, when it is length"):
        train(folder, "diffusion", 5, lengthen=True, options={"levels": 9})
    assert (folder / "SHA256SUMS").read_text() == before
    (folder / record.FILE).unlink()
    with pytest.raises(
        ValueError, match="with a record of its choices; there is none of diffusion"
    ):
        train(folder, "diffusion", 5, lengthen=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"discriminator": True}, "not with a discriminator"), ({"quantizer": "gumbel"}, "'gumbel'")],
)
def test_tokens_that_learn_in_phases_are_not_lengthened(tmp_path, options, message):
    train(tmp_path, "tokens", options=options)
    before = weights("tokens", tmp_path)
    with pytest.raises(ValueError, match=f"lengthen is True; allowed: .*{message}"):
        train(tmp_path, "tokens", 4, lengthen=True, options=options)
    assert torch.equal(weights("tokens", tmp_path), before)


def test_one_stage_is_lengthened_at_a_time(tmp_path, monkeypatch, capsys):
    code, error = command(monkeypatch, capsys, tmp_path / "new", "all", "--lengthen")
    assert code == 1
    assert "lengthen is True; allowed: for one stage, not for 'all'" in error
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("seeds", "expected"), [([1], 2), ([0, 1, 2], 3), ([5, 2], 6)])
def test_no_batch_of_before_comes_again(seeds, expected, tmp_path):
    """Whatever seed the command has now."""
    recipe = Recipe(steps=9, batch_size=1, learning_rate=1e-3, ema_decay=0.9, seed=0)
    run = Run(tmp_path, Scenes(16, "seen"), recipe, best_accelerator())
    first, *others = ({"seed": seed} for seed in seeds)
    before = {"steps": 4, **first, "lengthened": others}
    assert lengthening.run_of(run, before).recipe.seed == expected
    assert lengthening.run_of(run, before).recipe.steps == 5
