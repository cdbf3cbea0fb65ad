"""Work is not lost, and no folder gets stuck."""

import os
import shutil
from contextlib import suppress

import pytest
from faults.fuzz_checkpoints import fingerprint

from vqlearn import CheckpointError, VQDiffusionPipeline
from vqlearn.checkpoints import folder as files

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

# C6 ------------------------------------------------------------------------------
