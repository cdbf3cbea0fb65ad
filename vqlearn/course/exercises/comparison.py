"""Exercises of lesson 11: a paired interval, and which of many effects survive.

Sources: Newcombe 1998, Statistics in Medicine 17, 2635-2650, for paired shares; Holm 1979 for many
tests at once.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Z = 1.959964
Interval = tuple[float, float, float]
Results = Sequence[np.ndarray]
# Effects over their standard errors; in each line two are nearly equal. The last has products
# of a p-value and its factor that are above 1.
RATIOS = (
    (2.2, 2.23, 0.4, 1.2, 3.1),
    (0.7, 2.6, 1.7, 1.72),
    (1.3, 2.1, 0.9, 2.12, 1.8, 0.2),
    (2.7, 0.9, 0.35, 0.88),
)
# Effects that lesson 11 prints, in points, with the ends of their intervals.
STORED = (
    (45.0, 33.0, 55.3),
    (3.0, -5.5, 11.6),
    (9.0, -0.3, 18.4),
    (-10.0, -19.5, -0.6),
    (13.7, 2.1, 24.8),
    (-18.3, -27.8, -9.1),
)


def paired_interval(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    """(difference, low, high) of the shares of A and B that met the same items, 95 %.

    Newcombe's paired method with Wilson's ends: squares are added, less twice the product, weighted
    with the correlation phi of both answers; 0 where one of them never varies.
    """
    n, phi = both + only_a + only_b + neither, _phi(both, only_a, only_b, neither)
    return _square_and_add(_wilson(both + only_a, n), _wilson(both + only_b, n), phi)


def _phi(both: int, only_a: int, only_b: int, neither: int) -> float:
    right_a, wrong_a = both + only_a, only_b + neither
    right_b, wrong_b = both + only_b, only_a + neither
    product = right_a * wrong_a * right_b * wrong_b
    return (both * neither - only_a * only_b) / math.sqrt(product) if product else 0.0


def _wilson(right: int, n: int) -> Interval:
    """(share, low, high)."""
    share, z2 = right / n, Z**2 / n
    half = Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n))
    return share, (share + z2 / 2 - half) / (1 + z2), (share + z2 / 2 + half) / (1 + z2)


def _square_and_add(a: Interval, b: Interval, phi: float) -> Interval:
    (p, p_low, p_high), (q, q_low, q_high) = a, b
    down, up = _root(p - p_low, q_high - q, phi), _root(p_high - p, q - q_low, phi)
    return p - q, p - q - down, p - q + up


def _root(x: float, y: float, phi: float) -> float:
    return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))


def _unpaired(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    n = both + only_a + only_b + neither
    return _square_and_add(_wilson(both + only_a, n), _wilson(both + only_b, n), 0.0)


def _covariance_added(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    n, phi = both + only_a + only_b + neither, _phi(both, only_a, only_b, neither)
    return _square_and_add(_wilson(both + only_a, n), _wilson(both + only_b, n), -phi)


def _covariance_for_phi(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    n = both + only_a + only_b + neither
    covariance = (both * neither - only_a * only_b) / n**2
    return _square_and_add(_wilson(both + only_a, n), _wilson(both + only_b, n), covariance)


def _ends_mixed(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    n, phi = both + only_a + only_b + neither, _phi(both, only_a, only_b, neither)
    p, p_low, p_high = _wilson(both + only_a, n)
    q, q_low, q_high = _wilson(both + only_b, n)
    low, high = _root(p - p_low, q - q_low, phi), _root(p_high - p, q_high - q, phi)
    return p - q, p - q - low, p - q + high


def _wald(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    n = both + only_a + only_b + neither
    mean = (only_a - only_b) / n
    half = Z * math.sqrt(((only_a + only_b) / n - mean**2) / n)
    return mean, mean - half, mean + half


def _agreeing_left_out(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    return paired_interval(0, only_a, only_b, 0)


def _tables(generator: torch.Generator) -> list[Arguments]:
    """The lesson's table; three drawn ones, the second with phi < 0; A always right, B seldom."""
    low = torch.tensor([[30, 5, 2, 10], [4, 20, 26, 3], [2, 3, 1, 40]])
    drawn = low + torch.randint(6, (3, 4), generator=generator)
    return [(62, 13, 3, 22), *map(tuple, drawn.tolist()), (4, 16, 0, 0)]


def _is_the_difference(arguments: Arguments, results: Results) -> bool:
    _, only_a, only_b, _ = arguments
    return bool(np.isclose(results[0][0], (only_a - only_b) / sum(arguments), atol=1e-6))


def _lies_between(_: Arguments, results: Results) -> bool:
    value, low, high = results[0]
    return bool(-1 - 1e-6 <= low <= value <= high <= 1 + 1e-6)


def holm_adjusted(values: Tensor, lows: Tensor, highs: Tensor) -> Tensor:
    """Holm's adjusted p-values (m,) of the claims "this effect is not 0", in the given order.

    From effects with 95 % intervals: two-sided normal p-values; the i-th smallest times m - i + 1,
    never less than the one before it, at most 1.
    """
    order, adjusted = _stepped_down(_p_values(values, lows, highs))
    return torch.empty_like(adjusted).scatter(0, order, adjusted)


def _p_values(values: Tensor, lows: Tensor, highs: Tensor) -> Tensor:
    errors = (highs - lows) / (2 * Z)
    return torch.special.erfc((values / errors).abs() / math.sqrt(2))


