"""The exercises of lesson 06: guidance with truncation, and the timesteps of a few steps.

The one about inpainting is in `inpainting.py`.
"""

import math

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property
from vqlearn.course.exercises.inpainting import INPAINTING_STEP


def guided_nucleus(conditional: Tensor, null: Tensor, w: float, r: float) -> Tensor:
    """Guided, then truncated probabilities (b, K, n), from two log-probabilities (b, K, n).

    Sources: Ho and Salimans 2022, eq. 6, for w, which is 0 without guidance; Holtzman et al. 2020
    for the nucleus, which keeps the code that crosses r.
    """
    return _nucleus(((1 + w) * conditional - w * null).softmax(dim=1), r)


def _nucleus(p: Tensor, r: float) -> Tensor:
    ranked, order = p.sort(dim=1, descending=True)
    mass_before = ranked.cumsum(dim=1) - ranked
    return _kept(ranked, mass_before < r, order)


def _kept(ranked: Tensor, keep: Tensor, order: Tensor) -> Tensor:
    """What is kept, back at the places of the codes and renormalised."""
    p = torch.zeros_like(ranked).scatter(1, order, ranked * keep)
    return p / p.sum(dim=1, keepdim=True)


def _ranked(conditional: Tensor, null: Tensor, w: float) -> tuple[Tensor, Tensor]:
    return ((1 + w) * conditional - w * null).softmax(dim=1).sort(dim=1, descending=True)


def _probability_space(conditional: Tensor, null: Tensor, w: float, r: float) -> Tensor:
    p = ((1 + w) * conditional.exp() - w * null.exp()).clamp(min=0)
    return _nucleus(p / p.sum(dim=1, keepdim=True), r)


def _reversed(conditional: Tensor, null: Tensor, w: float, r: float) -> Tensor:
    return guided_nucleus(null, conditional, w, r)


def _scale_convention(conditional: Tensor, null: Tensor, w: float, r: float) -> Tensor:
    return guided_nucleus(conditional, null, w - 1, r)


def _not_renormalised(conditional: Tensor, null: Tensor, w: float, r: float) -> Tensor:
    return _nucleus(((1 + w) * conditional - w * null).exp(), r)


def _crossing_dropped(conditional: Tensor, null: Tensor, w: float, r: float) -> Tensor:
    ranked, order = _ranked(conditional, null, w)
    return _kept(ranked, ranked.cumsum(dim=1) <= r, order)


def _only_top_saved(conditional: Tensor, null: Tensor, w: float, r: float) -> Tensor:
    ranked, order = _ranked(conditional, null, w)
    keep = ranked.cumsum(dim=1) <= r
    keep[:, 0] = True
    return _kept(ranked, keep, order)


def _order_as_rank(conditional: Tensor, null: Tensor, w: float, r: float) -> Tensor:
    ranked, order = _ranked(conditional, null, w)
    keep = (ranked.cumsum(dim=1) - ranked < r).gather(1, order)
    p = keep * ((1 + w) * conditional - w * null).softmax(dim=1)
    return p / p.sum(dim=1, keepdim=True)


def _truncated_first(conditional: Tensor, null: Tensor, w: float, r: float) -> Tensor:
    truncated = _nucleus(conditional.exp(), r).log()
    return ((1 + w) * truncated - w * null).softmax(dim=1)


def levels_by_share(gamma_bar: Tensor, steps: int) -> list[int]:
    """The timesteps T, …, 0 of `steps` steps after which a cosine of all tokens is masked.

    Masked shares `gamma_bar` (T + 1,), rising from 0. Source of the cosine: Chang et al. 2022.
    """
    return _strictly_down(_nearest(gamma_bar, _cosine(steps) * gamma_bar[-1]), len(gamma_bar) - 1)


def _cosine(steps: int) -> Tensor:
    """The share after each step."""
    return (math.pi / 2 * torch.arange(1, steps + 1, dtype=torch.float64) / steps).cos()


def _nearest(gamma_bar: Tensor, wanted: Tensor) -> list[int]:
    return (gamma_bar - wanted[:, None]).abs().argmin(dim=1).tolist()


def _strictly_down(wanted: list[int], first: int) -> list[int]:
    """Below the one before, and with a timestep left for each step to come."""
    levels = [first]
    for left, level in zip(range(len(wanted) - 1, -1, -1), wanted, strict=True):
        levels.append(max(min(level, levels[-1] - 1), left))
    return levels


def _linear(gamma_bar: Tensor, steps: int) -> list[int]:
    last = len(gamma_bar) - 1
    return _strictly_down((last * _cosine(steps)).round().long().tolist(), last)


def _turned_round(gamma_bar: Tensor, steps: int) -> list[int]:
    fast = 1 - (math.pi / 2 * torch.arange(1, steps + 1, dtype=torch.float64) / steps).sin()
    return _strictly_down(_nearest(gamma_bar, fast * gamma_bar[-1]), len(gamma_bar) - 1)


def _last_share_ignored(gamma_bar: Tensor, steps: int) -> list[int]:
    return _strictly_down(_nearest(gamma_bar, _cosine(steps)), len(gamma_bar) - 1)


def _starts_below(gamma_bar: Tensor, steps: int) -> list[int]:
    wanted = _nearest(gamma_bar[1:], _cosine(steps) * gamma_bar[-1])
    return _strictly_down(wanted, len(gamma_bar) - 2)


def _no_end(gamma_bar: Tensor, steps: int) -> list[int]:
    return levels_by_share(gamma_bar, steps)[:-1]


