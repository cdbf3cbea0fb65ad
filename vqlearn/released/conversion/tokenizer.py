"""CLIP's tokenizer, which no training file holds: from files on this machine, never the network."""

import gzip
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from transformers import CLIPTokenizer

from vqlearn.checkpoints.layout import TOKENIZER_FOLDER, CheckpointError, naming
from vqlearn.checkpoints.tokenizer_files import load_tokenizer
from vqlearn.probability.checks import check_choice
from vqlearn.released.conversion.text import TextSizes
from vqlearn.text.tokenizer import END, END_OF_WORD, START

MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
"""OpenAI's file: a first line, then pairs of pieces in the order in which they are merged."""
PACKAGES = ("open_clip", "clip")
"""Where it lies, if one of them is installed."""
REPOSITORIES = (
    ("openai/clip-vit-base-patch32", ""),
    ("microsoft/vq-diffusion-ithq", f"{TOKENIZER_FOLDER}/"),
)
"""Which have it, and where in them, if they are in the hub's cache."""
LARGEST = 64 * 2**20  # bytes of the unpacked file; OpenAI's has 3 MB
PAD = 0


def clip_tokenizer(given: Path | None, sizes: TextSizes) -> CLIPTokenizer:
    """The tokenizer that fits a text encoder of these sizes, padding with token 0 as it was used.

    `given`: a folder of transformers, or OpenAI's `bpe_simple_vocab_16e6.txt.gz`; None: what is
    installed or in the hub's cache.

    Raises `CheckpointError` that says what was looked for, or what does not fit.
    """
    place = given or next(_on_this_machine(), None)
    if place is None:
        raise CheckpointError(
            "CLIP's tokenizer is in no training file, and not on this machine; allowed: "
            f"--tokenizer FOLDER with vocab.json and merges.txt of {REPOSITORIES[0][0]}, or "
            f"--tokenizer {MERGES_FILE}, which `pip install open_clip_torch` brings along too"
        )
    if place.is_dir():
        tokenizer = load_tokenizer(place, sizes.vocabulary)
    else:
        tokenizer = _of_merges(place, sizes.vocabulary)
    words = tokenizer.get_vocab()
    with naming(place, ValueError):
        check_choice("the number of words", len(words), (sizes.vocabulary,))
        for name, number in ((START, sizes.vocabulary - 2), (END, sizes.vocabulary - 1)):
            check_choice(f"the number of {name}", words.get(name), (number,))
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(PAD)
    tokenizer.model_max_length = sizes.length
    return tokenizer


def _on_this_machine() -> Iterator[Path]:
    for package in PACKAGES:
        found = find_spec(package)
        for folder in (found and found.submodule_search_locations) or ():
            if (Path(folder) / MERGES_FILE).is_file():
                yield Path(folder) / MERGES_FILE
    for repository, folder in REPOSITORIES:
        names = ("merges.txt", "vocab.json")
        found = [try_to_load_from_cache(repository, folder + name) for name in names]
        if all(isinstance(path, str) for path in found):
            yield Path(found[0]).parent


def _of_merges(file: Path, size: int) -> CLIPTokenizer:
    """The tokenizer of OpenAI's list: bytes, bytes that end a word, merged pieces, start, end."""
    with naming(file, OSError, EOFError, ValueError, zlib.error), gzip.open(file) as stream:
        lines = stream.read(LARGEST).decode("utf-8").split("\n")
    letters = _letters()
    base = letters + [letter + END_OF_WORD for letter in letters]
    merges = [tuple(line.split()) for line in lines[1 : 1 + size - len(base) - 2]]
    if any(len(pair) != 2 for pair in merges):
        raise CheckpointError(
            f"{file} has a line that is no pair of pieces; allowed: {MERGES_FILE}"
        )
    pieces = dict.fromkeys([*base, *map("".join, merges), START, END])
    vocab = {piece: number for number, piece in enumerate(pieces)}
    with naming(file, Exception):  # Rust says no in its own ways
        return CLIPTokenizer(vocab=vocab, merges=merges)


def _letters() -> list[str]:
    """A letter for each byte, printable ones first, in OpenAI's order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = range(256, 512 - len(printable))
    return [chr(number) for number in (*printable, *others)]
