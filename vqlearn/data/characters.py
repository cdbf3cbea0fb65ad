"""Captions as rows of characters: text that a diffusion model can learn letter by letter.

    rows = caption_rows(64, generator=torch.Generator().manual_seed(0), composition="seen")
    rows            # (64, 95), int64; every row ends with one END or more
    decode(rows)    # 64 captions of the grammar

A character's number is its position in `ALPHABET`; the class after the last one is END. It stands
behind the last character of a caption and fills the row, so that all rows are equally long.
How many bits a perfect model needs is computed in `evaluation.caption_entropy`.
"""

from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from vqlearn.data.scenes.captions import VOCABULARY, describe_all
from vqlearn.data.scenes.sampling import Composition, sample_scenes
from vqlearn.probability import random_stream
from vqlearn.probability.checks import check_tokens

ALPHABET = "".join(sorted({" ", *"".join(VOCABULARY)}))
END = len(ALPHABET)
NUM_CLASSES = len(ALPHABET) + 1
_FILL = "\n"  # stands for END inside a str
_NUMBER = {character: number for number, character in enumerate(ALPHABET + _FILL)}
LONGEST_CAPTION = len(
    "an orange little triangle to the right of an orange little crescent against a white background"
)
LENGTH = LONGEST_CAPTION + 1


def encode(captions: Sequence[str]) -> Int[Tensor, "b length"]:
    """The row of each caption; the inverse of `decode`.

    Raises ValueError for a character outside `ALPHABET` or a caption longer than
    `LONGEST_CAPTION`.
    """
    for row, caption in enumerate(captions):
        if len(caption) > LONGEST_CAPTION:
            raise ValueError(
                f"caption {row} has {len(caption)} characters; allowed: up to {LONGEST_CAPTION}"
            )
        if unknown := set(caption) - set(ALPHABET):
            n = min(map(caption.index, unknown))
            raise ValueError(
                f"caption {row} holds {caption[n]!r} at position {n}; allowed: {ALPHABET!r}"
            )
    padded = "".join(caption.ljust(LENGTH, _FILL) for caption in captions)
    tokens = [_NUMBER[character] for character in padded]
    return rearrange(torch.tensor(tokens, dtype=torch.long), "(b n) -> b n", n=LENGTH)


def decode(rows: Int[Tensor, "b n"]) -> list[str]:
    """The text of each row. It ends before the first END; the rest is not read.

    Rows of a model may be of any length and need not hold an END.
    Raises ValueError for a number outside 0 to END.
    """
    check_tokens("the tensor of rows", rows, NUM_CLASSES)
    table = ALPHABET + _FILL
    texts = ["".join([table[token] for token in row]) for row in rows.tolist()]
    return [text.partition(_FILL)[0] for text in texts]


def is_real(rows: Int[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """Which positions are no padding: the characters of the caption and the first END."""
    ends = (rows == END).long()
    return ends.cumsum(dim=-1) == ends  # no END before


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

    def part(name: str, count: int) -> Int[Tensor, "count length"]:
        generator = random_stream("captions", name, seed)
        return caption_rows(count, generator=generator, composition=composition)

    return part("train", num_train), part("test", num_test)
