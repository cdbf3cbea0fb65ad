"""Exercises of lesson 09: bits of padded sequences, and a mask with colours.

The one about a range of grey values is in `grey_ranges.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property
from vqlearn.course.exercises.grey_ranges import LOG_RANGE_MASS

Results = Sequence[np.ndarray]


def padded_bits(logits: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    """Bits per token of each sequence, (b,), if only its first tokens are real.

    `logits` (b, n + 1, K): at place i the scores after START and the first i tokens; tokens `x`
    (b, n), of which `lengths` (b,) are real.
    """
    return _bits(_log_p(logits[:, :-1], x), _is_real(x, lengths), lengths)


def _log_p(logits: Tensor, x: Tensor) -> Tensor:
    """log p of each token under the scores at its place: (b, n)."""
    return logits.log_softmax(dim=-1).gather(-1, x[..., None])[..., 0]


def _is_real(x: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(x.shape[1]) < lengths[:, None]


def _bits(log_p: Tensor, counted: Tensor, number: Tensor | int) -> Tensor:
    return -(log_p * counted).sum(dim=1) / number / math.log(2)


def _not_shifted(logits: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    return padded_bits(logits.roll(-1, dims=1), x, lengths)


def _first_missing(logits: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    return padded_bits(logits[:, 1:], x[:, 1:], lengths - 1)


def _nats(logits: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    return math.log(2) * padded_bits(logits, x, lengths)


def _padding_counted(logits: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    return padded_bits(logits, x, torch.full_like(lengths, x.shape[1]))


def _divided_by_n(logits: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    return _bits(_log_p(logits[:, :-1], x), _is_real(x, lengths), x.shape[1])


def _not_normalised(logits: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    scores = logits[:, :-1].gather(-1, x[..., None])[..., 0]
    return _bits(scores, _is_real(x, lengths), lengths)


def colour_mask(kind: str, out: int, inputs: int, colours: int, height: int, width: int) -> Tensor:
    """The weights of a masked convolution that count: True, (out, inputs, height, width).

    Mask `kind` "A" or "B". The channels of one colour stand side by side, those of the first colour
    first. Source: van den Oord et al. 2016a, with blocks of channels.
    """
    known = _known(kind, _blocks(out, colours), _blocks(inputs, colours))
    return _mask(_raster(height, width), known)


def _blocks(channels: int, colours: int) -> Tensor:
    """The colour of each channel."""
    return torch.arange(channels) // (channels // colours)


def _known(kind: str, own: Tensor, seen: Tensor) -> Tensor:
    """Does an output of the colour `own` know the colour `seen` of its own pixel? (out, inputs)."""
    return seen < own[:, None] if kind == "A" else seen <= own[:, None]


def _raster(height: int, width: int) -> Tensor:
    """Where a pixel comes in reading order: below 0 before the centre, which is 0."""
    return (torch.arange(height * width) - height * width // 2).view(height, width)


def _mask(order: Tensor, known: Tensor) -> Tensor:
    return (order < 0) | ((order == 0) & known[:, :, None, None])


def _always_b(kind: str, *sizes: int) -> Tensor:
    return colour_mask("B", *sizes)


def _colours_reversed(
    kind: str, out: int, inputs: int, colours: int, height: int, width: int
) -> Tensor:
    known = _known(kind, -_blocks(out, colours), -_blocks(inputs, colours))
    return _mask(_raster(height, width), known)


def _interleaved(kind: str, out: int, inputs: int, colours: int, height: int, width: int) -> Tensor:
    known = _known(kind, torch.arange(out) % colours, torch.arange(inputs) % colours)
    return _mask(_raster(height, width), known)


def _colours_ignored(
    kind: str, out: int, inputs: int, colours: int, height: int, width: int
) -> Tensor:
    return _mask(_raster(height, width), torch.full((out, inputs), kind == "B"))


def _colours_everywhere(
    kind: str, out: int, inputs: int, colours: int, height: int, width: int
) -> Tensor:
    known = _known(kind, _blocks(out, colours), _blocks(inputs, colours))
    return (_raster(height, width) <= 0) & known[:, :, None, None]


def _row_open(kind: str, out: int, inputs: int, colours: int, height: int, width: int) -> Tensor:
    order = _raster(height, width)
    order[height // 2] = -order[height // 2].abs()
    known = _known(kind, _blocks(out, colours), _blocks(inputs, colours))
    return _mask(order, known)


def _columns_first(
    kind: str, out: int, inputs: int, colours: int, height: int, width: int
) -> Tensor:
    return colour_mask(kind, out, inputs, colours, width, height).mT


def _padded_probes(generator: torch.Generator) -> list[Arguments]:
    """Random scores; in the last call all scores of a place are equal."""

    def probe(b: int, n: int, num_codes: int, *, sharp: float) -> Arguments:
        logits = torch.randn(b, n + 1, num_codes, generator=generator, dtype=torch.float64)
        level = torch.randn(b, n + 1, 1, generator=generator, dtype=torch.float64)
        x = torch.randint(num_codes, (b, n), generator=generator)
        lengths = torch.randint(2, n, (b,), generator=generator)
        lengths[-1] = n
        padding = torch.arange(n) >= lengths[:, None]
        return sharp * logits + level, x.masked_fill(padding, 0), lengths

    return [
        probe(4, 6, 5, sharp=2.0),
        probe(3, 5, 3, sharp=1.0),
        probe(2, 8, 4, sharp=3.0),
        probe(3, 4, 6, sharp=0.0),
    ]


def _mask_probes(generator: torch.Generator) -> list[Arguments]:
    """Kernels of several shapes; how many channels a colour has is drawn."""
    a, b, c, d, e = torch.randint(2, 6, (5,), generator=generator).tolist()
    return [
        ("A", 3 * a, 3, 3, 3, 3),
        ("B", 3 * b, 6, 3, 3, 5),
        ("B", 2 * c, 2, 2, 5, 3),
        ("A", 2 * d, 4, 2, 1, 3),
        ("B", 3 * a, 3 * e, 3, 1, 1),
        ("A", b, 1, 1, 3, 3),
    ]


def _costs_log_k(arguments: Arguments, results: Results) -> bool:
    logits = arguments[0]
    flat = bool(torch.allclose(logits, logits[..., :1]))
    return not flat or bool(np.allclose(results[0], math.log2(logits.shape[-1])))


def _is_not_negative(_: Arguments, results: Results) -> bool:
    return bool((results[0] >= 0).all())


def _nothing_below(arguments: Arguments, results: Results) -> bool:
    return not results[0][:, :, arguments[4] // 2 + 1 :].any()


def _all_above(arguments: Arguments, results: Results) -> bool:
    return bool((results[0][:, :, : arguments[4] // 2] == 1).all())


def _first_colour_begins(arguments: Arguments, results: Results) -> bool:
    kind, *_, height, width = arguments
    return kind == "B" or not results[0][0, :, height // 2, width // 2].any()


PADDED_BITS = Exercise(
    "padded_bits",
    lesson=9,
    points=2,
    reference=padded_bits,
    probes=_padded_probes,
    mistakes=(
        Mistake(
            "not_shifted",
            "a token was scored by the output that has read it already",
            _not_shifted,
        ),
        Mistake("first_missing", "the first token was left out", _first_missing),
        Mistake("nats", "the logarithm is natural, so the result is in nats", _nats),
        Mistake("padding_counted", "padding was counted as if it were tokens", _padding_counted),
        Mistake(
            "divided_by_n",
            "the sum over the real tokens was divided by the padded length",
            _divided_by_n,
        ),
        Mistake("not_normalised", "scores were taken for log-probabilities", _not_normalised),
    ),
    properties=(
        Property("no sequence costs less than 0 bits", _is_not_negative),
        Property("with equal scores every token costs log2 K bits", _costs_log_k),
    ),
)

COLOUR_MASK = Exercise(
    "colour_mask",
    lesson=9,
    points=3,
    reference=colour_mask,
    probes=_mask_probes,
    mistakes=(
        Mistake("always_b", "mask A sees its own colour too, which mask B alone may", _always_b),
        Mistake(
            "colours_reversed",
            "the colours of input and output were exchanged, so later colours are seen",
            _colours_reversed,
        ),
        Mistake(
            "interleaved",
            "the channels were given to the colours in turn and not in blocks",
            _interleaved,
            "right for the order of channels of lesson 09's package",
        ),
        Mistake(
            "colours_ignored",
            "the centre is open or closed as a whole, whatever the colours are",
            _colours_ignored,
        ),
        Mistake(
            "colours_everywhere",
            "the order of the colours was applied to pixels that were read before, too",
            _colours_everywhere,
        ),
        Mistake("row_open", "pixels to the right of the centre are seen", _row_open),
        Mistake(
            "columns_first",
            "the image is read column by column and not row by row",
            _columns_first,
        ),
    ),
    properties=(
        Property("no row below the centre is seen", _nothing_below),
        Property("rows above the centre are seen in all colours", _all_above),
        Property("with mask A the first colour sees nothing at the centre", _first_colour_begins),
    ),
)

EXERCISES: tuple[Exercise, ...] = (PADDED_BITS, COLOUR_MASK, LOG_RANGE_MASS)
