"""Exercises of lesson 00: tokens painted as patches, and steps that unmask several tokens."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import comb

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

GREY = 0.5
SLOW_START = (100, 99, 98, 97, 96, 95, 94, 92, 90, 87, 84, 81, 77, 73, 69, 64, 59, 54, 48, 42)
SLOW_START += (36, 29, 23, 15, 8, 0)  # 25 steps, as in lesson 00
Results = Sequence[np.ndarray]
Levels = tuple[int, ...]


def paint_tokens(tokens: Tensor, patches: Tensor, width: int) -> Tensor:
    """Images (b, 3, h * p, w * q) of tokens (b, h * w), each painted as the patch of its code.

    Tokens are numbered row by row, `width` is w. Patches (K, p, q, 3) have their channels last, as
    image files do. MASK = K is grey.
    """
    return _joined(_gathered(tokens, patches, width))


def _gathered(tokens: Tensor, patches: Tensor, width: int, of_mask: float = GREY) -> Tensor:
    """The patch of every token: (b, h, w, p, q, 3)."""
    mask = torch.full_like(patches[:1], of_mask)
    return torch.cat([patches, mask])[tokens.view(len(tokens), -1, width)]


def _joined(squares: Tensor) -> Tensor:
    b, h, w, p, q, channels = squares.shape
    return squares.permute(0, 5, 1, 3, 2, 4).reshape(b, channels, h * p, w * q)


def _no_permute(tokens: Tensor, patches: Tensor, width: int) -> Tensor:
    b, h, w, p, q, channels = (squares := _gathered(tokens, patches, width)).shape
    return squares.reshape(b, channels, h * p, w * q)


def _patches_torn(tokens: Tensor, patches: Tensor, width: int) -> Tensor:
    b, h, w, p, q, channels = (squares := _gathered(tokens, patches, width)).shape
    return squares.permute(0, 5, 1, 2, 3, 4).reshape(b, channels, h * p, w * q)


def _columns_first(tokens: Tensor, patches: Tensor, width: int) -> Tensor:
    by_column = tokens.view(len(tokens), width, -1).transpose(1, 2)
    return paint_tokens(by_column.reshape(len(tokens), -1), patches, width)


def _patch_transposed(tokens: Tensor, patches: Tensor, width: int) -> Tensor:
    return paint_tokens(tokens, patches.transpose(1, 2), width)


def _mask_is_last_code(tokens: Tensor, patches: Tensor, width: int) -> Tensor:
    return paint_tokens(tokens.clamp(max=len(patches) - 1), patches, width)


def _mask_is_black(tokens: Tensor, patches: Tensor, width: int) -> Tensor:
    return _joined(_gathered(tokens, patches, width, of_mask=0.0))


def _grids(generator: torch.Generator) -> list[Arguments]:
    """The second grid is all MASK, as at the start of a sample, but for one token."""
    calls = []
    for b, (h, w), (p, q), num_codes in (
        (2, (3, 4), (2, 3), 5),
        (1, (2, 3), (3, 3), 4),
        (3, (3, 2), (2, 2), 3),
    ):
        tokens = torch.randint(num_codes + 1, (b, h * w), generator=generator)
        tokens[:, -1], tokens[:, 1] = num_codes, 0
        if b == 1:
            tokens[:, :-2] = num_codes
        patches = torch.rand(num_codes, p, q, 3, generator=generator, dtype=torch.float64)
        calls.append((tokens, patches, w))
    return calls


def _grey_as_often_as_mask(arguments: Arguments, results: Results) -> bool:
    tokens, patches, _ = arguments
    masked = int((tokens == len(patches)).sum())
    return int(np.isclose(results[0], GREY, atol=1e-6).sum()) >= masked * patches[0].numel()


def _first_patch_in_corner(arguments: Arguments, results: Results) -> bool:
    tokens, patches, _ = arguments
    p, q = patches.shape[1:3]
    first = _joined(_gathered(tokens[:, :1], patches, 1)).numpy()
    return bool(np.allclose(results[0][:, :, :p, :q], first, atol=1e-4))


def several_at_once(num_tokens: int, levels: Levels) -> Tensor:
    """For each step the probability that it unmasks two tokens or more, (N,).

    All tokens are MASK at levels[0] = T, and the masked share at t is t / T. So a token is unmasked
    in the step from t to s with (t - s) / T, whatever the others do: the number is binomial.
    """
    return _each_step(_shares(levels), lambda q: _two_or_more(num_tokens, q))


def _shares(levels: Levels) -> list[float]:
    return [(t - s) / levels[0] for t, s in pairwise(levels)]


def _each_step(shares: list[float], probability: Callable[[float], float]) -> Tensor:
    return torch.tensor([probability(q) for q in shares], dtype=torch.float64)


def _two_or_more(n: int, q: float) -> float:
    return 1 - (1 - q) ** n - n * q * (1 - q) ** (n - 1)


def _all_still_masked(num_tokens: int, levels: Levels) -> Tensor:
    stays = [(t - s) / t for t, s in pairwise(levels)]
    return _each_step(stays, lambda q: _two_or_more(num_tokens, q))


def _one_or_more(num_tokens: int, levels: Levels) -> Tensor:
    return _each_step(_shares(levels), lambda q: 1 - (1 - q) ** num_tokens)


def _one_of_them(num_tokens: int, levels: Levels) -> Tensor:
    def probability(q: float) -> float:
        return 1 - (1 - q) ** num_tokens - q * (1 - q) ** (num_tokens - 1)

    return _each_step(_shares(levels), probability)


def _pairs_added(num_tokens: int, levels: Levels) -> Tensor:
    return _each_step(_shares(levels), lambda q: comb(num_tokens, 2) * q**2)


def _mean_number(num_tokens: int, levels: Levels) -> Tensor:
    return _each_step(_shares(levels), lambda q: float(num_tokens * q >= 2))


def _visits(generator: torch.Generator) -> list[Arguments]:
    """The 64 tokens of the lesson, two drawn lists of timesteps, one step, and a single token."""
    calls: list[Arguments] = [(64, SLOW_START)]
    for num_tokens, num_timesteps, num_steps in ((4, 20, 5), (9, 50, 8)):
        inside = 1 + torch.randperm(num_timesteps - 1, generator=generator)[: num_steps - 1]
        inside = inside.sort(descending=True).values.tolist()
        calls.append((num_tokens, (num_timesteps, *inside, 0)))
    return [*calls, (3, (10, 0)), (1, (8, 5, 0))]


def _are_probabilities(_: Arguments, results: Results) -> bool:
    return bool((results[0] > -1e-6).all() and (results[0] < 1 + 1e-6).all())


def _one_token_is_alone(arguments: Arguments, results: Results) -> bool:
    return arguments[0] > 1 or bool(np.allclose(results[0], 0, atol=1e-6))


def _longer_likelier(arguments: Arguments, results: Results) -> bool:
    order = np.argsort(_shares(arguments[1]), kind="stable")
    return bool((np.diff(results[0][order]) > -1e-6).all())


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        id="paint_tokens",
        lesson=0,
        points=2,
        reference=paint_tokens,
        probes=_grids,
        mistakes=(
            Mistake("no_permute", "the patches were reshaped without a permute", _no_permute),
            Mistake(
                "patches_torn",
                "the axes of the grid and of the patches do not alternate",
                _patches_torn,
            ),
            Mistake("columns_first", "the tokens were laid out column by column", _columns_first),
            Mistake(
                "patch_transposed",
                "rows and columns were exchanged inside of every patch",
                _patch_transposed,
                "cloneofsimo/d3pm: a transpose that swaps height and width",
            ),
            Mistake("mask_is_last_code", "MASK was painted as code K - 1", _mask_is_last_code),
            Mistake("mask_is_black", "MASK was painted black, not grey", _mask_is_black),
        ),
        properties=(
            Property("every MASK is a grey patch", _grey_as_often_as_mask),
            Property("the first token is painted in the upper left corner", _first_patch_in_corner),
        ),
    ),
    Exercise(
        id="several_at_once",
        lesson=0,
        points=3,
        reference=several_at_once,
        probes=_visits,
        mistakes=(
            Mistake(
                "all_still_masked",
                "every token were still masked when a step begins",
                _all_still_masked,
            ),
            Mistake("one_or_more", "steps that unmask a single token count too", _one_or_more),
            Mistake("one_of_them", "only one certain token could be the single one", _one_of_them),
            Mistake(
                "pairs_added",
                "the probabilities of all pairs were added, though pairs overlap",
                _pairs_added,
            ),
            Mistake(
                "mean_number",
                "every step unmasked its mean number of tokens, without chance",
                _mean_number,
            ),
        ),
        properties=(
            Property("every result is a probability", _are_probabilities),
            Property("a single token is never unmasked with another", _one_token_is_alone),
            Property("a longer stride is at least as likely to unmask several", _longer_likelier),
        ),
    ),
)
