"""The tokenizer of a checkpoint: `tokenizer.json`, or `vocab.json` and `merges.txt` of older ones.

The files are data: we read and check them, and build the tokenizer ourselves. Of
`tokenizer_config.json` the special tokens and the length are used, and no other key.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken
from transformers import CLIPTokenizer

from vqlearn.checkpoints.layout import TOKENIZER_FILE, CheckpointError, naming
from vqlearn.checkpoints.modules import part_replaced
from vqlearn.checkpoints.reading import read_json, read_text
from vqlearn.probability.checks import check_integer, shown

SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
SHORTEST = 3  # start, one word, end
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


class Pieces(NamedTuple):
    """The id of every piece of text, the pairs that are merged, the tokens that were added by id.

    `file` is the one that they stand in.
    """

    file: Path
    ids: dict[str, int]
    merges: list[tuple[str, str]]
    added: dict[int, AddedToken]


def load_tokenizer(folder: Path, num_embeddings: int) -> CLIPTokenizer:
    """The tokenizer of a folder. Raises `CheckpointError` if an id has no row in the embedding."""
    pieces = _read_pieces(folder)
    settings = _read_if_there(folder / "tokenizer_config.json")
    added = {**_added_before(folder, settings), **pieces.added}
    if "added_tokens_decoder" not in settings:
        settings |= _read_if_there(folder / "special_tokens_map.json")
    known = {**pieces.ids, **{token.content: number for number, token in added.items()}}
    _check_ids(pieces.file, known.values(), num_embeddings)
    options = {name: _content(settings[name]) for name in SPECIAL if settings.get(name) is not None}
    if settings.get("model_max_length") is not None:
        with naming(folder / "tokenizer_config.json", TypeError, ValueError):
            check_integer("model_max_length", settings["model_max_length"], SHORTEST)
        options["model_max_length"] = settings["model_max_length"]
    # Rust says no in its own ways to what does not fit together
    with naming(f"{pieces.file} or tokenizer_config.json", Exception):
        tokenizer = CLIPTokenizer(
            vocab=pieces.ids, merges=pieces.merges, added_tokens_decoder=added, **options
        )
    if tokenizer.get_vocab() != known:
        raise CheckpointError(
            f"{folder} has special tokens that are not in the vocabulary, or under other ids; "
            "allowed: tokens of the vocabulary"
        )
    return tokenizer


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write a tokenizer as transformers reads it; `tokenizer.json` comes last."""
    with part_replaced(folder, TOKENIZER_FILE) as begun:
        tokenizer.save_pretrained(begun)


def _read_pieces(folder: Path) -> Pieces:
    names = {path.name for path in folder.glob("*")}
    if TOKENIZER_FILE in names:
        return _read_one_file(folder / TOKENIZER_FILE)
    if not {"vocab.json", "merges.txt"} <= names:
        raise CheckpointError(
            f"{folder} holds {shown(sorted(names))}; "
            "allowed: tokenizer.json, or vocab.json and merges.txt"
        )
    lines = read_text(folder / "merges.txt").split("\n")
    merges = [line.rstrip("\r") for line in lines if line.strip() and line[:8] != "#version"]
    file = folder / "vocab.json"
    return Pieces(file, _ids(file, read_json(file)), _pairs(folder / "merges.txt", merges), {})


def _read_one_file(file: Path) -> Pieces:
    whole = read_json(file)
    model, added = whole.get("model"), whole.get("added_tokens", [])
    if not isinstance(model, dict) or model.get("type") not in (None, "BPE"):
        raise CheckpointError(f"{file} has the model {shown(model)}; allowed: one of the type BPE")
    ids, merges = _ids(file, model.get("vocab")), _pairs(file, model.get("merges"))
    with naming(f"added_tokens of {file}", TypeError, KeyError):  # no list, no objects, no id
        return Pieces(file, ids, merges, {token["id"]: _token(file, token) for token in added})


def _ids(file: Path, vocab: object) -> dict[str, int]:
    if not isinstance(vocab, dict) or any(type(number) is not int for number in vocab.values()):
        raise CheckpointError(f"{file} has the vocabulary {shown(vocab)}; allowed: ids by piece")
    return vocab


def _pairs(file: Path, merges: object) -> list[tuple[str, str]]:
    pairs = merges if isinstance(merges, list) else [None]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in pairs]
    for pair in pairs:
        is_pair = isinstance(pair, list) and len(pair) == 2
        if not is_pair or not all(isinstance(piece, str) for piece in pair):
            raise CheckpointError(f"{file} has the merge {shown(pair)}; allowed: pairs of pieces")
    return [tuple(pair) for pair in pairs]


def _token(file: Path, values: dict[str, Any]) -> AddedToken:
    flags = {name: values[name] for name in FLAGS if name in values}
    content = values.get("content")
    if not isinstance(content, str) or any(type(flag) is not bool for flag in flags.values()):
        raise CheckpointError(
            f"{file} has the added token {shown(values)}; allowed: text and flags"
        )
    return AddedToken(content, **flags)


def _added_before(folder: Path, settings: dict[str, Any]) -> dict[int, AddedToken]:
    """The added tokens of files of transformers 4, by id."""
    file, old_file = folder / "tokenizer_config.json", folder / "added_tokens.json"
    with naming(f"added tokens of {folder}", TypeError, ValueError, AttributeError):
        if "added_tokens_decoder" in settings:
            added = settings["added_tokens_decoder"]
            return {int(number): _token(file, token) for number, token in added.items()}
        return {number: AddedToken(piece) for piece, number in _read_if_there(old_file).items()}


def _check_ids(file: Path, ids: Iterable[Any], num_embeddings: int) -> None:
    for number in ids:
        if type(number) is not int or not 0 <= number < num_embeddings:
            raise CheckpointError(
                f"{file} has the id {shown(number)}; allowed: 0 to {num_embeddings - 1}, "
                "the rows of the text encoder's embedding"
            )


def _content(token: object) -> object:
    """The text of a special token, which older files describe as an object."""
    return token.get("content") if isinstance(token, dict) else token


def _read_if_there(file: Path) -> dict[str, Any]:
    return read_json(file) if os.path.lexists(file) else {}
