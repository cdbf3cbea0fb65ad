"""An exercise of lesson 04: cross-attention to text states, of which a token may see some only."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Results = Sequence[np.ndarray]
Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # query, key, value, output: each (out, in)


def cross_attention(
    x: Tensor, states: Tensor, weights: Weights, visible: Tensor, num_heads: int
) -> Tensor:
    """What n tokens read from l text states, each scaled to length 1: (b, n, d).

    Tokens (b, n, d), states (b, l, c), `visible` (b, n, l); d is the number of heads times d_head.
    Source: Vaswani et al. 2017, section 3.2.1.
    """
    return _attended(x, normalize(states, dim=-1), weights, visible, num_heads)


def _attended(
    x: Tensor, states: Tensor, weights: Weights, visible: Tensor, num_heads: int
) -> Tensor:
    """The same, of states as they are."""
    scores, values = _scores_values(x, states, weights, num_heads)
    return _merged(_closed(scores, visible).softmax(dim=-1) @ values, weights)


def _scores_values(
    x: Tensor, states: Tensor, weights: Weights, num_heads: int
) -> tuple[Tensor, Tensor]:
    """Scores (b, heads, n, l), and values (b, heads, l, d_head)."""
    query, key, value, _ = weights
    q = _split(x @ query.T, num_heads)
    k, v = _split(states @ key.T, num_heads), _split(states @ value.T, num_heads)
    return q @ k.mT / q.shape[-1] ** 0.5, v


def _split(vectors: Tensor, num_heads: int) -> Tensor:
    """(b, l, d) -> (b, heads, l, d_head)."""
    return vectors.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _closed(scores: Tensor, visible: Tensor) -> Tensor:
    return scores.masked_fill(~visible[:, None], -torch.inf)


def _merged(heads: Tensor, weights: Weights) -> Tensor:
    """(b, heads, n, d_head) -> (b, n, d): side by side, then mixed by the output map."""
    return heads.transpose(1, 2).flatten(2) @ weights[-1].T


def _softmax_over_tokens(
    x: Tensor, states: Tensor, weights: Weights, visible: Tensor, num_heads: int
) -> Tensor:
    scores, values = _scores_values(x, normalize(states, dim=-1), weights, num_heads)
    return _merged(_closed(scores, visible).softmax(dim=-2) @ values, weights)


def _root_of_width(
    x: Tensor, states: Tensor, weights: Weights, visible: Tensor, num_heads: int
) -> Tensor:
    scores, values = _scores_values(x, normalize(states, dim=-1), weights, num_heads)
    scores = scores / num_heads**0.5  # the root of d is that of d_head, times that of the heads
    return _merged(_closed(scores, visible).softmax(dim=-1) @ values, weights)


def _split_by_reshape(
    x: Tensor, states: Tensor, weights: Weights, visible: Tensor, num_heads: int
) -> Tensor:
    query, key, value, output = weights
    states = normalize(states, dim=-1)
    shape = (len(x), num_heads, -1, x.shape[-1] // num_heads)
    q, k = (x @ query.T).reshape(shape), (states @ key.T).reshape(shape)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    heads = _closed(scores, visible).softmax(dim=-1) @ (states @ value.T).reshape(shape)
    return heads.reshape(x.shape) @ output.T


def _merged_by_reshape(
    x: Tensor, states: Tensor, weights: Weights, visible: Tensor, num_heads: int
) -> Tensor:
    scores, values = _scores_values(x, normalize(states, dim=-1), weights, num_heads)
    heads = _closed(scores, visible).softmax(dim=-1) @ values
    return heads.reshape(x.shape) @ weights[-1].T


def _mask_inverted(
    x: Tensor, states: Tensor, weights: Weights, visible: Tensor, num_heads: int
) -> Tensor:
    return cross_attention(x, states, weights, ~visible, num_heads)


def _mask_after_softmax(
    x: Tensor, states: Tensor, weights: Weights, visible: Tensor, num_heads: int
) -> Tensor:
    scores, values = _scores_values(x, normalize(states, dim=-1), weights, num_heads)
    return _merged((scores.softmax(dim=-1) * visible[:, None]) @ values, weights)


def _probes(generator: torch.Generator) -> list[Arguments]:
    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def visible(b: int, n: int, length: int) -> Tensor:
        """Every token sees one state and misses one; every state is seen by a token."""
        while True:
            drawn = torch.rand(b, n, length, generator=generator) < 0.5
            if drawn.any(2).all() and drawn.any(1).all() and not drawn.all(2).any():
                return drawn

    def probe(b: int, n: int, length: int, widths: tuple[int, int], num_heads: int) -> Arguments:
        d, c = widths
        query, key, value = random(d, d) / d**0.5, 2 * random(d, c), random(d, c)
        weights = query, key, value, random(d, d) / d**0.5
        return random(b, n, d), random(b, length, c), weights, visible(b, n, length), num_heads

    return [
        probe(2, 3, 4, (4, 5), num_heads=2),
        probe(1, 5, 3, (6, 2), num_heads=3),
        probe(3, 3, 2, (8, 3), num_heads=2),
        probe(2, 4, 5, (3, 4), num_heads=1),
    ]


def _length_is_nothing(arguments: Arguments, results: Results) -> bool:
    along = (results[2] * arguments[1].numpy()).sum(axis=-1)  # of the gradient of each state
    return bool(np.allclose(along, 0, atol=1e-3))


def _means_of_visible(arguments: Arguments, results: Results) -> bool:
    _, states, (_, _, value, output), visible, _ = arguments
    heads = torch.linalg.solve(output, torch.from_numpy(results[0]).mT).mT  # before the output map
    values = (normalize(states, dim=-1) @ value.T)[:, None]  # (b, 1, l, d)
    least = torch.where(visible[..., None], values, torch.inf).amin(dim=2)
    most = torch.where(visible[..., None], values, -torch.inf).amax(dim=2)
    return bool(((heads > least - 1e-3) & (heads < most + 1e-3)).all())


CROSS_ATTENTION = Exercise(
    id="cross_attention",
    lesson=4,
    points=4,
    reference=cross_attention,
    probes=_probes,
    mistakes=(
        Mistake(
            "softmax_over_tokens",
            "the softmax runs over the tokens and not over the text positions",
            _softmax_over_tokens,
        ),
        Mistake(
            "root_of_width",
            "the scores were divided by the root of d and not of the width of a head",
            _root_of_width,
        ),
        Mistake(
            "split_by_reshape",
            "the heads were cut by a reshape alone, which mixes positions with channels",
            _split_by_reshape,
        ),
        Mistake(
            "merged_by_reshape",
            "the heads were put together by a reshape without moving their axis back",
            _merged_by_reshape,
        ),
        Mistake(
            "mask_inverted",
            "True in `visible` closes a text position",
            _mask_inverted,
            "the masks of torch.nn.MultiheadAttention, where True means closed",
        ),
        Mistake(
            "mask_after_softmax",
            "the weights of closed positions were set to 0 after the softmax",
            _mask_after_softmax,
        ),
        Mistake(
            "states_not_scaled",
            "the text states were not scaled to length 1",
            _attended,
            "the released text-to-image model scales every state, padding included",
        ),
    ),
    properties=(
        Property("the length of a text state changes nothing", _length_is_nothing),
        Property("a head returns a mean of the values that a token may see", _means_of_visible),
    ),
    differentiable=(0, 1),
)
