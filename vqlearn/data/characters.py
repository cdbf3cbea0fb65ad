"""What are captions as rows of characters? Text that a diffusion model can learn letter by letter.

    rows = caption_rows(64, generator=torch.Generator().manual_seed(0), composition="seen")
    rows            # (64, 95), int64; every row ends with one END or more
    decode(rows)    # 64 captions of the grammar

A character's number is its position in `ALPHABET`; the class after the last one is END. It stands
behind the last character of a caption and fills the row, so that all rows are equally long.
How many bits a perfect model needs is computed in `entropy`.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from vqlearn.data.scenes.captions import (
    BACKGROUND_PHRASES,
    RELATION_WORDS,
    SHAPE_WORDS,
    SIZE_WORDS,
    VOCABULARY,
    describe_all,
)
from vqlearn.data.scenes.sampling import Composition, sample_scenes
from vqlearn.data.scenes.world import BACKGROUNDS, COLOURS
from vqlearn.probability import random_stream

ALPHABET = "".join(sorted({" ", *"".join(VOCABULARY)}))
END = len(ALPHABET)
NUM_CLASSES = len(ALPHABET) + 1
_FILL = "\n"  # stands for END inside a str
_NUMBER = {character: number for number, character in enumerate(ALPHABET + _FILL)}


def _longest(*word_lists: Sequence[str]) -> int:
    return max(len(word) for words in word_lists for word in words)


_ARTICLES = {colour: "an" if colour[0] in "aeiou" else "a" for colour in COLOURS}
_LONGEST_OBJECT = max(len(f"{article} {colour}") for colour, article in _ARTICLES.items()) + (
    len("  ") + _longest(*SIZE_WORDS.values()) + _longest(*SHAPE_WORDS.values())
)
LONGEST_CAPTION = (
    2 * _LONGEST_OBJECT
    + len("   ")
    + _longest(*RELATION_WORDS.values())
    + _longest([phrase.format(name) for phrase in BACKGROUND_PHRASES for name in BACKGROUNDS])
)
LENGTH = LONGEST_CAPTION + 1


def encode(captions: Sequence[str]) -> Int[Tensor, "b length"]:
    """Which row stands for each caption? The inverse of `decode`.

    Raises ValueError for a character outside `ALPHABET` or a caption longer than
    `LONGEST_CAPTION`.
    """
    for row, caption in enumerate(captions):
        _check(row, caption)
    padded = "".join(caption.ljust(LENGTH, _FILL) for caption in captions)
    tokens = [_NUMBER[character] for character in padded]
    return rearrange(torch.tensor(tokens, dtype=torch.long), "(b n) -> b n", n=LENGTH)


def _check(row: int, caption: str) -> None:
    if len(caption) > LONGEST_CAPTION:
        raise ValueError(
            f"caption {row} has {len(caption)} characters; allowed: up to {LONGEST_CAPTION}"
        )
    unknown = set(caption) - set(ALPHABET)
    if unknown:
        position = min(caption.index(character) for character in unknown)
        raise ValueError(
            f"caption {row} holds {caption[position]!r} at place {position}; allowed: {ALPHABET!r}"
        )


def decode(rows: Int[Tensor, "b n"]) -> list[str]:
    """Which text does each row stand for? It ends before the first END; the rest is not read.

    Rows of a model may be of any length and need not hold an END.
    Raises ValueError for a number outside 0 to END.
    """
    if rows.numel() and not (0 <= int(rows.min()) and int(rows.max()) <= END):
        raise ValueError(
            f"the rows hold {int(rows.min())} to {int(rows.max())}; allowed: 0 to {END}"
        )
    table = ALPHABET + _FILL
    texts = ["".join([table[token] for token in row]) for row in rows.tolist()]
    return [text.partition(_FILL)[0] for text in texts]


def is_real(rows: Int[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """Which positions are no padding? The characters of the caption and the first END."""
    ends_before = (rows == END).long().cumsum(dim=-1) - (rows == END).long()
    return ends_before == 0


def caption_rows(
    count: int, *, generator: torch.Generator, composition: Composition
) -> Int[Tensor, "b length"]:
    """Rows of random captions: one caption each of `count` random scenes.

    Cost: about 20 microseconds a row. Raises ValueError as `sample_scenes` does.
    """
    scenes = sample_scenes(count, generator=generator, composition=composition)
    return encode(describe_all(scenes, generator=generator))


def caption_split(
    num_train: int, num_test: int, *, seed: int, composition: Composition
) -> tuple[Int[Tensor, "train length"], Int[Tensor, "test length"]]:
    """Rows to learn from and rows to measure on, drawn independently from one distribution.

    A caption may be in both by chance: what is measured is the distribution, and its entropy is the
    floor.
    """
    train, test = (
        caption_rows(
            count, generator=random_stream("captions", part, seed), composition=composition
        )
        for part, count in (("train", num_train), ("test", num_test))
    )
    return train, test