def _doubles(gamma_bar: Tensor, steps: int) -> list[int]:
    return [len(gamma_bar) - 1, *_nearest(gamma_bar, _cosine(steps) * gamma_bar[-1])]


def _no_room(gamma_bar: Tensor, steps: int) -> list[int]:
    levels = [len(gamma_bar) - 1]
    for level in _nearest(gamma_bar, _cosine(steps) * gamma_bar[-1]):
        levels.append(min(level, levels[-1] - 1))
    return levels


def _nucleus_probes(generator: torch.Generator) -> list[Arguments]:
    """Many positions; in the last two calls the likeliest code is often above r."""

    def probe(shape: tuple[int, int, int], sharp: float, w: float, r: float) -> Arguments:
        logits = sharp * torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        conditional, null = logits.log_softmax(dim=2)
        return conditional, null, w, r

    return [
        probe((2, 5, 12), 0.7, 1.0, 0.8),
        probe((1, 6, 16), 1.0, 0.5, 0.7),
        probe((3, 4, 10), 1.5, 2.0, 0.5),
    ]


def _levels_probes(generator: torch.Generator) -> list[Arguments]:
    """Shares that rise late and end below 1; that rise early, with few timesteps too; T = steps."""

    def probe(last: int, steps: int, power: float, end: float) -> Arguments:
        strides = 0.5 + torch.rand(last, generator=generator, dtype=torch.float64)
        total = torch.cat([torch.zeros(1, dtype=torch.float64), strides.cumsum(dim=0)])
        return end * (total / total[-1]) ** power, steps

    return [
        probe(24, 6, 2.0, 0.75),
        probe(40, 10, 0.5, 0.9),
        probe(14, 11, 0.4, 0.8),
        probe(8, 8, 1.0, 1.0),
    ]


def _sums_to_one(arguments: Arguments, results: list[np.ndarray]) -> bool:
    return bool(np.allclose(results[0].sum(axis=1), 1))


def _likeliest_kept(arguments: Arguments, results: list[np.ndarray]) -> bool:
    """Every code that is kept is likelier than every one that is not."""
    conditional, null, w, _ = arguments
    guided = ((1 + w) * conditional - w * null).numpy()
    kept = results[0] > 0
    least = np.where(kept, guided, np.inf).min(axis=1)
    return bool((least > np.where(kept, -np.inf, guided).max(axis=1)).all())


def _first_is_last_timestep(arguments: Arguments, results: list[np.ndarray]) -> bool:
    return bool(results[0][0] == len(arguments[0]) - 1)


def _ends_at_zero(arguments: Arguments, results: list[np.ndarray]) -> bool:
    return bool(results[0][-1] == 0)


def _falls(arguments: Arguments, results: list[np.ndarray]) -> bool:
    return bool((np.diff(results[0]) < 0).all())


GUIDED_NUCLEUS = Exercise(
    id="guided_nucleus",
    lesson=6,
    points=4,
    reference=guided_nucleus,
    probes=_nucleus_probes,
    mistakes=(
        Mistake(
            "probability_space",
            "guidance was applied to probabilities and not to their logarithms",
            _probability_space,
        ),
        Mistake("reversed", "conditional and unconditional were exchanged", _reversed),
        Mistake(
            "scale_convention",
            "w was taken for the scale that is 1 without guidance",
            _scale_convention,
            "Ho and Salimans 2022 against diffusers: the table of conventions in lesson 06",
        ),
        Mistake(
            "not_renormalised",
            "what was cut is not normalised, so that r is no share of it",
            _not_renormalised,
        ),
        Mistake(
            "crossing_dropped",
            "the code that crosses r was dropped, even where it is the likeliest",
            _crossing_dropped,
        ),
        Mistake(
            "only_top_saved",
            "the code that crosses r was dropped, unless it is the likeliest",
            _only_top_saved,
        ),
        Mistake(
            "order_as_rank",
            "the indices of the sort were used where their argsort belongs",
            _order_as_rank,
        ),
        Mistake(
            "truncated_first",
            "the conditional distribution was truncated before it was guided",
            _truncated_first,
        ),
    ),
    properties=(
        Property("the probabilities of every position sum to 1 over axis 1", _sums_to_one),
        Property("the kept codes are the likeliest after guidance", _likeliest_kept),
    ),
)

LEVELS_BY_SHARE = Exercise(
    id="levels_by_share",
    lesson=6,
    points=3,
    reference=levels_by_share,
    probes=_levels_probes,
    mistakes=(
        Mistake("linear", "the masked share was taken to be t/T at every timestep", _linear),
        Mistake("turned_round", "many tokens are revealed first and few last", _turned_round),
        Mistake(
            "last_share_ignored",
            "the share of masked tokens was not compared with that of the start",
            _last_share_ignored,
        ),
        Mistake(
            "starts_below",
            "all timesteps are too low by one, the first is T - 1",
            _starts_below,
            "the official code and diffusers, whose timesteps are 0 to T - 1",
        ),
        Mistake("no_end", "timestep 0 is missing at the end", _no_end),
        Mistake("doubles", "the same timestep was left in the list twice", _doubles),
        Mistake("no_room", "no timestep was left for the steps to come", _no_room),
    ),
    properties=(
        Property("the first timestep is T", _first_is_last_timestep),
        Property("the last timestep is 0", _ends_at_zero),
        Property("every timestep is below the one before it", _falls),
    ),
)

EXERCISES: tuple[Exercise, ...] = (GUIDED_NUCLEUS, LEVELS_BY_SHARE, INPAINTING_STEP)
