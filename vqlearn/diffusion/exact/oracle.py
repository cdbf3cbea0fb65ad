"""The truth by brute force: matrices of exact fractions, sums over every path.

Slow, obvious and independent: nothing here comes from the rest of the package, so that the
closed forms can be checked against it. A matrix `q` is a list of rows, `q[i][j]` is the
probability to go FROM class i TO class j. The last class is MASK.
"""

from collections.abc import Sequence
from fractions import Fraction

Matrix = list[list[Fraction]]


def step_matrix(alpha: Fraction, gamma: Fraction, num_codes: int) -> Matrix:
    """One step of mask-and-replace: keep, replace by a random code, or mask; MASK stays MASK.

    Source: Gu et al. 2022, the transition matrix of the mask-and-replace strategy.
    """
    beta = (1 - alpha - gamma) / num_codes
    rows = [
        [alpha + beta if i == j else beta for j in range(num_codes)] + [gamma]
        for i in range(num_codes)
    ]
    return [*rows, [Fraction(0)] * num_codes + [Fraction(1)]]


def step_matrices(
    alpha_bar: Sequence[Fraction], gamma_bar: Sequence[Fraction], num_codes: int
) -> list[Matrix]:
    """The matrices of the steps 1..T behind cumulative sequences of length T + 1."""
    return [
        step_matrix(
            alpha_bar[t] / alpha_bar[t - 1],
            1 - (1 - gamma_bar[t]) / (1 - gamma_bar[t - 1]),
            num_codes,
        )
        for t in range(1, len(alpha_bar))
    ]


def multiply(a: Matrix, b: Matrix) -> Matrix:
    """The matrix product: first a, then b."""
    columns = list(zip(*b, strict=True))
    return [[sum(x * y for x, y in zip(row, col, strict=True)) for col in columns] for row in a]


def between(steps: list[Matrix], s: int, t: int) -> Matrix:
    """The matrix from level s to level t, by multiplying the steps s+1..t one by one."""
    size = len(steps[0])
    result = [[Fraction(int(i == j)) for j in range(size)] for i in range(size)]
    for step in steps[s:t]:
        result = multiply(result, step)
    return result


def posterior(steps: list[Matrix], s: int, t: int, x_0: int, x_t: int) -> list[Fraction] | None:
    """q(x_s | x_t, x_0) for every class of x_s, by Bayes' rule; None if x_t cannot follow x_0."""
    to_s, to_t = between(steps, 0, s), between(steps, s, t)
    joint = [to_s[x_0][x_s] * to_t[x_s][x_t] for x_s in range(len(to_s))]
    total = sum(joint)
    return None if total == 0 else [value / total for value in joint]


def reverse(
    steps: list[Matrix], s: int, t: int, p_x0: Sequence[Fraction], x_t: int
) -> list[Fraction] | None:
    """p(x_s | x_t): the posteriors of every possible x_0, mixed by a predicted distribution of x_0.

    None where the predicted distribution gives weight to an x_0 that x_t cannot follow.
    """
    mixed = [Fraction(0)] * len(steps[0])
    for x_0, weight in enumerate(p_x0):
        if weight == 0:
            continue
        exact = posterior(steps, s, t, x_0, x_t)
        if exact is None:
            return None
        mixed = [m + weight * value for m, value in zip(mixed, exact, strict=True)]
    return mixed
