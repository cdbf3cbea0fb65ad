"""Work is not lost, and no folder gets stuck."""

import os
import shutil
import sys
from contextlib import suppress

import pytest
from faults.fuzz_checkpoints import fingerprint
from PIL import Image
from support.tiny import write_diffusers_folder

from vqlearn import CheckpointError, TextToImagePipeline, VQDiffusionPipeline
from vqlearn.checkpoints import HubOptions
from vqlearn.checkpoints import folder as files
from vqlearn.cli import commands, outputs
from vqlearn.pipeline import save_gif

# C1 ------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def stopped_at(monkeypatch, count, error=Killed):
    """The `count`-th file cannot be flushed to the disk; who is killed does not tidy up either."""
    flushed, real = [], os.fsync

    def fsync(descriptor):
        flushed.append(descriptor)
        if len(flushed) < count:
            return real(descriptor)
        if error is Killed:
            monkeypatch.setattr(shutil, "rmtree", lambda *a, **options: None)
            monkeypatch.setattr("pathlib.Path.unlink", lambda *a, **options: None)
        raise error

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("count", [1, 8, 13, 14, 20, 25, 26])
def test_a_save_that_is_killed_leaves_the_old_the_new_or_no_checkpoint(checkpoint, count, tmp_path):
    old = VQDiffusionPipeline.from_pretrained(checkpoint)
    old.save_pretrained(checkpoint)
    new = VQDiffusionPipeline.from_pretrained(checkpoint)
    new.null_text.embeddings.data += 1
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, count)
        with suppress(Killed):
            new.save_pretrained(checkpoint)
    if (checkpoint / "model_index.json").exists():
        seen = fingerprint(VQDiffusionPipeline.from_pretrained(checkpoint))
        assert seen in (fingerprint(old), fingerprint(new))
    else:
        with pytest.raises(CheckpointError, match=r"no file .*model_index\.json"):
            VQDiffusionPipeline.from_pretrained(checkpoint)
    new.save_pretrained(checkpoint)  # what was left lying about is in nobody's way
    assert fingerprint(VQDiffusionPipeline.from_pretrained(checkpoint)) == fingerprint(new)
    assert not list(checkpoint.rglob(".part-*"))


def test_a_full_disk_leaves_the_old_checkpoint(checkpoint):
    pipeline = VQDiffusionPipeline.from_pretrained(checkpoint)
    before = fingerprint(pipeline)
    pipeline.null_text.embeddings.data += 1
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, 1, OSError(28, "No space left on device"))
        with pytest.raises(OSError, match="No space left"):
            pipeline.save_pretrained(checkpoint)
    assert fingerprint(VQDiffusionPipeline.from_pretrained(checkpoint)) == before
    assert not list(checkpoint.rglob(".part-*"))


@pytest.mark.parametrize("part", ["vqvae", "transformer", "text_encoder", "tokenizer", "scheduler"])
def test_the_marker_of_a_part_is_whole_or_not_there(checkpoint, tmp_path, part):
    """A kill before any flush: no config, no tokenizer.json, that a later run would trust."""
    pipeline = VQDiffusionPipeline.from_pretrained(checkpoint)
    if part in ("text_encoder", "tokenizer"):
        save, thing = files.save_text_encoder, pipeline.text_encoder
    else:
        save, thing = files.save_network, pipeline.vqvae if part == "vqvae" else pipeline.model
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, 1)
        with pytest.raises(Killed):
            save(thing, tmp_path / "new")
    markers = ("config.json", "tokenizer.json", "scheduler_config.json")
    assert not [name for name in markers if (tmp_path / "new" / part / name).exists()]


# C2 ------------------------------------------------------------------------------

# C3 ------------------------------------------------------------------------------

# C4 ------------------------------------------------------------------------------

# C5 ------------------------------------------------------------------------------


def refusal(monkeypatch, capsys, *arguments):
    """The one line with which `vqlearn ARGUMENTS` ends, if no model was asked for anything."""
    called = lambda *_, **__: pytest.fail("the work was begun")  # noqa: E731
    monkeypatch.setattr(TextToImagePipeline, "from_pretrained", called)
    monkeypatch.setattr(sys, "argv", ["vqlearn", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def sealed(tmp_path):
    """A file where a folder would have to be: nothing can be written below it, not even by root."""
    (tmp_path / "sealed").write_text("")
    return tmp_path / "sealed"


@pytest.mark.parametrize("option", ["--out", "--film"])
def test_outputs_are_tried_before_the_work(option, sealed, tmp_path, monkeypatch, capsys):
    (tmp_path / "folder.gif").mkdir()
    monkeypatch.chdir(tmp_path)
    generate = ["generate", "a red circle", option]
    for file, words in (
        (sealed / "a.gif", "cannot be written to"),
        ("folder.gif", "a folder; allowed: a file"),
        ("image.xyz", "allowed: a"),
        ("image.hdf", "allowed: a"),
        ("image", "allowed: a"),
        ("", "allowed: a"),
    ):
        line = refusal(monkeypatch, capsys, *generate, file)
        assert line.startswith(f"vqlearn: {option}")
        assert words in line
    assert not (tmp_path / "image.xyz").exists()


def test_image_and_film_are_two_files(tmp_path, monkeypatch, capsys):
    (tmp_path / "link.gif").symlink_to(tmp_path / "a.gif")
    for film in ("a.gif", "../" + tmp_path.name + "/a.gif", "link.gif"):
        monkeypatch.chdir(tmp_path)
        words = ["generate", "a red circle", "--out", tmp_path / "a.gif", "--film", film]
        assert "allowed: another file than that of --out" in refusal(monkeypatch, capsys, *words)


def test_the_folder_of_a_report_is_tried_before_the_work(sealed, monkeypatch, capsys):
    line = refusal(monkeypatch, capsys, "verify", "scenes", "--out", sealed / "report")
    assert line.startswith("vqlearn: --out: ")


def test_home_is_expanded_wherever_a_path_comes_in(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_diffusers_folder(tmp_path / "model")
    words = ["generate", "a red circle", "--model", "~/model", "--steps", "2"]
    words += ["--out", "~/new/image.png", "--film", "~/film.gif"]
    monkeypatch.setattr(sys, "argv", ["vqlearn", *words])
    with pytest.raises(SystemExit):
        commands.main()
    assert capsys.readouterr().out.split() == [str(tmp_path / "new" / "image.png")]
    pipe = VQDiffusionPipeline.from_pretrained("~/model")
    pipe.save_pretrained("~/again")
    save_gif([Image.new("RGB", (2, 2))], "~/two/film.gif")
    assert HubOptions(cache_dir="~/cache").cache_dir == tmp_path / "cache"
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"model", "again", "new", "two", "film.gif"}


@pytest.mark.parametrize("write", [outputs.save_image, lambda one, file: save_gif([one], file)])
def test_an_image_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch, write):
    file = tmp_path / "image.gif"
    file.write_bytes(b"old")

    def full(image, path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write(Image.new("RGB", (2, 2)), file)
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["image.gif"]


def test_saving_a_pipeline_where_nothing_can_be_written(sealed):
    pipe = VQDiffusionPipeline.from_pretrained("scenes")
    with pytest.raises(OSError, match=r"save_directory: .* cannot be written to"):
        pipe.save_pretrained(sealed / "model")
    with pytest.raises(TypeError, match="save_directory is 5; allowed: a path"):
        pipe.save_pretrained(5)


# C6 ------------------------------------------------------------------------------