def _stepped_down(p: Tensor, *, running: bool = True) -> tuple[Tensor, Tensor]:
    """The order of the p-values, and the adjusted ones in this order."""
    ranked, order = p.sort()
    factors = torch.arange(len(p), 0, -1)
    products = ranked * factors
    return order, (products.cummax(0).values if running else products).clamp(max=1)


def _bonferroni(values: Tensor, lows: Tensor, highs: Tensor) -> Tensor:
    return (len(values) * _p_values(values, lows, highs)).clamp(max=1)


def _may_fall(values: Tensor, lows: Tensor, highs: Tensor) -> Tensor:
    order, adjusted = _stepped_down(_p_values(values, lows, highs), running=False)
    return torch.empty_like(adjusted).scatter(0, order, adjusted)


def _sorted_order(values: Tensor, lows: Tensor, highs: Tensor) -> Tensor:
    return _stepped_down(_p_values(values, lows, highs))[1]


def _order_not_inverted(values: Tensor, lows: Tensor, highs: Tensor) -> Tensor:
    order, adjusted = _stepped_down(_p_values(values, lows, highs))
    return adjusted[order]


def _one_sided(values: Tensor, lows: Tensor, highs: Tensor) -> Tensor:
    order, adjusted = _stepped_down(_p_values(values, lows, highs) / 2)
    return torch.empty_like(adjusted).scatter(0, order, adjusted)


def _whole_width(values: Tensor, lows: Tensor, highs: Tensor) -> Tensor:
    return holm_adjusted(values, 2 * lows, 2 * highs)


def _above_one(values: Tensor, lows: Tensor, highs: Tensor) -> Tensor:
    ranked, order = _p_values(values, lows, highs).sort()
    products = (ranked * torch.arange(len(ranked), 0, -1)).cummax(0).values
    return torch.empty_like(products).scatter(0, order, products)


def _effects(generator: torch.Generator) -> list[Arguments]:
    """The lesson's effects; then drawn ones, of which two have nearly the same p-value."""
    calls: list[Arguments] = [tuple(torch.tensor(STORED, dtype=torch.float64).T)]
    for ratios in RATIOS:
        jitter = 0.95 + 0.1 * torch.rand(1, generator=generator, dtype=torch.float64)
        ratio = jitter * torch.tensor(ratios, dtype=torch.float64)
        error, side = torch.rand(2, len(ratio), generator=generator, dtype=torch.float64)
        error, sign = 0.5 + 4 * error, torch.where(side < 0.5, -1.0, 1.0)
        values = ratio * error * sign
        lows, highs = values - 0.9 * Z * error, values + 1.1 * Z * error
        order = torch.randperm(len(ratio), generator=generator)
        calls.append((values[order], lows[order], highs[order]))
    cycle = torch.tensor([2, 1, 0])  # sorted by places 2, 0, 1: an order that is not its inverse
    return [*calls, tuple(row[cycle] for row in calls[0])]


def _at_most_one(_: Arguments, results: Results) -> bool:
    return bool((results[0] > -1e-9).all() and (results[0] < 1 + 1e-6).all())


def _not_below_own(arguments: Arguments, results: Results) -> bool:
    return bool((results[0] > _p_values(*arguments).numpy() - 1e-6).all())


def _surer_is_not_larger(arguments: Arguments, results: Results) -> bool:
    order = _p_values(*arguments).argsort().numpy()
    return bool((np.diff(results[0][order]) > -1e-6).all())


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        id="paired_interval",
        lesson=11,
        points=3,
        reference=paired_interval,
        probes=_tables,
        mistakes=(
            Mistake("unpaired", "the two models had met different items", _unpaired),
            Mistake(
                "covariance_added",
                "what both models share was added, not taken off",
                _covariance_added,
            ),
            Mistake(
                "covariance_for_phi",
                "the covariance stands where the correlation belongs",
                _covariance_for_phi,
            ),
            Mistake("ends_mixed", "both lower ends were put together, and both upper", _ends_mixed),
            Mistake(
                "wald",
                "the interval is 1.96 standard errors of the mean to each side",
                _wald,
                "lesson 11, section 3",
            ),
            Mistake(
                "agreeing_left_out",
                "items on which both models agree were left out",
                _agreeing_left_out,
            ),
        ),
        properties=(
            Property("the first number is the difference of the shares", _is_the_difference),
            Property("-1 <= low <= difference <= high <= 1", _lies_between),
        ),
    ),
    Exercise(
        id="holm_adjusted",
        lesson=11,
        points=3,
        reference=holm_adjusted,
        probes=_effects,
        mistakes=(
            Mistake("bonferroni", "every p-value was multiplied by m", _bonferroni),
            Mistake("may_fall", "an adjusted value may lie below the one before it", _may_fall),
            Mistake("sorted_order", "the answer is in the order of the p-values", _sorted_order),
            Mistake(
                "order_not_inverted",
                "the order was applied once more, and not its inverse",
                _order_not_inverted,
                "as indices for indices.argsort(), a common slip in top-p code",
            ),
            Mistake("one_sided", "the p-values are one-sided", _one_sided),
            Mistake("whole_width", "an interval is 1.96 errors wide, not twice that", _whole_width),
            Mistake("above_one", "an adjusted value may be above 1", _above_one),
        ),
        properties=(
            Property("every result is a probability", _at_most_one),
            Property("no adjusted p-value is below its own p-value", _not_below_own),
            Property("a smaller p-value is not adjusted to a larger one", _surer_is_not_larger),
        ),
    ),
)
