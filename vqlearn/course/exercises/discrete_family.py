r"""The exercises of lesson 07: a kernel on a ring, and what to plug into Bayes' rule.

The one about the bound of masks in bits is in `bound_in_bits.py`. Matrices have "from" in the rows.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property
from vqlearn.course.exercises.bound_in_bits import MASKED_BITS

Results = Sequence[np.ndarray]


def ring_products(forward: Tensor, backward: Tensor, num_codes: int) -> Tensor:
    """The products of all steps on a ring, from the data to t = 0..T: (T + 1, from, to).

    In step t a token goes one code on with probability forward[t - 1], back with backward[t - 1].
    """
    return _products(_steps(forward, backward, *_ring(num_codes)))


def _ring(num_codes: int) -> tuple[Tensor, Tensor]:
    """One code on, and one back: 0 comes after the last."""
    eye = torch.eye(num_codes, dtype=torch.float64)
    return eye.roll(1, dims=1), eye.roll(-1, dims=1)


def _steps(forward: Tensor, backward: Tensor, on: Tensor, back: Tensor) -> Tensor:
    """Q_1 to Q_T, (T, from, to)."""
    forward, backward = forward[:, None, None], backward[:, None, None]
    stay = (1 - forward - backward) * torch.eye(len(on), dtype=torch.float64)
    return stay + forward * on + backward * back


def _products(steps: Tensor) -> Tensor:
    """Of the first 0, 1, … T steps: (T + 1, from, to). The first stands on the left."""
    products = [torch.eye(steps.shape[-1], dtype=steps.dtype)]
    for step in steps:
        products.append(products[-1] @ step)
    return torch.stack(products)


def _line(num_codes: int) -> tuple[Tensor, Tensor]:
    ones = torch.ones(num_codes - 1, dtype=torch.float64)
    return ones.diag(1), ones.diag(-1)


def _ends_lost(forward: Tensor, backward: Tensor, num_codes: int) -> Tensor:
    return _products(_steps(forward, backward, *_line(num_codes)))


def _ends_stay(forward: Tensor, backward: Tensor, num_codes: int) -> Tensor:
    on, back = _line(num_codes)
    on[-1, -1] = back[0, 0] = 1
    return _products(_steps(forward, backward, on, back))


def _overwritten(forward: Tensor, backward: Tensor, num_codes: int) -> Tensor:
    on, back = _ring(num_codes)
    return _products(_steps(forward, backward, on * (back == 0), back))


def _columns_from(*arguments: Tensor) -> Tensor:
    return ring_products(*arguments).mT


def _power(forward: Tensor, backward: Tensor, num_codes: int) -> Tensor:
    steps = _steps(forward, backward, *_ring(num_codes))
    first = torch.eye(num_codes, dtype=steps.dtype)
    powers = [torch.linalg.matrix_power(step, t) for t, step in enumerate(steps, start=1)]
    return torch.stack([first, *powers])


def _one_step(forward: Tensor, backward: Tensor, num_codes: int) -> Tensor:
    steps = _steps(forward, backward, *_ring(num_codes))
    return torch.cat([torch.eye(num_codes, dtype=steps.dtype)[None], steps])


def plug_in_target(p_x0: Tensor, x_t: Tensor, steps: Tensor) -> Tensor:
    """What to plug in, so that a reverse step is the one that averages with p(x_0 | x_t): (n, K).

    p(x_0 | x_t) (n, K), tokens (n,), steps 1 to t (t, from, to), whose first K classes are codes.
    Source: Austin et al. 2021, section 3.3, for how it is plugged in; lesson 07 for the target.
    """
    return _target(p_x0, _likelihood(_products(steps)[-1], x_t, p_x0))


def _likelihood(to_t: Tensor, x_t: Tensor, p_x0: Tensor) -> Tensor:
    """q(x_t | x_0 = k), (n, K)."""
    return to_t[: p_x0.shape[-1], x_t].T


def _target(p_x0: Tensor, likelihood: Tensor) -> Tensor:
    """Codes that x_t cannot come from get 0."""
    return _shares(torch.where(likelihood > 0, p_x0 / likelihood, 0))


def _shares(values: Tensor) -> Tensor:
    return values / values.sum(dim=-1, keepdim=True)


def _clean_prediction(p_x0: Tensor, x_t: Tensor, steps: Tensor) -> Tensor:
    return p_x0


def _times_likelihood(p_x0: Tensor, x_t: Tensor, steps: Tensor) -> Tensor:
    return _shares(p_x0 * _likelihood(_products(steps)[-1], x_t, p_x0))


def _unnormalised(p_x0: Tensor, x_t: Tensor, steps: Tensor) -> Tensor:
    likelihood = _likelihood(_products(steps)[-1], x_t, p_x0)
    return torch.where(likelihood > 0, p_x0 / likelihood, 0)


def _transposed(p_x0: Tensor, x_t: Tensor, steps: Tensor) -> Tensor:
    return _target(p_x0, _likelihood(_products(steps)[-1].mT, x_t, p_x0))


def _last_step(p_x0: Tensor, x_t: Tensor, steps: Tensor) -> Tensor:
    return plug_in_target(p_x0, x_t, steps[-1:])


def _order_reversed(p_x0: Tensor, x_t: Tensor, steps: Tensor) -> Tensor:
    return plug_in_target(p_x0, x_t, steps.flip(0))


def _zero_by_zero(p_x0: Tensor, x_t: Tensor, steps: Tensor) -> Tensor:
    return _shares(p_x0 / _likelihood(_products(steps)[-1], x_t, p_x0))


def _ring_probes(generator: torch.Generator) -> list[Arguments]:
    """With two codes, both neighbours are the same one."""

    def probe(num_timesteps: int, num_codes: int) -> Arguments:
        moves = torch.rand(2, num_timesteps, generator=generator, dtype=torch.float64)
        return 0.3 + 0.2 * moves[0], 0.05 + 0.2 * moves[1], num_codes

    return [probe(4, 5), probe(3, 2), probe(6, 3), probe(1, 4)]


def _target_probes(generator: torch.Generator) -> list[Arguments]:
    """In the last call a token moves by one code at most: q(x_t | x_0) has zeros."""

    def random(*shape: int) -> Tensor:
        return 1.5 * torch.randn(shape, generator=generator, dtype=torch.float64)

    def probe(num_steps: int, num_codes: int, classes: int, reach: int) -> Arguments:
        far = (torch.arange(classes)[:, None] - torch.arange(classes)).abs() > reach
        steps = random(num_steps, classes, classes).masked_fill(far, -torch.inf).softmax(dim=-1)
        x_t = torch.randperm(classes, generator=generator)
        impossible = _products(steps)[-1][:num_codes, x_t].T == 0
        scores = random(classes, num_codes).masked_fill(impossible, -torch.inf)
        return scores.softmax(dim=-1), x_t, steps

    return [probe(3, 4, 4, reach=4), probe(4, 3, 4, reach=4), probe(1, 5, 5, reach=1)]


def _starts_at_the_data(_: Arguments, results: Results) -> bool:
    return bool(np.allclose(results[0][0], np.eye(results[0].shape[-1])))


def _rows_sum_to_one(_: Arguments, results: Results) -> bool:
    return bool(np.allclose(results[0].sum(axis=-1), 1))


def _noise_is_uniform(_: Arguments, results: Results) -> bool:
    return bool(np.allclose(results[0].sum(axis=-2), 1))


def _zeros_stay(arguments: Arguments, results: Results) -> bool:
    return bool((results[0][(arguments[0] == 0).numpy()] == 0).all())


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        id="ring_products",
        lesson=7,
        points=2,
        reference=ring_products,
        probes=_ring_probes,
        mistakes=(
            Mistake("ends_lost", "what leaves one end of the ring is lost", _ends_lost),
            Mistake("ends_stay", "the codes lie on a line, and the ends hold tokens", _ends_stay),
            Mistake(
                "overwritten",
                "with two codes the way back overwrote the way on, but both lead to the same code",
                _overwritten,
            ),
            Mistake(
                "columns_from",
                "the columns are from and the rows are to",
                _columns_from,
                "right for Gu et al. 2022 and Sahoo et al. 2024",
            ),
            Mistake("power", "the last step was repeated t times", _power),
            Mistake("one_step", "each matrix is one step and not the product of all", _one_step),
        ),
        properties=(
            Property("nothing has happened at t = 0", _starts_at_the_data),
            Property("the rows sum to 1", _rows_sum_to_one),
            Property("a uniformly random token stays uniformly random", _noise_is_uniform),
        ),
    ),
    Exercise(
        id="plug_in_target",
        lesson=7,
        points=3,
        reference=plug_in_target,
        probes=_target_probes,
        mistakes=(
            Mistake(
                "clean_prediction",
                "p(x_0 | x_t) itself is plugged in, which counts the evidence of x_t twice",
                _clean_prediction,
                "the optimum of D3PM's auxiliary loss, lesson 07",
            ),
            Mistake("times_likelihood", "it was multiplied by q, not divided", _times_likelihood),
            Mistake("unnormalised", "the quotient was not normalised", _unnormalised),
            Mistake("transposed", "a row of the matrix was read, not a column", _transposed),
            Mistake("last_step", "q is that of the last step alone", _last_step),
            Mistake("order_reversed", "steps were multiplied in the wrong order", _order_reversed),
            Mistake("zero_by_zero", "0 was divided by 0, which gives NaN", _zero_by_zero),
        ),
        properties=(
            Property("every row of the result sums to 1", _rows_sum_to_one),
            Property("what p(x_0 | x_t) excludes stays excluded", _zeros_stay),
        ),
    ),
    MASKED_BITS,
)
