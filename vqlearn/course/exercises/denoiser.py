"""The exercises of lesson 04: a branch of DiT's block, and those of two other files.

Cross-attention is in `attention.py`, what a denoiser can know at best in `bidirectional.py`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property
from vqlearn.course.exercises.attention import CROSS_ATTENTION
from vqlearn.course.exercises.bidirectional import BEST_PREDICTIONS

Results = Sequence[np.ndarray]
EPS = 1e-5  # in the root of the norm


def adaln_zero(x: Tensor, t: Tensor, table: Tensor, weight: Tensor, attention: Tensor) -> Tensor:
    """One residual branch with adaptive norm and gate around given attention weights: (b, n, d).

    Tokens (b, n, d), timesteps (b,), embeddings (T, d), a linear map (3d, d), weights (b, n, n).
    Source: Peebles and Xie 2023, section 3.2; shift, scale, gate is the order of their code.
    """
    return _branch(x, _normed(x), _numbers(t - 1, table, weight), attention)


def _normed(x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], eps=EPS)


def _numbers(rows: Tensor, table: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shift, scale and gate of every sequence, each (b, 1, d)."""
    shift, scale, gate = (silu(table[rows]) @ weight.T)[:, None].chunk(3, dim=-1)
    return shift, scale, gate


def _branch(
    x: Tensor, normed: Tensor, numbers: tuple[Tensor, Tensor, Tensor], attention: Tensor
) -> Tensor:
    shift, scale, gate = numbers
    return x + gate * (attention @ (normed * (1 + scale) + shift))


def _scale_without_one(
    x: Tensor, t: Tensor, table: Tensor, weight: Tensor, attention: Tensor
) -> Tensor:
    shift, scale, gate = _numbers(t - 1, table, weight)
    return _branch(x, _normed(x), (shift, scale - 1, gate), attention)


def _scale_first(x: Tensor, t: Tensor, table: Tensor, weight: Tensor, attention: Tensor) -> Tensor:
    scale, shift, gate = _numbers(t - 1, table, weight)
    return _branch(x, _normed(x), (shift, scale, gate), attention)


def _one_timestep(x: Tensor, t: Tensor, *others: Tensor) -> Tensor:
    return adaln_zero(x, t[:1].expand_as(t), *others)


def _row_t(x: Tensor, t: Tensor, *others: Tensor) -> Tensor:
    return adaln_zero(x, t + 1, *others)


def _whole_image(x: Tensor, t: Tensor, table: Tensor, weight: Tensor, attention: Tensor) -> Tensor:
    normed = layer_norm(x, x.shape[1:], eps=EPS)
    return _branch(x, normed, _numbers(t - 1, table, weight), attention)


def _unbiased(x: Tensor, t: Tensor, table: Tensor, weight: Tensor, attention: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=-1, keepdim=True)
    normed = (x - mean) / (variance + EPS).sqrt()
    return _branch(x, normed, _numbers(t - 1, table, weight), attention)


def _gate_plus_one(
    x: Tensor, t: Tensor, table: Tensor, weight: Tensor, attention: Tensor
) -> Tensor:
    shift, scale, gate = _numbers(t - 1, table, weight)
    return _branch(x, _normed(x), (shift, scale, 1 + gate), attention)


def _branches(generator: torch.Generator) -> list[Arguments]:
    """No sequence is at T, so that a row too high by one raises nothing. Last: a weight of 0."""

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def probe(b: int, n: int, d: int, num_timesteps: int) -> Arguments:
        t = 1 + torch.randperm(num_timesteps - 1, generator=generator)[:b]
        order = random(b, n, d).argsort(dim=-1)  # so no token has nearly equal channels
        x = order + 0.3 * random(b, n, d) + random(b, n, 1)
        attention = random(b, n, n).softmax(dim=-1)
        return x, t, random(num_timesteps, d), 0.5 * random(3 * d, d), attention

    x, t, table, weight, attention = probe(2, 2, 3, 4)
    at_start = (x, t, table, torch.zeros_like(weight), attention)
    return [probe(2, 3, 4, 5), probe(3, 2, 3, 4), probe(1, 4, 6, 8), at_start]


def _zero_weight_is_identity(arguments: Arguments, results: Results) -> bool:
    return bool(arguments[3].any()) or np.allclose(results[0], arguments[0])


def _other_rows_rest(arguments: Arguments, results: Results) -> bool:
    others = np.delete(results[2], arguments[1].numpy() - 1, axis=0)
    return bool(np.allclose(others, 0))


ADALN_ZERO = Exercise(
    id="adaln_zero",
    lesson=4,
    points=3,
    reference=adaln_zero,
    probes=_branches,
    mistakes=(
        Mistake("scale_without_one", "the norm is multiplied by s, not 1 + s", _scale_without_one),
        Mistake(
            "scale_first",
            "the scale was read before the shift",
            _scale_first,
            "right for Gu et al. 2022, whose code has the scale first",
        ),
        Mistake(
            "one_timestep",
            "all sequences got the timestep of the first",
            _one_timestep,
            "diffusers' AdaLayerNorm, which takes one timestep for a batch",
        ),
        Mistake("row_t", "timestep t was looked up in row t, not in row t - 1", _row_t),
        Mistake("whole_image", "mean and variance are those of a whole image", _whole_image),
        Mistake(
            "unbiased",
            "the variance was divided by d - 1 and not by d",
            _unbiased,
            "the default of torch.var and torch.std",
        ),
        Mistake("gate_plus_one", "the gate is 1 + g and does not start at 0", _gate_plus_one),
    ),
    properties=(
        Property("x comes back where the linear map is 0", _zero_weight_is_identity),
        Property("embeddings of other timesteps get no gradient", _other_rows_rest),
    ),
    differentiable=(0, 2, 3),
)

EXERCISES: tuple[Exercise, ...] = (ADALN_ZERO, CROSS_ATTENTION, BEST_PREDICTIONS)
