"""Exercises of lesson 13: the weights of a denoiser, and tokens drawn with coarse Gumbel noise.

Source: Zheng et al. 2024, https://arxiv.org/abs/2409.02908, for noise of low precision.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

RELEASED = (36, 1408, 512, 4096, 32, 100)  # the sizes of microsoft/vq-diffusion-ithq
LEAST = 1e-30  # what stands for u = 0
Results = Sequence[np.ndarray]


def denoiser_weights(
    layers: int, width: int, text_width: int, num_codes: int, side: int, num_timesteps: int
) -> int:
    """The number of weights of the denoiser of lesson 04, with all biases.

    Checked against the released transformer: 1,359,274,624.
    """
    embedding = (num_codes + 1 + 2 * side) * width
    output = 2 * width + _linear(width, num_codes)
    return embedding + layers * _block(width, text_width, num_timesteps) + output


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _block(width: int, text_width: int, num_timesteps: int) -> int:
    adaptive_norm = num_timesteps * width + _linear(width, 2 * width)
    feed_forward = _linear(width, 4 * width) + _linear(4 * width, width)
    attention = _attention(width, width) + _attention(width, text_width)
    return 2 * adaptive_norm + attention + 2 * width + feed_forward


def _attention(width: int, source: int) -> int:
    """Query and output, key and value."""
    return 2 * _linear(width, width) + 2 * _linear(source, width)


def _mask_has_no_vector(*sizes: int) -> int:
    return denoiser_weights(*sizes) - sizes[1]


def _mask_is_predicted(*sizes: int) -> int:
    return denoiser_weights(*sizes) + sizes[1] + 1


def _square_positions(*sizes: int) -> int:
    _, width, _, _, side, _ = sizes
    return denoiser_weights(*sizes) + (side**2 - 2 * side) * width


def _text_as_wide(*sizes: int) -> int:
    layers, width, _, *others = sizes
    return denoiser_weights(layers, width, width, *others)


def _shift_missing(*sizes: int) -> int:
    layers, width, *_ = sizes
    return denoiser_weights(*sizes) - 2 * layers * _linear(width, width)


def _contract_missing(*sizes: int) -> int:
    layers, width, *_ = sizes
    return denoiser_weights(*sizes) - layers * _linear(4 * width, width)


def _timesteps_shared(*sizes: int) -> int:
    layers, width, *_, num_timesteps = sizes
    return denoiser_weights(*sizes) - (2 * layers - 1) * num_timesteps * width


def _sizes(generator: torch.Generator) -> list[Arguments]:
    """Small networks, where every part counts, and the released one."""
    calls: list[Arguments] = []
    for layers in (1, 2, 3):
        width, text, num_codes, side, num_timesteps = torch.randint(
            4, 9, (5,), generator=generator
        ).tolist()
        calls.append((layers, width, 2 * text + 1, num_codes, side, num_timesteps))
    return [*calls, RELEASED]


def _one_block_each(arguments: Arguments, results: Results) -> bool:
    layers, width, text_width, _, _, num_timesteps = arguments
    outside = float(results[0]) - layers * _block(width, text_width, num_timesteps)
    return 0 < outside < float(results[0])


def _is_whole(_: Arguments, results: Results) -> bool:
    return bool(results[0] == np.round(results[0]))


def coarse_tokens(p: Tensor, bits: int, num_timesteps: int) -> Tensor:
    """What a masked token becomes, (K,), if every step draws with Gumbel noise of a coarse grid.

    Masks alone, one step a timestep, the same p (K,) in each: at t the codes have p / t and MASK
    (t - 1) / t. All numbers u are multiples of 2^-bits, each equally likely, below 1.
    """
    return _walk(p, _gumbel(_grid(bits)), num_timesteps)


def _grid(bits: int) -> Tensor:
    return torch.arange(2**bits, dtype=torch.float64) / 2**bits


def _gumbel(u: Tensor) -> Tensor:
    return -(-u.clamp(min=LEAST).log()).log()


def _walk(p: Tensor, noise: Tensor, num_timesteps: int) -> Tensor:
    left, found = 1.0, torch.zeros_like(p)
    for t in range(num_timesteps, 0, -1):
        won = _wins(torch.cat([p, p.new_tensor([t - 1])]).log(), noise)
        found += left * won[:-1]
        left *= float(won[-1])
    return found


def _wins(scores: Tensor, noise: Tensor) -> Tensor:
    """How often each class has the largest sum of score and noise; `noise` in rising order."""
    won = torch.zeros_like(scores)
    for i, score in enumerate(scores):
        others = torch.cat([scores[:i], scores[i + 1 :]])
        below = torch.searchsorted(noise, noise[:, None] + score - others)  # (N, classes - 1)
        won[i] = (below.double() / len(noise)).prod(dim=-1).mean()
    return won


def _no_grid(p: Tensor, bits: int, num_timesteps: int) -> Tensor:
    return p.clone()


def _sign(p: Tensor, bits: int, num_timesteps: int) -> Tensor:
    return _walk(p, -_gumbel(_grid(bits)).flip(0), num_timesteps)


def _one_logarithm(p: Tensor, bits: int, num_timesteps: int) -> Tensor:
    return _walk(p, -_grid(bits).clamp(min=LEAST).log().flip(0), num_timesteps)


def _half_a_step(p: Tensor, bits: int, num_timesteps: int) -> Tensor:
    return _walk(p, _gumbel(_grid(bits) + 0.5 / 2**bits), num_timesteps)


def _without_mask(p: Tensor, bits: int, num_timesteps: int) -> Tensor:
    return _wins(p.log(), _gumbel(_grid(bits)))


def _steps_alike(p: Tensor, bits: int, num_timesteps: int) -> Tensor:
    noise, found = _gumbel(_grid(bits)), torch.zeros_like(p)
    for t in range(num_timesteps, 0, -1):
        won = _wins(torch.cat([p, p.new_tensor([t - 1])]).log(), noise)[:-1]
        found += won / won.sum() / num_timesteps
    return found


def _coarse_draws(generator: torch.Generator) -> list[Arguments]:
    """A rare code in each call, and no two alike, so that no two sums are equal; once one step."""
    calls: list[Arguments] = []
    for num_codes, bits, num_timesteps in ((3, 4, 4), (4, 5, 6), (5, 3, 3), (3, 6, 1)):
        rarity = torch.linspace(0, 3.5, num_codes, dtype=torch.float64)
        scores = 0.4 * torch.rand(num_codes, generator=generator, dtype=torch.float64) - rarity
        order = torch.randperm(num_codes, generator=generator)
        calls.append((scores[order].softmax(dim=-1), bits, num_timesteps))
    return calls


def _is_a_distribution(_: Arguments, results: Results) -> bool:
    return bool(np.isclose(results[0].sum(), 1, atol=1e-4) and (results[0] > -1e-6).all())


def _order_kept(arguments: Arguments, results: Results) -> bool:
    order = arguments[0].argsort().numpy()
    return bool((np.diff(results[0][order]) > -1e-6).all())


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        id="denoiser_weights",
        lesson=13,
        points=2,
        reference=denoiser_weights,
        probes=_sizes,
        mistakes=(
            Mistake("mask_has_no_vector", "MASK has no vector of its own", _mask_has_no_vector),
            Mistake("mask_is_predicted", "MASK were one of the outputs", _mask_is_predicted),
            Mistake(
                "square_positions",
                "every position had its own vector, not every row and every column",
                _square_positions,
            ),
            Mistake(
                "text_as_wide",
                "keys and values of the text came from vectors as wide as the network",
                _text_as_wide,
            ),
            Mistake("shift_missing", "the adaptive norm gave a scale and no shift", _shift_missing),
            Mistake(
                "contract_missing",
                "the feed-forward part had one linear map, not two",
                _contract_missing,
            ),
            Mistake(
                "timesteps_shared",
                "all adaptive norms shared one table of timesteps",
                _timesteps_shared,
            ),
        ),
        properties=(
            Property("the number is whole", _is_whole),
            Property("the blocks leave something for embedding and output", _one_block_each),
        ),
    ),
    Exercise(
        id="coarse_tokens",
        lesson=13,
        points=4,
        reference=coarse_tokens,
        probes=_coarse_draws,
        mistakes=(
            Mistake("no_grid", "the noise had no grid: that gives p itself", _no_grid),
            Mistake("sign", "the noise has the wrong sign", _sign),
            Mistake("one_logarithm", "one of both logarithms is missing", _one_logarithm),
            Mistake(
                "half_a_step",
                "each u stood in the middle of its cell, half a step above its multiple",
                _half_a_step,
            ),
            Mistake("without_mask", "MASK did not compete, so one step is all", _without_mask),
            Mistake(
                "steps_alike",
                "a token were unmasked in each step equally often",
                _steps_alike,
                "lesson 13's `revealed`, where it is a good approximation",
            ),
        ),
        properties=(
            Property("the result is a distribution", _is_a_distribution),
            Property("a likelier code comes out at least as often", _order_kept),
        ),
    ),
)
