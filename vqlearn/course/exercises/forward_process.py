"""Exercises of lesson 02: several steps as one matrix, a corrupted batch, masks that return."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Results = Sequence[np.ndarray]
ENDS = (1, 0, 0, 0.4), (0, 1, 0, 0.6)  # alpha_bar and gamma_bar of four sequences


def stride_matrix(alphas: Tensor, gammas: Tensor, num_codes: int, s: int, t: int) -> Tensor:
    """The transition matrix from level s to level t: entry [j, i] is q(x_t = j | x_s = i).

    `alphas` and `gammas` (T,) belong to single steps: place u - 1 to the step from u - 1 to u.
    "From" stands in the columns, as Gu et al. 2022 write it; MASK is the last class.
    """
    matrix = torch.eye(num_codes + 1, dtype=alphas.dtype)
    for alpha, gamma in zip(alphas[s:t], gammas[s:t], strict=True):
        matrix = _step(alpha, (1 - alpha - gamma) / num_codes, gamma, num_codes) @ matrix
    return matrix


def _step(alpha: Any, beta: Any, gamma: Any, num_codes: int) -> Tensor:
    step = alpha * torch.eye(num_codes + 1, dtype=torch.float64) + beta
    step[num_codes] = gamma
    step[:, num_codes] = torch.eye(num_codes + 1)[num_codes]  # MASK stays MASK
    return step


def _transposed(alphas: Tensor, gammas: Tensor, num_codes: int, s: int, t: int) -> Tensor:
    return stride_matrix(alphas, gammas, num_codes, s, t).T


def _last_step_missing(alphas: Tensor, gammas: Tensor, num_codes: int, s: int, t: int) -> Tensor:
    return stride_matrix(alphas, gammas, num_codes, s, max(s, t - 1))


def _index_wraps(alphas: Tensor, gammas: Tensor, num_codes: int, s: int, t: int) -> Tensor:
    return stride_matrix(alphas.roll(1), gammas.roll(1), num_codes, s, t)


def _mask_leaves(alphas: Tensor, gammas: Tensor, num_codes: int, s: int, t: int) -> Tensor:
    matrix = torch.eye(num_codes + 1, dtype=alphas.dtype)
    for alpha, gamma in zip(alphas[s:t], gammas[s:t], strict=True):
        step = _step(alpha, (1 - alpha - gamma) / num_codes, gamma, num_codes)
        step[:, num_codes] = (1 - alpha - gamma) / num_codes  # as if MASK were a code
        step[num_codes, num_codes] = alpha + gamma
        matrix = step @ matrix
    return matrix


def _beta_not_shared(alphas: Tensor, gammas: Tensor, num_codes: int, s: int, t: int) -> Tensor:
    matrix = torch.eye(num_codes + 1, dtype=alphas.dtype)
    for alpha, gamma in zip(alphas[s:t], gammas[s:t], strict=True):
        matrix = _step(alpha, 1 - alpha - gamma, gamma, num_codes) @ matrix
    return matrix


def _masked_added(alphas: Tensor, gammas: Tensor, num_codes: int, s: int, t: int) -> Tensor:
    kept, masked = alphas[s:t].prod(), gammas[s:t].sum()
    return _step(kept, (1 - kept - masked) / num_codes, masked, num_codes)


def _as_cumulative(alphas: Tensor, gammas: Tensor, num_codes: int, s: int, t: int) -> Tensor:
    kept = torch.cat([alphas.new_ones(1), alphas])
    unmasked = torch.cat([gammas.new_ones(1), 1 - gammas])
    alpha, gamma = kept[t] / kept[s], 1 - unmasked[t] / unmasked[s]
    return _step(alpha, (1 - alpha - gamma) / num_codes, gamma, num_codes)


def _strides(generator: torch.Generator) -> list[Arguments]:
    """One step, no step, all steps, and some; the last step of the longest list keeps nothing."""
    calls = []
    for num_steps, num_codes, s, t in ((4, 3, 0, 1), (4, 3, 2, 2), (6, 4, 0, 6), (8, 3, 2, 5)):
        shares = 0.2 + torch.rand(3, num_steps, generator=generator, dtype=torch.float64)
        shares[0] += 1  # most of the tokens are kept
        alphas, gammas, _ = shares / shares.sum(0)
        if t == num_steps:
            alphas[-1] = 0
        calls.append((alphas, gammas, num_codes, s, t))
    return calls


def _columns_sum_to_one(_: Arguments, results: Results) -> bool:
    return np.allclose(results[0].sum(0), 1, atol=1e-4)


def _from_mask_to_mask(_: Arguments, results: Results) -> bool:
    return np.allclose(results[0][:, -1], np.eye(len(results[0]))[-1], atol=1e-4)


def corrupt_with(
    x_0: Tensor,
    alpha_bar: Tensor,
    gamma_bar: Tensor,
    num_codes: int,
    uniform: Tensor,
    replacement: Tensor,
) -> Tensor:
    """A batch of clean tokens x_0 (b, n) at levels that differ from sequence to sequence.

    `alpha_bar`, `gamma_bar` (b,); `uniform` decides (below alpha_bar kept, from 1 - gamma_bar on
    masked, replaced between) and `replacement` picks the new code: both (b, n), in [0, 1).
    """
    code = (num_codes * replacement).long()
    x_t = torch.where(uniform < alpha_bar[:, None], x_0, code)
    return torch.where(uniform < 1 - gamma_bar[:, None], x_t, num_codes)


def _exchanged(x_0: Tensor, *others: Any) -> Tensor:
    *levels, uniform, replacement = others
    return corrupt_with(x_0, *levels, 1 - uniform, replacement)


def _noise_shared(x_0: Tensor, *others: Any) -> Tensor:
    *levels, uniform, replacement = others
    return corrupt_with(x_0, *levels, uniform[:1].expand_as(x_0), replacement[:1].expand_as(x_0))


def _mask_is_last_code(x_0: Tensor, *others: Any) -> Tensor:
    num_codes = others[2]
    return corrupt_with(x_0, *others).clamp(max=num_codes - 1)


def _last_code_missing(x_0: Tensor, *others: Any) -> Tensor:
    *levels, num_codes, uniform, replacement = others
    fewer = replacement * (num_codes - 1) / num_codes
    return corrupt_with(x_0, *levels, num_codes, uniform, fewer)


def _own_code_excluded(x_0: Tensor, *others: Any) -> Tensor:
    *levels, num_codes, uniform, replacement = others
    code = ((num_codes - 1) * replacement).long()
    code += code >= x_0
    return corrupt_with(x_0, *levels, num_codes, uniform, (code + 0.5) / num_codes)


def _one_number(x_0: Tensor, *others: Any) -> Tensor:
    *levels, uniform, _ = others
    return corrupt_with(x_0, *levels, uniform, uniform)


def _batches(generator: torch.Generator) -> list[Arguments]:
    """The first batch holds the ends: the data, only masks, nothing kept, nothing replaced."""
    calls = []
    for b, n, num_codes in ((4, 12, 3), (3, 16, 5), (2, 20, 4)):
        shares = 0.3 + torch.rand(3, b, generator=generator, dtype=torch.float64)
        alpha_bar, gamma_bar, _ = shares / shares.sum(0)
        if b == 4:
            alpha_bar, gamma_bar = torch.tensor(ENDS, dtype=torch.float64)
        x_0 = torch.randint(num_codes, (b, n), generator=generator)
        draws = torch.rand(2, b, n, generator=generator, dtype=torch.float64)
        calls.append((x_0, alpha_bar, gamma_bar, num_codes, *draws))
    return calls


def _are_classes(arguments: Arguments, results: Results) -> bool:
    return bool(np.isin(results[0], np.arange(arguments[3] + 1)).all())


def _clean_where_all_is_kept(arguments: Arguments, results: Results) -> bool:
    kept = arguments[1].numpy() == 1
    return np.array_equal(results[0][kept], arguments[0].numpy()[kept])


def _masks_as_gamma_bar_says(arguments: Arguments, results: Results) -> bool:
    gamma_bar, masked = arguments[2].numpy(), results[0] == arguments[3]
    return not masked[gamma_bar == 0].any() and bool(masked[gamma_bar == 1].all())


def stationary_distribution(alpha: float, gamma: float, delta: float, num_codes: int) -> Tensor:
    """The distribution (K + 1,) that a step with returning masks does not change; MASK is last.

    A code becomes MASK with gamma, MASK becomes any code with delta in all. At rest as much comes
    back as goes: p gamma = (1 - p) delta for the share 1 - p of MASK. Alpha does not matter.
    """
    return _with_masked(gamma / (gamma + delta), num_codes)


def _with_masked(masked: float, num_codes: int) -> Tensor:
    shares = torch.full((num_codes + 1,), (1 - masked) / num_codes, dtype=torch.float64)
    shares[num_codes] = masked
    return shares


def _mask_absorbs(_alpha: float, _gamma: float, _delta: float, num_codes: int) -> Tensor:
    return _with_masked(1, num_codes)


def _wrong_side(_alpha: float, _gamma: float, _delta: float, num_codes: int) -> Tensor:
    return _with_masked(1 / (num_codes + 1), num_codes)


def _delta_for_each_code(_alpha: float, gamma: float, delta: float, num_codes: int) -> Tensor:
    return _with_masked(gamma / (gamma + num_codes * delta), num_codes)


def _flows_exchanged(_alpha: float, gamma: float, delta: float, num_codes: int) -> Tensor:
    return _with_masked(delta / (gamma + delta), num_codes)


def _replaced_as_masked(alpha: float, _gamma: float, delta: float, num_codes: int) -> Tensor:
    return _with_masked((1 - alpha) / (1 - alpha + delta), num_codes)


def _processes(generator: torch.Generator) -> list[Arguments]:
    """Two of all kinds, then: MASK returns never, nothing is masked, nothing is replaced."""
    a, b, c, d, e, f = (0.1 + 0.3 * torch.rand(6, generator=generator)).tolist()
    calls = [(2 * a, b / 2, 2 * c, 3), (2 * d, e / 2, f / 2, 5)]
    return [*calls, (2 * a, b / 2, 0.0, 4), (2 * c, 0.0, d, 3), (1 - e, e, f, 4)]


def _sums_to_one(_: Arguments, results: Results) -> bool:
    return bool(np.isclose(results[0].sum(), 1, atol=1e-4) and (results[0] >= -1e-6).all())


def _masks_stay_as_many(arguments: Arguments, results: Results) -> bool:
    _, gamma, delta, _ = arguments
    codes, masked = results[0][:-1].sum(), results[0][-1]
    return bool(np.isclose(codes * gamma + masked * (1 - delta), masked, atol=1e-4))


def _codes_have_equal_shares(_: Arguments, results: Results) -> bool:
    return bool(np.ptp(results[0][:-1]) < 1e-4)


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "stride_matrix",
        lesson=2,
        points=3,
        reference=stride_matrix,
        probes=_strides,
        mistakes=(
            Mistake("transposed", "rows and columns were exchanged", _transposed),
            Mistake("last_step_missing", "the step that ends at t is missing", _last_step_missing),
            Mistake(
                "index_wraps",
                "each step was read one place too early, the first at place -1, which is the last",
                _index_wraps,
                "as q_mats[t - 2] at t = 1 in cloneofsimo/d3pm",
            ),
            Mistake("mask_leaves", "MASK can become a code again", _mask_leaves),
            Mistake("beta_not_shared", "beta was not divided by K", _beta_not_shared),
            Mistake("masked_added", "the masked shares of the steps were added", _masked_added),
            Mistake(
                "steps_as_cumulative", "the numbers were read as cumulative ones", _as_cumulative
            ),
        ),
        properties=(
            Property("every column sums to 1", _columns_sum_to_one),
            Property("MASK stays MASK", _from_mask_to_mask),
        ),
    ),
    Exercise(
        "corrupt_with",
        lesson=2,
        points=2,
        reference=corrupt_with,
        probes=_batches,
        mistakes=(
            Mistake("intervals_exchanged", "low numbers mask and high ones keep", _exchanged),
            Mistake("noise_shared", "all sequences use the first one's numbers", _noise_shared),
            Mistake("mask_is_last_code", "MASK got the index of a code, K - 1", _mask_is_last_code),
            Mistake("last_code_missing", "the code K - 1 is never drawn", _last_code_missing),
            Mistake("own_code_excluded", "no code is replaced by itself", _own_code_excluded),
            Mistake("one_number_for_both", "one number decides and picks the code", _one_number),
        ),
        properties=(
            Property("every result is a code or MASK, 0 to K", _are_classes),
            Property("nothing changes where alpha_bar is 1", _clean_where_all_is_kept),
            Property("gamma_bar = 0 masks nothing and 1 all", _masks_as_gamma_bar_says),
        ),
    ),
    Exercise(
        "stationary_distribution",
        lesson=2,
        points=3,
        reference=stationary_distribution,
        probes=_processes,
        mistakes=(
            Mistake("mask_absorbs", "MASK still absorbs, whatever delta is", _mask_absorbs),
            Mistake("wrong_side", "Q was used where its transpose belongs", _wrong_side),
            Mistake("delta_for_each_code", "delta was counted for each code", _delta_for_each_code),
            Mistake("flows_exchanged", "gamma and delta changed places", _flows_exchanged),
            Mistake("replaced_as_masked", "replaced codes counted as masked", _replaced_as_masked),
        ),
        properties=(
            Property("the result is a distribution", _sums_to_one),
            Property("a step leaves the share of MASK as it is", _masks_stay_as_many),
            Property("all codes have the same share", _codes_have_equal_shares),
        ),
    ),
)
