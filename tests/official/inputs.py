"""What the small models are asked about: always the same tokens, texts, noise and images."""

from dataclasses import dataclass

import torch
from official.clip_text import encode_text, null_text
from official.denoiser import State
from official.sizes import ReleaseSizes, TextSizes
from torch import Tensor

NULL_CLASS = 1000


@dataclass(frozen=True)
class Given:
    """Two sequences of each thing; T tensors of noise."""

    x_t: Tensor  # (2, n), some of them MASK
    t: Tensor  # (2,)
    text: Tensor | None  # (2, l) token numbers
    empty_text: Tensor | None  # (l,)
    classes: Tensor | None  # (2,)
    uniforms: Tensor  # (T, 2, n, K + 1), in 0 … 1
    images: Tensor  # (2, 3, side, side)
    codes: Tensor  # (2, n), of the tokenizer


def token_numbers(sizes: TextSizes, words: list[int]) -> Tensor:
    """Start, words, end and padding with 0, as the original's tokenizer has them."""
    start, end = sizes.vocabulary - 2, sizes.vocabulary - 1
    return torch.tensor([start, *words, end] + [0] * (sizes.length - 2 - len(words)))


def given(sizes: ReleaseSizes) -> Given:
    denoiser, text = sizes.denoiser, sizes.text
    generator = torch.Generator().manual_seed(0)
    shape, side = (2, denoiser.grid**2), denoiser.grid * sizes.codec.factor
    squares = torch.rand(2, 3, denoiser.grid, denoiser.grid, generator=generator)
    squares = squares.repeat_interleave(sizes.codec.factor, 2)
    squares = squares.repeat_interleave(sizes.codec.factor, 3)
    grain = torch.rand(2, 3, side, side, generator=generator)
    noise = (denoiser.steps, *shape, denoiser.codes + 1)
    return Given(
        x_t=torch.randint(denoiser.codes + 1, shape, generator=generator),
        t=torch.tensor([57, 3]),
        text=text and torch.stack([token_numbers(text, words) for words in ([3, 5, 8], [2])]),
        empty_text=text and token_numbers(text, []),
        classes=torch.tensor([3, 999]) if denoiser.kind == "class" else None,
        uniforms=torch.rand(noise, generator=generator),
        images=0.8 * squares + 0.2 * grain,
        codes=torch.randint(sizes.codec.codes, shape, generator=generator),
    )


def conditions(state: State, asked: Given) -> tuple[Tensor | None, Tensor | None]:
    """The condition of the two sequences and the null condition, by the kind of the model."""
    if asked.text is not None:
        return encode_text(state, asked.text), null_text(state, asked.empty_text, 2)
    if asked.classes is not None:
        return asked.classes, torch.full((2,), NULL_CLASS)
    return None, None
