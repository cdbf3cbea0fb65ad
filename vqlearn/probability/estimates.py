r"""Numbers that were measured, each with its error.

A cost is a mean with its standard error (`Bits`); a count of successes has a 95 % interval
(`wilson_interval`). Both speak of other test data from the same source, not of other trainings.
"""

import math
from typing import NamedTuple

from jaxtyping import Float
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
    bits = nll.double() / (num_positions * math.log(2))
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


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    r"""The 95 % interval of a share, from `right` successes in `total` independent trials.

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
