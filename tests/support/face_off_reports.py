"""A report of the face-off made by hand: all runs have numbers, tests change a few."""

import copy

from vqlearn.experiments.face_off import runs as measures
from vqlearn.experiments.face_off.downstream import FREE, KEEPS
from vqlearn.experiments.face_off.inpainting import ONE, SHARES, SIDES
from vqlearn.experiments.face_off.quality import SHOWN

COMPOSITIONS = ("seen", "held_out")
WORLDS = {
    "captions": {"unit": "bits", "floor_on_test_rows": 0.5, "yardsticks": {"5-gram": 0.7}},
    "cost": {"machine": "one core"},
    "cuda-cost": {"machine": "a GPU"},
}


def whole_report():
    """All runs of the face-off, each with the same numbers."""
    runs = {
        name: RUNS_OF[name.partition("/")[0]](*name.split("/")[1:]) for name in measures.names()
    }
    for name, run in runs.items():
        if name.partition("/")[0] in measures.MEASURES:
            run["machine"] = "a CPU"
    return {"command": "a command", "worlds": WORLDS, "runs": runs}


def quality(name, seed):
    return {composition: _quality(name, int(seed)) for composition in COMPOSITIONS}


def _quality(name, seed):
    ways = ["plain"] if name == "direct" else ["plain", "guided"]
    if name not in ("raster", "imagebart"):
        ways = [f"{way} {calls}" for way in ways for calls in measures.calls_of(name, seed)]
    drawn = {way: {"share": 0.5} for way in ways}
    found = {"bits": {"mean": 1.0, "standard_error": 0.1}, "drawn": drawn}
    return found if name == "direct" else {**found, "shown": [" ".join(["7"] * 64)] * SHOWN}


def errors(name, seed):
    found = {"replaced": 0.5, "mended": 0.25, "lost changed": 0.1, "share": 0.5}
    return {key: dict(found) for key in ("none", ONE, *map(str, SHARES))}


def downstream(name, seed):
    found = {"mended": 0.25, "lost changed": 0.1, "share": 0.5, "changed by row": [0.2, 0.1]}
    shares = {"none": {"share": 0.5}, **{share: dict(found) for share in measures.ABOVE}}
    return {way: copy.deepcopy(shares) for way in ((KEEPS,) if name == "raster" else (KEEPS, FREE))}


def strangeness(name, seed):
    some = {"rows": 50, "mean": 0.5, "standard_error": 0.1, "median": 0.25}
    return {kind: dict(some) for kind in ("true", "right", "wrong")}


def directions(name, seed):
    return {each: {side: {"share": 0.5} for side in SIDES} for each in COMPOSITIONS}


def forcing(name, seed):
    by_row = {"data by row": [1.0, 2.0], "own by row": [2.0, 3.0]}
    return {"raster": {**_two_bits(), **by_row}, "vq-diffusion": _two_bits()}


def _two_bits():
    return {"data": {"mean": 1.0}, "own": {"mean": 2.0}}


def cost(way, n):
    return {"operations": 2_000_000_000, "seconds": {"1": 1.0, "8": 0.5, "32": 0.25}}


def cuda_cost(way, n):
    return {"seconds": {"1": 1.0, "8": 0.5, "32": 0.25}}


def letters(system, seed):
    error = {"mean": 0.1, "standard_error": 0.01}
    return {"bits": {"mean": 0.6, "standard_error": 0.1}, "above_floor": error}


RUNS_OF = {
    **{"quality": quality, "errors": errors, "directions": directions, "forcing": forcing},
    **{"downstream": downstream, "strangeness": strangeness},
    **{"cost": cost, "cuda-cost": cuda_cost, "captions": letters},
}


def put(report, measure, name, path, values):
    """These numbers, one for each seed, at the end of the path in the runs of a system."""
    *parts, last = path
    for seed, value in enumerate(values):
        part = report["runs"][f"{measure}/{name}/{seed}"]
        for key in parts:
            part = part[key]
        assert last in part
        part[last] = value
