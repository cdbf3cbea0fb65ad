"""The tokenizer that we build from the files is the one that transformers builds from them."""

import json

import pytest
from support.tiny import WORDS, edit_json
from transformers import CLIPTokenizer

from vqlearn import CheckpointError
from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.tokenizer_files import load_tokenizer, save_tokenizer
from vqlearn.text.tokenizer import END, START, build_tokenizer

TEXTS = ["a red circle!", "", "A blue  square, a ring", "don't 42 éx 🙂 <|endoftext|>"]
FLAGS = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


@pytest.fixture
def folder(tmp_path):
    build_tokenizer(WORDS, vocab_size=530, max_length=9).save_pretrained(tmp_path)
    return tmp_path


def in_two_files(folder, **settings):
    """As transformers 4 wrote it; special tokens are objects, and padding is done with "!"."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (folder / "tokenizer.json").unlink()
    old = {
        "bos_token": {**FLAGS, "content": START, "__type": "AddedToken"},
        "eos_token": {**FLAGS, "content": END, "__type": "AddedToken"},
        "unk_token": {**FLAGS, "content": END, "__type": "AddedToken"},
        "pad_token": "!",
        "model_max_length": 9,
        "add_prefix_space": False,
        "errors": "replace",
        "do_lower_case": True,
        "name_or_path": "./clip_ViT_B_32/",
        "special_tokens_map_file": "./special_tokens_map.json",
        "tokenizer_class": "CLIPTokenizer",
        **settings,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(old))


def same(folder, rows):
    ours, theirs = load_tokenizer(folder, rows), CLIPTokenizer.from_pretrained(folder)
    assert ours.get_vocab() == theirs.get_vocab()
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.model_max_length == theirs.model_max_length
    for options in ({}, {"add_special_tokens": False, "split_special_tokens": True}):
        ids = ours(TEXTS, **options).input_ids
        assert ids == theirs(TEXTS, **options).input_ids
        assert ours.batch_decode(ids) == theirs.batch_decode(ids)
    return ours


def test_two_files_alone_are_enough(folder):
    in_two_files(folder)
    (folder / "tokenizer_config.json").unlink()
    assert {path.name for path in folder.iterdir()} == {"vocab.json", "merges.txt"}
    same(folder, 530)


def test_the_files_of_today_give_the_same_tokenizer(folder, tmp_path):
    ours = same(folder, 530)
    save_tokenizer(ours, tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    same(resolve("scenes") / "tokenizer", 647)


def test_the_files_of_the_released_model_give_the_same_tokenizer(folder):
    in_two_files(folder)
    assert same(folder, 530).pad_token == "!"


def test_a_map_of_special_tokens_beside_them_is_read(folder):
    in_two_files(folder, pad_token=END)
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"pad_token": "!", "bos_token": {**FLAGS, "content": START}})
    )
    assert same(folder, 530).pad_token == "!"


def test_tokens_that_were_added_later_are_read(folder):
    number = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    in_two_files(folder)
    (folder / "added_tokens.json").write_text(json.dumps({"ring": number}))
    assert number in same(folder, 531)("a ring").input_ids
    (folder / "added_tokens.json").unlink()
    added = {**FLAGS, "content": "ring", "special": False}
    edit_json(folder / "tokenizer_config.json", added_tokens_decoder={str(number): added})
    assert number in same(folder, 531)("a ring").input_ids


@pytest.mark.parametrize("merge", ["a", "a b c", [], ["a", 3], 3, None, ["a", "no such piece"]])
def test_merges_of_anything_but_two_pieces_are_named(folder, merge):
    file = folder / "tokenizer.json"
    model = json.loads(file.read_text())["model"]
    edit_json(file, model={**model, "merges": [*model["merges"], merge]})
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        load_tokenizer(folder, 530)
