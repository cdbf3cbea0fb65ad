"""A report of the face-off made by hand: all runs have numbers, tests change a few.

Tests change it as it is stored, by paths of fields; `typed` reads it.
"""

import copy

from vqlearn.experiments.face_off.costs import CostRun
from vqlearn.experiments.face_off.inpainting import ABOVE, AMOUNTS, FREE, KEEPS, SIDES
from vqlearn.experiments.face_off.letters import LetterRun
from vqlearn.experiments.face_off.quality import SHOWN, QualityRun
from vqlearn.experiments.face_off.study import STUDY
from vqlearn.experiments.report import Facts, Record, Report, from_json

COMPOSITIONS = ("seen", "held_out")
FACTS = {
    "captions": {
        **{"unit": "bits", "num_codes": 25, "floor_on_test": 0.5},
        "baselines": {"5-gram": 0.7},
    }
}
HALF = {"right": 50, "total": 100, "unreadable": 0, "by_attribute": {}}
BITS = {"mean": 1.0, "standard_error": 0.1}


def whole_report():
    """All runs of the face-off, each with the same numbers, as they are stored."""
    return {run.id: stored(run) for run in STUDY.runs}


def stored(run):
    if isinstance(run, CostRun):
        machine = "one core" if run.device == "cpu" else "a GPU"
        settings = {"way": run.way}
    else:
        letters = isinstance(run, LetterRun)
        machine, settings = None if letters else "a CPU", {}
    return {"settings": settings, "machine": machine, "result": copy.deepcopy(result_of(run))}


def result_of(run):
    if isinstance(run, CostRun):
        return cost(run.device)
    if isinstance(run, LetterRun):
        return letters()
    if isinstance(run, QualityRun):
        return quality(run)
    return {"errors": errors, "directions": directions, "downstream": downstream}.get(
        run.measure_id, exposure_bias if run.measure_id == "forcing" else correctness
    )(run)


def quality(run):
    guided = [False] if run.system == "direct" else [False, True]
    steps = [None] if run.system in ("raster", "imagebart") else run.steps()
    ways = [{"guided": each, "steps": count} for each in guided for count in steps]
    found = {"bits_per_token": BITS, "sampled": [{**way, "accuracy": HALF} for way in ways]}
    if run.system != "direct":
        found["shown"] = [" ".join(["7"] * 64)] * SHOWN
    return {"weights": 1, "by_composition": {each: copy.deepcopy(found) for each in COMPOSITIONS}}


def errors(run):
    effect = {"replaced_share": 0.5, "corrected_share": 0.25, "changed_share": 0.1}
    effects = {amount: {"accuracy": dict(HALF), **effect} for amount in AMOUNTS}
    return {"untouched": dict(HALF), "by_amount": effects, "left_share": 0.5}


def downstream(run):
    damage = {"corrected_share": 0.25, "changed_share": 0.1, "changed_share_by_row": [0.2, 0.1]}
    damages = {amount: {"accuracy": dict(HALF), **damage} for amount in ABOVE}
    found = {"untouched": dict(HALF), "by_amount": damages}
    freedoms = (KEEPS,) if run.system == "raster" else (KEEPS, FREE)
    return {freedom: copy.deepcopy(found) for freedom in freedoms}


def directions(run):
    halves = {side: {"accuracy": dict(HALF), "same_share": 0.5} for side in SIDES}
    return {each: copy.deepcopy(halves) for each in COMPOSITIONS}


def exposure_bias(run):
    bits = {"data": dict(BITS), "own": {**BITS, "mean": 2.0}}
    by_row = {"data_by_row": [1.0, 2.0], "own_by_row": [2.0, 3.0]}
    return {"raster": {**bits, **by_row}, "vq-diffusion": copy.deepcopy(bits)}


def correctness(run):
    some = {"sequences": 50, "bits_per_token": {"mean": 0.5, "standard_error": 0.1}}
    return {kind: {**some, "median_bits_per_token": 0.25} for kind in ("true", "right", "wrong")}


def cost(device):
    seconds = {"seconds_per_image": {"1": 1.0, "8": 0.5, "32": 0.25}}
    return seconds if device == "cuda" else {**seconds, "operations_per_image": 2_000_000_000}


def letters():
    bits = {"mean": 0.6, "standard_error": 0.1}
    above = {"mean": 0.1, "standard_error": 0.01}
    samples = {"shown": [], "parsed": {"right": 50, "total": 200}}
    learned = {"weights": 1, "bits": bits, "bits_above_floor": above, "samples": samples}
    return {**learned, "steps_kept": 3000}


def typed(report):
    """What `Study.read` makes of it."""
    kinds = {run.id: run.result for run in STUDY.runs}
    runs = {
        id: Record(each["settings"], from_json(kinds[id], each["result"]), each["machine"])
        for id, each in report.items()
    }
    return Report("a command", from_json(dict[str, Facts], FACTS), runs)


def put(report, measure, system, path, values):
    """These numbers, one for each seed, at the end of the path in the results of a system.

    At the end of a path "share" is written as so many of a thousand.
    """
    *parts, last = path
    for seed, value in enumerate(values):
        part = report[f"{measure}/{system}/{seed}"]["result"]
        for key in parts:
            part = part[key]
        if last == "share":
            part.update(right=round(1000 * value), total=1000)
        else:
            assert last in part
            part[last] = value


def put_right(report, system, composition, way, values):
    """Shares of right captions, sampled this way (guided, steps), one for each seed."""
    for seed, value in enumerate(values):
        found = report[f"quality/{system}/{seed}"]["result"]["by_composition"][composition]
        (part,) = [each for each in found["sampled"] if (each["guided"], each["steps"]) == way]
        part["accuracy"] = {**HALF, "right": round(1000 * value), "total": 1000}


def remove(report, *ids):
    """Without these runs."""
    for id in ids:
        del report[id]
