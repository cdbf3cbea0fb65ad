r"""Numbers that were measured, each with its error.

A cost is a mean with its standard error (`Bits`); a count of successes has a 95 % interval
(`wilson_interval`). Both speak of other test data from the same source, not of other trainings:
for these there is `student_interval`. An `Estimate` is any number with its 95 % interval.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from scipy.special import stdtrit
from torch import Tensor

from vqlearn.probability.checks import check_integer

Z_95 = 1.959964


class Bits(NamedTuple):
    """A mean in bits, and the standard error of that mean."""

    mean: float
    standard_error: float


def bits_per_token(nll: Float[Tensor, " b"], num_positions: int) -> Bits:
    r"""From nats a sequence to bits per token, with an honest standard error.

    The sequences must be independent draws from the data, each with random numbers of its own. Then
    the spread between their costs holds both the difference between sequences and the noise of the
    estimate, and $\mathrm{std}/\sqrt b$ covers both. The tokens of one image are no independent
    draws: counting them as such would make the error up to $\sqrt n$ times too small.

    One infinite cost makes both results infinite. Raises `ValueError` for fewer than 2 sequences.
    """
    check_integer("the number of sequences", len(nll), 2)
    bits = nll.cpu().double() / (num_positions * math.log(2))
    if bits.isinf().any():
        return Bits(math.inf, math.inf)
    return Bits(float(bits.mean()), float(bits.std() / len(bits) ** 0.5))


def ratio(cost: Float[Tensor, " b"], size: Float[Tensor, " b"]) -> Bits:
    r"""The total cost over the total size of independent sequences, and its standard error.

    $r = \sum c_i / \sum s_i$; the error is that of a mean of $(c_i - r s_i) / \bar s$. Long
    sequences cost more, so it is smaller than the error of the mean cost over the mean size.
    """
    mean = cost.sum() / size.sum()
    spread = (cost - mean * size).std() / size.mean()
    return Bits(float(mean), float(spread / len(cost) ** 0.5))


def wilson_interval(right: float, total: int) -> tuple[float, float]:
    r"""The 95 % interval of a share, from `right` successes in `total` independent trials.

    A mean number of successes need not be whole.

    $\frac{p + z^2/2n \pm z\sqrt{p(1-p)/n + z^2/4n^2}}{1 + z^2/n}$ with z = 1.96: unlike the usual
    $p \pm z\sqrt{p(1-p)/n}$ it never leaves [0, 1] and is not empty at 0 or n successes.
    Source: Wilson 1927. Raises `ValueError` unless 0 <= right <= total and total > 0.
    """
    if not 0 <= right <= total or total < 1:
        raise ValueError(f"{right} right of {total}; allowed: 0 to total, of 1 or more")
    share, z2 = right / total, Z_95**2 / total
    middle = share + z2 / 2
    half = Z_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


class Estimate(NamedTuple):
    """A number that was measured, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of_share(cls, right: float, total: int) -> "Estimate":
        """A share of successes, with the interval of Wilson."""
        return cls(right / total, *wilson_interval(right, total))

    @classmethod
    def of_mean(cls, mean: float, standard_error: float) -> "Estimate":
        """A mean of many items: 1.96 standard errors to each side."""
        return cls(mean, mean - Z_95 * standard_error, mean + Z_95 * standard_error)


def linear_combination(terms: Sequence[tuple[float, Estimate]]) -> Estimate:
    r"""$\sum_i c_i \theta_i$ of independent estimates, from pairs of $c_i$ and an estimate.

    Each end is as far from the middle as the root of the sum of squares of the distances that the
    terms have on that side. For means these are the usual normal intervals; for the difference of
    two shares with intervals of Wilson it is method 10 of Newcombe 1998. Sources: Newcombe 1998,
    Zou and Donner 2008. Estimates on the same items are seldom independent: if they go up and down
    together, the true interval of their difference is narrower.
    """
    middle = sum(c * each.value for c, each in terms)
    ends = [sorted((c * each.low, c * each.high)) for c, each in terms]
    values = [c * each.value for c, each in terms]
    down = math.hypot(*(value - low for value, (low, _) in zip(values, ends, strict=True)))
    up = math.hypot(*(high - value for value, (_, high) in zip(values, ends, strict=True)))
    return Estimate(middle, middle - down, middle + up)


def average_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of estimates that may go up and down together: the means of their ends.

    So it is for models that met the same test items: more of them make it no narrower.
    """
    return Estimate(*(sum(ends) / len(estimates) for ends in zip(*estimates, strict=True)))


def student_interval(values: Sequence[float]) -> Estimate:
    """The mean of few independent values, such as seeds, with the interval of Student's t.

    Raises `ValueError` for fewer than three: two say next to nothing about their spread.
    """
    count = len(values)
    check_integer("the number of values", count, 3)
    mean = sum(values) / count
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    half = float(stdtrit(count - 1, 0.975)) * math.sqrt(variance / count)
    return Estimate(mean, mean - half, mean + half)
