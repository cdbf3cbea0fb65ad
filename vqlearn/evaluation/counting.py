r"""How many bits does a model need that only counts? What stands between chance and the floor.

Uniform guessing costs $\log_2 K$ bits a token. The distributions here are read off a table of
counts; a network that is worth its training costs less. All are **proper distributions**: whatever
came before, the probabilities of the K tokens sum to 1, and none is 0.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float64, Int
from torch import Tensor

from vqlearn.data import Digits
from vqlearn.data.characters import NUM_CLASSES, Bits, is_real
from vqlearn.data.rgb import NUM_LEVELS

MAX_CODES = 2**62  # contexts are numbered with int64


class CountedDistribution:
    r"""Interpolated counts (Witten and Bell 1991): the distribution of a token given ever longer
    contexts.

    A context is a row of integers; `contexts` go from the shortest to the longest. With c the
    counts of the training tokens and $T(h)$ the number of different tokens seen after context h,
    $p_m(x \mid h_m) = \frac{c(h_m x) + T(h_m)\, p_{m-1}(x \mid h_{m-1})}{c(h_m) + T(h_m)}$,
    begun with $p_0 = 1/K$. A context never seen leaves $p_{m-1}$ as it is.

    Raises ValueError for tokens outside 0 to K - 1.
    """

    def __init__(
        self, tokens: Int[Tensor, " n"], contexts: Sequence[Int[Tensor, " n"]], num_classes: int
    ) -> None:
        _check_tokens(tokens, num_classes)
        self.num_classes = num_classes
        self.joint = [_count(context * num_classes + tokens) for context in contexts]
        self.alone = [_count(context) for context in contexts]
        self.kinds = [_count(codes // num_classes) for codes, _ in self.joint]

    def probability(
        self, tokens: Int[Tensor, " n"], contexts: Sequence[Int[Tensor, " n"]]
    ) -> Float64[Tensor, " n"]:
        """How likely is each token after its contexts? Cost: a binary search for each."""
        _check_tokens(tokens, self.num_classes)
        p = torch.full(tokens.shape, 1 / self.num_classes, dtype=torch.float64)
        tables = zip(self.joint, self.alone, self.kinds, contexts, strict=True)
        for joint, alone, kinds, context in tables:
            seen = _look_up(joint, context * self.num_classes + tokens)
            total, different = _look_up(alone, context), _look_up(kinds, context)
            p = torch.where(total > 0, (seen + different * p) / (total + different), p)
        return p


def ngram_bits(
    train_rows: Int[Tensor, "train n"], test_rows: Int[Tensor, "test n"], order: int
) -> Bits:
    """What do captions cost an n-gram model of characters? It sees the last order - 1 of them.

    The rows are those of `characters.encode`. Each real character is predicted, and the one END;
    the padding behind it is certain and costs nothing. Before a caption stands a mark of its own.
    Raises ValueError for an order whose contexts cannot be numbered, or no rows.
    """
    distribution = CountedDistribution(*_ngrams(train_rows, order), NUM_CLASSES)
    tokens, contexts = _ngrams(test_rows, order)
    total = -distribution.probability(tokens, contexts).log2().sum().item()
    return Bits(per_caption=total / len(test_rows), characters=len(tokens) / len(test_rows))


def _ngrams(rows: Tensor, order: int) -> tuple[Tensor, list[Tensor]]:
    """The real tokens of all rows, and the number of what stood before: 0 to order - 1 tokens."""
    base = NUM_CLASSES + 1  # one more, for the mark before a caption
    highest = int(math.log(MAX_CODES, base))
    if not 1 <= order <= highest:
        raise ValueError(f"order is {order}; allowed: 1 to {highest}")
    if not len(rows):
        raise ValueError("there are 0 rows to count; allowed: 1 or more")
    real = is_real(rows)
    mark = torch.full((len(rows), order - 1), NUM_CLASSES)
    padded = torch.cat([mark, rows], dim=1)
    context = torch.zeros_like(rows)
    contexts = [context[real]]
    for back in range(1, order):
        before = padded[:, order - 1 - back : padded.shape[1] - back]
        context = context + before * base ** (back - 1)
        contexts.append(context[real])
    return rows[real], contexts


def digit_bits(data: Digits, *, neighbours: bool) -> float:
    """The same as `grid_bits`, of the test digits and the training part."""
    return grid_bits(data.train, data.test, data.num_classes, neighbours=neighbours)


def grid_bits(
    train_rows: Int[Tensor, "train n"],
    test_rows: Int[Tensor, "test n"],
    num_classes: int,
    *,
    neighbours: bool,
) -> float:
    """What does a token of a square grid cost, in bits, if only the training rows are counted?

    Without `neighbours` a token's distribution depends on its position alone (a marginal of its own
    for each of the n). With them it depends on its left and upper neighbour, and then on its
    position too.
    """
    distribution = CountedDistribution(*_pixels(train_rows, num_classes, neighbours), num_classes)
    tokens, contexts = _pixels(test_rows, num_classes, neighbours)
    return -distribution.probability(tokens, contexts).log2().mean().item()


def rgb_bits(
    train_rows: Int[Tensor, "train n"], test_rows: Int[Tensor, "test n"], *, neighbours: bool
) -> float:
    """What does a colour of the test images cost, in bits, if only the training rows are counted?

    Rows are those of `data.pixels`. Without `neighbours` the distribution of a token depends on its
    position alone. With them: on its colour, on the colours before it in its own pixel, then on the
    same colour to the left, then above.
    """
    distribution = CountedDistribution(*_colours(train_rows, neighbours), NUM_LEVELS)
    tokens, contexts = _colours(test_rows, neighbours)
    return -distribution.probability(tokens, contexts).log2().mean().item()


def _colours(rows: Tensor, neighbours: bool) -> tuple[Tensor, list[Tensor]]:
    """All tokens of RGB images, and the numbers of their contexts, from the shortest on."""
    pixels, edge = rearrange(rows, "b (p c) -> b p c", c=3), NUM_LEVELS
    images = rearrange(pixels, "b (h w) c -> b c h w", h=math.isqrt(pixels.shape[1]))
    left, above = (rearrange(part, "b c h w -> b (h w c)") for part in _beside(images, edge=edge))
    position = torch.arange(rows.shape[1]).expand_as(rows)
    contexts = [0 * position, position]
    if neighbours:
        base = NUM_LEVELS + 1
        red, green = (repeat(pixels[..., i], "b p -> b (p c)", c=3) for i in (0, 1))
        colour = position % 3
        own = colour + 3 * torch.where(colour > 0, red, edge)
        own = own + 3 * base * torch.where(colour > 1, green, edge)
        beside = own + 3 * base**2 * left
        contexts = [0 * position, colour, own, beside, beside + 3 * base**3 * above]
    return rows.flatten(), [context.flatten() for context in contexts]


def _pixels(rows: Tensor, num_classes: int, neighbours: bool) -> tuple[Tensor, list[Tensor]]:
    """All tokens, and the numbers of their contexts, from nothing to all that is looked at."""
    images = rearrange(rows, "b (h w) -> b h w", h=math.isqrt(rows.shape[1]))
    left, above = (part.flatten(1) for part in _beside(images, edge=num_classes))
    position = torch.arange(rows.shape[1]).expand_as(rows)
    contexts = [0 * position, position]
    if neighbours:
        around = left * (num_classes + 1) + above
        contexts = [0 * position, left, around, around * rows.shape[1] + position]
    return rows.flatten(), [context.flatten() for context in contexts]


def _beside(images: Tensor, *, edge: int) -> tuple[Tensor, Tensor]:
    """The left and the upper neighbour of every position, (..., h, w); `edge` where there is
    none."""
    framed = F.pad(images, (1, 0, 1, 0), value=edge)
    return framed[..., 1:, :-1], framed[..., :-1, 1:]


def _check_tokens(tokens: Tensor, num_classes: int) -> None:
    if tokens.numel() and not (tokens.min() >= 0 and tokens.max() < num_classes):
        raise ValueError(
            f"the tokens are {tokens.min().item()} to {tokens.max().item()}; "
            f"allowed: 0 to {num_classes - 1}"
        )


def _count(codes: Tensor) -> tuple[Tensor, Tensor]:
    """The different codes, sorted, and how often each occurs."""
    return torch.unique(codes, return_counts=True)


def _look_up(table: tuple[Tensor, Tensor], codes: Tensor) -> Tensor:
    """How often does each code occur in the table? 0 for one that does not."""
    known, counts = table
    position = torch.searchsorted(known, codes).clamp(max=len(known) - 1)
    return torch.where(known[position] == codes, counts[position], 0)
