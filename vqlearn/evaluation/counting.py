r"""Baselines that only count: what a model of tables costs, in bits a token.

Uniform guessing costs $\log_2 K$ bits a token. The distributions here are read off a table of
counts; a network that is worth its training costs less. All are **proper distributions**: whatever
came before, the probabilities of the K tokens sum to 1, and none is 0.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float64, Int
from torch import Tensor

from vqlearn.data.characters import NUM_CLASSES, is_real
from vqlearn.data.rgb import NUM_LEVELS
from vqlearn.evaluation.caption_entropy import CaptionBits
from vqlearn.probability.checks import check_integer, check_tokens

MAX_CONTEXTS = 2**62  # contexts are numbered with int64

Counted = tuple[Tensor, list[Tensor]]
"""Tokens, and the number of the context of each: (n,), and (n,) for each length of context."""


def counted_probability(train: Counted, test: Counted, num_classes: int) -> Float64[Tensor, " n"]:
    r"""Interpolated counts (Witten and Bell 1991): each test token given ever longer contexts.

    A context is an integer; contexts go from the shortest to the longest. With c the counts of the
    training tokens and $T(h)$ the number of different tokens seen after context h,
    $p_m(x \mid h_m) = \frac{c(h_m x) + T(h_m)\, p_{m-1}(x \mid h_{m-1})}{c(h_m) + T(h_m)}$,
    begun with $p_0 = 1/K$. A context never seen leaves $p_{m-1}$ as it is.

    Cost: a binary search for each token. Raises `ValueError` for tokens outside 0 to K - 1.
    """
    (known, contexts), (tokens, asked) = train, test
    check_tokens("tokens", known, num_classes)
    check_tokens("tokens", tokens, num_classes)
    p = torch.full(tokens.shape, 1 / num_classes, dtype=torch.float64)
    for context, h in zip(contexts, asked, strict=True):
        joint = _count(context * num_classes + known)
        seen = _look_up(joint, h * num_classes + tokens)
        total = _look_up(_count(context), h)
        different = _look_up(_count(joint[0] // num_classes), h)
        p = torch.where(total > 0, (seen + different * p) / (total + different), p)
    return p


def ngram_bits(
    train: Int[Tensor, "train n"], test: Int[Tensor, "test n"], order: int
) -> CaptionBits:
    """What captions cost an n-gram model of characters, which sees the last order - 1 of them.

    The sequences are those of `characters.encode`. Each real character is predicted, and the one
    END; the padding behind it is certain and costs nothing. Before a caption stands a mark of its
    own. Raises `ValueError` for an order whose contexts cannot be numbered, or no sequences.
    """
    p = counted_probability(_ngrams(train, order), _ngrams(test, order), NUM_CLASSES)
    bits = -p.log2()
    return CaptionBits(bits.sum().item() / len(test), characters=len(bits) / len(test))


def grid_bits(
    train: Int[Tensor, "train n"],
    test: Int[Tensor, "test n"],
    num_classes: int,
    *,
    neighbours: bool,
) -> float:
    """What a token of a square grid costs, in bits, if only the training sequences are counted.

    Without `neighbours` a token's distribution depends on its position alone (a marginal of its own
    for each of the n). With them it depends on its left and upper neighbour, and then on its
    position too.
    """
    parts = (_pixels(part, num_classes, neighbours) for part in (train, test))
    return -counted_probability(*parts, num_classes).log2().mean().item()


def rgb_bits(
    train: Int[Tensor, "train n"], test: Int[Tensor, "test n"], *, neighbours: bool
) -> float:
    """What a colour of the test images costs, in bits, if only the training images are counted.

    Sequences are those of `data.rgb`. Without `neighbours` the distribution of a token depends on
    its position alone. With them: on its colour, on the colours before it in its own pixel, then on
    the same colour to the left, then above.
    """
    parts = (_colours(part, neighbours) for part in (train, test))
    return -counted_probability(*parts, NUM_LEVELS).log2().mean().item()


def _ngrams(sequences: Tensor, order: int) -> Counted:
    """All real tokens; their contexts are the 0 to order - 1 tokens before them."""
    base = NUM_CLASSES + 1  # one more, for the mark before a caption
    highest = int(math.log(MAX_CONTEXTS, base))
    if not 1 <= order <= highest:
        raise ValueError(f"order is {order}; allowed: 1 to {highest}")
    check_integer("the number of sequences", len(sequences), 1)
    marked = F.pad(sequences, (order - 1, 0), value=NUM_CLASSES)
    *before, tokens = marked.unfold(1, order, 1)[is_real(sequences)].unbind(1)  # `order` of (m,)
    return _numbered(tokens, *((token, base) for token in reversed(before)))


def _pixels(sequences: Tensor, num_classes: int, neighbours: bool) -> Counted:
    """All tokens of square grids, with their contexts."""
    n = sequences.shape[1]
    position = torch.arange(n).expand_as(sequences)
    if not neighbours:
        return _numbered(sequences, (position, n))
    images = rearrange(sequences, "b (h w) -> b h w", h=math.isqrt(n))
    left, above = (part.flatten(1) for part in _beside(images, edge=num_classes))
    base = num_classes + 1  # one more, for the edge
    return _numbered(sequences, (left, base), (above, base), (position, n))


def _colours(sequences: Tensor, neighbours: bool) -> Counted:
    """All tokens of square RGB images, with their contexts."""
    n, edge, base = sequences.shape[1], NUM_LEVELS, NUM_LEVELS + 1
    position = torch.arange(n).expand_as(sequences)
    if not neighbours:
        return _numbered(sequences, (position, n))
    images = rearrange(sequences, "b (h w c) -> b c h w", h=math.isqrt(n // 3), c=3)
    left, above = (rearrange(part, "b c h w -> b (h w c)") for part in _beside(images, edge=edge))
    red, green = (repeat(images[:, i], "b h w -> b (h w c)", c=3) for i in (0, 1))
    colour = position % 3
    own = torch.where(colour > 0, red, edge) + base * torch.where(colour > 1, green, edge)
    return _numbered(sequences, (colour, 3), (own, base**2), (left, base), (above, base))


def _numbered(tokens: Tensor, *features: tuple[Tensor, int]) -> Counted:
    """Contexts from nothing to all features, each with one more: (values, how many there may be).

    Two contexts have one number if and only if all their features are equal.
    """
    contexts = [torch.zeros_like(tokens)]
    for values, count in features:
        contexts.append(contexts[-1] * count + values)
    return tokens.flatten(), [context.flatten() for context in contexts]


def _beside(images: Tensor, *, edge: int) -> tuple[Tensor, Tensor]:
    """The left and the upper neighbour of each position; `edge` where there is none."""
    framed = F.pad(images, (1, 0, 1, 0), value=edge)
    return framed[..., 1:, :-1], framed[..., :-1, 1:]


def _count(codes: Tensor) -> tuple[Tensor, Tensor]:
    """The different codes, sorted, and how often each occurs."""
    return torch.unique(codes, return_counts=True)


def _look_up(table: tuple[Tensor, Tensor], codes: Tensor) -> Tensor:
    """How often each code occurs in the table: 0 for one that does not."""
    known, counts = table
    position = torch.searchsorted(known, codes).clamp(max=len(known) - 1)
    return torch.where(known[position] == codes, counts[position], 0)
