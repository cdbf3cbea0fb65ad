"""Where CLIP's tokenizer comes from, and that it must fit the text encoder."""

import gzip
import shutil
import sys

import pytest
from official.sizes import SMALL
from support.official_files import clip_words, write_clip_tokenizer

from vqlearn import CheckpointError
from vqlearn.released.conversion import tokenizer as source
from vqlearn.released.conversion.text import TextSizes
from vqlearn.text.tokenizer import build_tokenizer

SIZES = TextSizes(128, 7, 60)
CAPTIONS = ["a red circle above a blue square", "a green ring"]


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without the packages and the repositories that have it."""
    monkeypatch.setattr(source, "PACKAGES", ("vqlearn_has_no_such_package",))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def write_merges(file, tokenizer):
    """The merges of a tokenizer in OpenAI's format; returns the size of its vocabulary."""
    import json

    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    lines = ['"bpe_simple_vocab_16e6.txt#version: 0.2', *(" ".join(pair) for pair in merges)]
    file.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file, "wt", encoding="utf-8") as stream:
        stream.write("\n".join([*lines, "not a merge, as there are thousands more", ""]))
    return len(merges) + 514


def test_a_folder_of_transformers_is_read(tmp_path):
    folder = write_clip_tokenizer(tmp_path / "clip", SMALL["coco_pretrained"].text)
    found = source.clip_tokenizer(folder, SIZES)
    assert found.get_vocab() == clip_words(SMALL["coco_pretrained"].text)
    assert (found.pad_token, found.pad_token_id, found.model_max_length) == ("!", 0, 7)
    assert found("c e h").input_ids == [58, 3, 5, 8, 59]


def test_openais_file_gives_the_tokenizer_that_learned_its_merges(tmp_path):
    learned = build_tokenizer(CAPTIONS, vocab_size=540, max_length=77)
    size = write_merges(tmp_path / "merges.txt.gz", learned)
    assert size == len(learned)
    found = source.clip_tokenizer(tmp_path / "merges.txt.gz", TextSizes(128, 77, size))
    words = found.get_vocab()
    assert set(words) == set(learned.get_vocab())
    assert (words["!"], words["\u0143"], words["!</w>"]) == (0, 255, 256)
    assert (words["<|startoftext|>"], words["<|endoftext|>"]) == (size - 2, size - 1)
    text = "a blue ring above ünusual ☃"
    assert found.tokenize(text) == learned.tokenize(text)


def test_a_package_or_the_cache_may_have_it(tmp_path, nowhere, monkeypatch):
    sizes = SMALL["coco_pretrained"].text
    snapshot = tmp_path / "hub/models--openai--clip-vit-base-patch32/snapshots/abc"
    write_clip_tokenizer(snapshot, sizes)
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    assert source.clip_tokenizer(None, SIZES).get_vocab() == clip_words(sizes)
    package = tmp_path / "packages/with_merges"
    learned = build_tokenizer(CAPTIONS, vocab_size=540, max_length=77)
    size = write_merges(package / source.MERGES_FILE, learned)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(source, "PACKAGES", ("with_merges",))
    assert len(source.clip_tokenizer(None, TextSizes(128, 77, size))) == size
    assert "with_merges" not in sys.modules
    shutil.rmtree(package)


def test_without_any_it_is_said_where_it_is(nowhere):
    with pytest.raises(CheckpointError, match=r"not on this machine; allowed: --tokenizer FOLDER"):
        source.clip_tokenizer(None, SIZES)


def test_tokenizers_that_do_not_fit_are_refused(tmp_path):
    folder = write_clip_tokenizer(tmp_path / "clip", SMALL["coco_pretrained"].text)
    with pytest.raises(CheckpointError, match="the number of words is 60; allowed: 61"):
        source.clip_tokenizer(folder, TextSizes(128, 7, 61))
    with pytest.raises(CheckpointError, match="has the id 59; allowed: 0 to 58"):
        source.clip_tokenizer(folder, TextSizes(128, 7, 59))
    words = clip_words(SMALL["coco_pretrained"].text)
    text = (folder / "vocab.json").read_text()
    exchanged = text.replace('"<|startoftext|>": 58', '"<|startoftext|>": 57')
    (folder / "vocab.json").write_text(exchanged.replace('"4": 57', '"4": 58'))
    assert words["4"] == 57
    with pytest.raises(CheckpointError, match=r"number of <\|startoftext\|> is 57; allowed: 58"):
        source.clip_tokenizer(folder, SIZES)


def compressed(content):
    """As gzip, without the time, which would stand in the name of the test."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "cannot be used"),
        (compressed(b"first\na b c\n"), "a line that is no pair of pieces"),
        (compressed(b"first\na b\n")[:-9], "cannot be used"),
        (compressed(b"\xff\xff\n"), "cannot be used"),
        (compressed(b"first\n")[:10] + 30 * b"\xff", "cannot be used"),
        (compressed(b"first\nxx yy\n"), "cannot be used"),
    ],
)
def test_damaged_files_of_merges_are_refused(content, message, tmp_path):
    (tmp_path / "merges.gz").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"merges.gz.*{message}"):
        source.clip_tokenizer(tmp_path / "merges.gz", TextSizes(128, 7, 515))


def test_a_missing_place_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.gz"):
        source.clip_tokenizer(tmp_path / "none.gz", SIZES)
