"""What is measured of whom: the names of all runs of the face-off, and how to make one.

A name is "measure/system/seed", for example "quality/raster/0". In "cost/raster/64" the last
part is a number of tokens ("cuda-cost/raster/64" is the same on CUDA), and "captions/raster/0" is
about letters (see `captions`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vqlearn.experiments.autoregressive.sequence_runs import count_weights, machine
from vqlearn.experiments.face_off import captions
from vqlearn.experiments.face_off.costs import COSTS, LENGTHS, cost_settings, measure_cost
from vqlearn.experiments.face_off.data import TokenWorld
from vqlearn.experiments.face_off.downstream import FREE, KEEPS, measure_downstream
from vqlearn.experiments.face_off.exposure_bias import OWN, measure_forcing, measure_strangeness
from vqlearn.experiments.face_off.inpainting import ONE, SHARES, measure_directions, measure_errors
from vqlearn.experiments.face_off.players import Drawing, Player, player_of
from vqlearn.experiments.face_off.quality import (
    CALLS,
    GUIDED,
    USUAL_CALLS,
    drawings,
    measure_quality,
)
from vqlearn.experiments.face_off.systems import SYSTEMS, VARIANTS
from vqlearn.experiments.face_off.trainings import Training, best_device
from vqlearn.experiments.kernels.data import Budget
from vqlearn.training.recipes import NUM_TIMESTEPS

SEEDS = (0, 1, 2)
ROWS = 100
THEIRS, OURS = "raster", "vq-diffusion"
JUDGES = (THEIRS, OURS)
ABOVE = (ONE, "0.1")
FROM_ABOVE = ((THEIRS, KEEPS), (OURS, KEEPS), (OURS, FREE))
HALVES = Drawing(**GUIDED, calls=USUAL_CALLS)


@dataclass(frozen=True)
class Setting:
    """How much is measured, and of which trainings."""

    rows: int = ROWS
    training: Callable[[str, int], Training] = Training
    captions: Budget = captions.BUDGET


class CostWorld:
    """No data: only the time that drawing takes on a device."""

    def __init__(self, device: str) -> None:
        self.device = device

    def describe(self) -> dict[str, Any]:
        """Where it was measured."""
        return {"unit": "seconds for a picture", "machine": where(self.device)}


World = TokenWorld | CostWorld | captions.Sentences
"""What the measures are made on: all of them can `describe` themselves."""


def where(device: str) -> str:
    """The machine that a device belongs to, as far as it decides how long something takes."""
    return machine() if device == "cpu" else torch.cuda.get_device_name()


@cache
def token_world(rows: int) -> TokenWorld:
    """The same scenes for every measure."""
    return TokenWorld(rows, best_device())


def load_model(training: Training) -> tuple[Player, Tensor, int]:
    """The player, its "no caption", and its number of weights."""
    task = training.trained()
    return player_of(task), task.network.null_text(1), count_weights(task.network)


def quality(name: str, seed: int, setting: Setting) -> dict[str, Any]:
    """Bits and right captions; the first seed with every number of calls.

    Guidance and truncation are made for a distribution of clean tokens, so a direct prediction has
    none.
    """
    player, null, weights = load_model(setting.training(name, seed))
    ways = drawings(player, calls_of(name, seed), guided=name != "direct")
    return {"weights": weights, **measure_quality(player, null, token_world(setting.rows), ways)}


def calls_of(name: str, seed: int) -> Sequence[int]:
    """How often is a denoiser asked? A direct prediction knows no strides: at every level."""
    if name == "direct":
        return (NUM_TIMESTEPS,)
    if name in VARIANTS:
        return (NUM_TIMESTEPS, USUAL_CALLS)
    return CALLS if seed == SEEDS[0] else (USUAL_CALLS,)


def errors(name: str, seed: int, setting: Setting) -> dict[str, Any]:
    """What wrong tokens do."""
    player, null, _ = load_model(setting.training(name, seed))
    return measure_errors(player, null, token_world(setting.rows), HALVES)


def directions(name: str, seed: int, setting: Setting) -> dict[str, Any]:
    """One half given."""
    player, null, _ = load_model(setting.training(name, seed))
    return measure_directions(player, null, token_world(setting.rows), HALVES)


def forcing(name: str, seed: int, setting: Setting) -> dict[str, Any]:
    """What models of the next seed make of its rows."""
    player, null, _ = load_model(setting.training(name, seed))
    other = judge_seed(seed)
    judges = {judge: load_model(setting.training(judge, other))[0] for judge in JUDGES}
    return measure_forcing(player, null, token_world(setting.rows), judges)


def strangeness(name: str, seed: int, setting: Setting) -> dict[str, Any]:
    """The same of rows that show the caption and of others, to a raster network only."""
    player, null, _ = load_model(setting.training(name, seed))
    judge, _, _ = load_model(setting.training(THEIRS, judge_seed(seed)))
    return measure_strangeness(player, null, token_world(setting.rows), judge)


def downstream(name: str, seed: int, setting: Setting) -> dict[str, Any]:
    """Wrong tokens in the upper half."""
    player, null, _ = load_model(setting.training(name, seed))
    return measure_downstream(player, null, token_world(setting.rows), HALVES, ABOVE)


def judge_seed(seed: int) -> int:
    """The seed of the models that read what a system of this seed wrote."""
    return (seed + 1) % len(SEEDS)


COST_ON = {"cost": "cpu", "cuda-cost": "cuda"}
MEASURES: Mapping[str, tuple[Callable[..., dict[str, Any]], tuple[str, ...]]] = {
    "quality": (quality, (*SYSTEMS, *VARIANTS)),
    "errors": (errors, tuple(SYSTEMS)),
    "directions": (
        directions,
        (*(name for name in SYSTEMS if name != "nearest-neighbour"), "causal"),
    ),
    "forcing": (forcing, tuple(SYSTEMS)),
    "strangeness": (strangeness, JUDGES),
    "downstream": (downstream, JUDGES),
}
"""Not every system can do everything: noise of the nearest-neighbour kernel is near to the true
token, so half an image with nothing in its other half is no state that it knows."""


def names() -> list[str]:
    """All runs: first every measure of one training, then those of the next seed."""
    trained = [
        f"{measure}/{name}/{seed}"
        for seed in SEEDS
        for measure, (_, who) in MEASURES.items()
        for name in who
    ]
    costs = [f"{measure}/{name}/{n}" for measure in COST_ON for n in LENGTHS for name in COSTS]
    return [*trained, *captions.NAMES, *costs]


def possible(run: str) -> bool:
    """Can this run be measured here?"""
    return not run.startswith("cuda-cost/") or best_device() == "cuda"


def settings(run: str, setting: Setting) -> dict[str, Any]:
    """All that decides the result, as JSON gives it back."""
    measure, name, last = run.split("/")
    if measure in COST_ON:
        return {"way": name, "tokens": int(last), **cost_settings()}
    if measure == "captions":
        return captions.settings(run, setting.captions)
    training = setting.training(name, int(last)).settings()
    return {"rows": setting.rows, **how(measure, name, int(last)), "training": training}


def how(measure: str, name: str, seed: int) -> dict[str, Any]:
    """What is done with a system after its training."""
    if measure == "quality":
        return {**told(HALVES), "calls": list(calls_of(name, seed))}
    if measure == "forcing":
        return {"calls": OWN.calls, "judges": dict.fromkeys(JUDGES, judge_seed(seed))}
    if measure == "strangeness":
        return {"calls": OWN.calls, "judge": judge_seed(seed)}
    if measure == "downstream":
        return {**told(HALVES), "shares": list(ABOVE)}
    return {**told(HALVES), **({"shares": list(SHARES)} if measure == "errors" else {})}


def told(drawing: Drawing) -> dict[str, float]:
    """How is drawn? In words that stay, whatever the fields are called."""
    ways = {"guidance": drawing.guidance, "truncation": drawing.truncation}
    return {**ways, "calls": drawing.calls}


def open_world(measure: str, setting: Setting) -> World:
    """What a measure is made on."""
    if measure in COST_ON:
        return CostWorld(COST_ON[measure])
    if measure == "captions":
        return captions.open_world(setting.captions)
    return token_world(setting.rows)


def measured(run: str, world: World, setting: Setting) -> dict[str, Any]:
    """The result of a run."""
    measure, name, last = run.split("/")
    if measure == "captions":
        return captions.measure(run, world, setting.captions)
    if measure in COST_ON:
        found = measure_cost(name, int(last), device=COST_ON[measure])
    else:
        found = MEASURES[measure][0](name, int(last), setting)
        found["machine"] = where(best_device())
    return {"settings": settings(run, setting), **found}
