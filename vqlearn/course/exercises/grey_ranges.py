"""An exercise of lesson 09: the log-probability of a range of grey values, far out as well."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Results = Sequence[np.ndarray]


def log_range_mass(
    first: Tensor,
    last: Tensor,
    logits: Tensor,
    means: Tensor,
    log_scales: Tensor,
    num_values: int,
) -> Tensor:
    """log P(first <= value <= last) of a mixture of discretised logistic distributions, (b,).

    `first`, `last` (b,) are grey values 0..num_values - 1; `logits`, `means` and `log_scales`
    (b, m) belong to the components, on the scale of the values. Source: Salimans et al. 2017,
    section 2.1, for first = last.
    """
    low, high = _edges(first, last, means, log_scales, num_values)
    return _mixed(logits.log_softmax(dim=-1), _log_between(low, high))


def _edges(
    first: Tensor, last: Tensor, means: Tensor, log_scales: Tensor, num_values: int
) -> tuple[Tensor, Tensor]:
    """Both edges of the range in scales from each mean, (b, m); infinite where it has a tail."""
    low, high = _inner_edges(first, last, means, log_scales)
    low = low.masked_fill(first[:, None] == 0, -torch.inf)
    return low, high.masked_fill(last[:, None] == num_values - 1, torch.inf)


def _inner_edges(
    first: Tensor, last: Tensor, means: Tensor, log_scales: Tensor, half: float = 0.5
) -> tuple[Tensor, Tensor]:
    low, high = (edge[:, None] - means for edge in (first - half, last + half))
    return low / log_scales.exp(), high / log_scales.exp()


def _log_between(low: Tensor, high: Tensor) -> Tensor:
    """log(sigmoid(high) - sigmoid(low)) without a difference of nearly equal numbers."""
    return logsigmoid(high) + logsigmoid(-low) + (-torch.expm1(low - high)).log()


def _mixed(log_weights: Tensor, log_mass: Tensor) -> Tensor:
    return (log_weights + log_mass).logsumexp(dim=-1)


def _no_tails(
    first: Tensor, last: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, num_values: int
) -> Tensor:
    edges = _inner_edges(first, last, means, log_scales)
    return _mixed(logits.log_softmax(dim=-1), _log_between(*edges))


def _subtracted(first: Tensor, last: Tensor, logits: Tensor, *others: Tensor | int) -> Tensor:
    low, high = _edges(first, last, *others)
    return _mixed(logits.log_softmax(dim=-1), (high.sigmoid() - low.sigmoid()).log())


def _clamped(first: Tensor, last: Tensor, logits: Tensor, *others: Tensor | int) -> Tensor:
    low, high = _edges(first, last, *others)
    mass = (high.sigmoid() - low.sigmoid()).clamp(min=1e-12)
    return _mixed(logits.log_softmax(dim=-1), mass.log())


def _mean_of_logs(first: Tensor, last: Tensor, logits: Tensor, *others: Tensor | int) -> Tensor:
    log_mass = _log_between(*_edges(first, last, *others))
    return (logits.softmax(dim=-1) * log_mass).sum(dim=-1)


def _weights_not_normalised(
    first: Tensor, last: Tensor, logits: Tensor, *others: Tensor | int
) -> Tensor:
    return _mixed(logits, _log_between(*_edges(first, last, *others)))


def _half_missing(
    first: Tensor, last: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, num_values: int
) -> Tensor:
    low, high = _inner_edges(first, last, means, log_scales, half=0.0)
    low = low.masked_fill(first[:, None] == 0, -torch.inf)
    high = high.masked_fill(last[:, None] == num_values - 1, torch.inf)
    return _mixed(logits.log_softmax(dim=-1), _log_between(low, high))


def _scale_inverted(
    first: Tensor, last: Tensor, logits: Tensor, means: Tensor, log_scales: Tensor, num_values: int
) -> Tensor:
    return log_range_mass(first, last, logits, means, -log_scales, num_values)


def _range_probes(generator: torch.Generator) -> list[Arguments]:
    """Ranges inside, at both ends, of one value and of all; in the last call all means are far."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    def probe(num_values: int, m: int, *ranges: tuple[int, int], far: bool = False) -> Arguments:
        first, last = torch.tensor(ranges).T
        logits = 1 + torch.randn(len(ranges), m, generator=generator, dtype=torch.float64)
        means = (num_values - 1) * rand(len(ranges), m)
        log_scales = 0.2 + 0.6 * rand(len(ranges), m)
        if far:  # at least 80 scales below the range
            means, log_scales = first[:, None] - 41 - 10 * rand(*means.shape), math.log(0.5)
        return first, last, logits, means, torch.zeros_like(means) + log_scales, num_values

    return [
        probe(8, 3, (2, 4), (0, 1), (6, 7), (5, 5), (0, 7)),
        probe(12, 2, (0, 0), (11, 11), (3, 9), (4, 5)),
        probe(5, 1, (1, 3), (0, 2), (4, 4)),
        probe(16, 3, (4, 7), (8, 8), (1, 14), far=True),
    ]


def _at_most_one(_: Arguments, results: Results) -> bool:
    return bool((results[0] <= 1e-6).all())


def _is_finite(_: Arguments, results: Results) -> bool:
    return bool(np.isfinite(results[0]).all())


def _all_values_sum_to_one(arguments: Arguments, results: Results) -> bool:
    first, last, *_, num_values = arguments
    every = ((first == 0) & (last == num_values - 1)).numpy()
    return bool(np.allclose(results[0][every], 0, atol=1e-6))


LOG_RANGE_MASS = Exercise(
    "log_range_mass",
    lesson=9,
    points=4,
    reference=log_range_mass,
    probes=_range_probes,
    mistakes=(
        Mistake("no_tails", "the lowest and the highest value lack the tails", _no_tails),
        Mistake(
            "subtracted",
            "two nearly equal numbers were subtracted, so a mass far out is 0",
            _subtracted,
        ),
        Mistake(
            "clamped",
            "a mass below 1e-12 became 1e-12 before the logarithm",
            _clamped,
            "the code of PixelCNN++, which takes the density instead where this would matter",
        ),
        Mistake(
            "mean_of_logs",
            "logarithms were averaged over the components, and not probabilities",
            _mean_of_logs,
        ),
        Mistake(
            "weights_not_normalised",
            "the weights of the components do not sum to 1",
            _weights_not_normalised,
        ),
        Mistake(
            "half_missing",
            "the range ends at its values, without half a step beyond them",
            _half_missing,
        ),
        Mistake(
            "scale_inverted",
            "the distance was multiplied by the scale and not divided by it",
            _scale_inverted,
        ),
    ),
    properties=(
        Property("every result is finite", _is_finite),
        Property("no probability is above 1", _at_most_one),
        Property("the range of all values has the probability 1", _all_values_sum_to_one),
    ),
)
