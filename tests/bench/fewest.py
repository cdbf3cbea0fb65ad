"""In how few steps are the shipped scenes as right as in all 100? `python -m bench.fewest`.

The slow start with fixed counts (`reveal.scheduled`) in fewer and fewer steps, beside the ancestral
sampler in 100, on the same prompts. Differences are paired by prompts. It takes half an hour.
"""

import argparse
from dataclasses import dataclass

import torch
from bench.store import ROOT

from vqlearn import VQDiffusionPipeline
from vqlearn.evaluation.frontier import Point, measure
from vqlearn.evaluation.frontier_rules import RULES, FrontierRule
from vqlearn.evaluation.prompts import COMPOSITIONS, Evaluation
from vqlearn.experiments.pages import table
from vqlearn.experiments.report import to_json
from vqlearn.lessons.marks import write_between
from vqlearn.probability.estimates import Estimate
from vqlearn.storage import write_json

RESULTS = ROOT / "figures" / "bench_steps.json"
PAGE = ROOT / "figures" / "bench.md"
ALL, FEW = 100, (25, 20, 16, 12, 10)
PROMPTS = 150  # of each kind
TITLES = ("steps", *(f"right in %, {kind}" for kind in ("pairs seen", "pairs never seen")))
BY_NAME = {rule.name: rule for rule in RULES}


@dataclass(frozen=True)
class Fewest:
    """`right`: by steps, then by composition, how many of two images of each prompt are right."""

    command: str
    prompts: int
    right: dict[str, dict[str, str]]


def rule_for(steps: int) -> FrontierRule:
    """With all steps both are one token model: the ancestral sampler is asked for every level."""
    return BY_NAME["ancestral, even" if steps == ALL else "fixed counts, slow start"]


def measured(pipeline: VQDiffusionPipeline, steps: int, prompts: int) -> dict[str, str]:
    """A digit for each prompt, by composition."""
    found = measure(pipeline, rule_for(steps), Evaluation(steps, prompts=prompts))
    return {composition: point.right_images for composition, point in found.items()}


def difference(few: str, many: str) -> Estimate:
    """How many points the share of right images changes, over prompts."""
    points = 100 * (Point(few, {}).shares - Point(many, {}).shares)
    return Estimate.of_mean(points.mean().item(), points.std().item() / len(points) ** 0.5)


def steps_table(found: Fewest) -> str:
    """A line for each number of steps."""
    rows = []
    for steps in sorted(map(int, found.right), reverse=True):
        by_kind = found.right[str(steps)]
        cells = []
        for composition in COMPOSITIONS:
            share = Point(by_kind[composition], {}).accuracy
            text = "{:.0f} ({:.0f} to {:.0f})".format(*(100 * each for each in share))
            if steps != ALL:
                change = difference(by_kind[composition], found.right[str(ALL)][composition])
                text += "; {:+.1f} points ({:+.1f} to {:+.1f})".format(*change)
            cells.append(text)
        rows.append((str(steps), *cells))
    return table(TITLES, rows)


def main(arguments: list[str] | None = None) -> None:
    """Measure, store, write the table."""
    parser = argparse.ArgumentParser(prog="bench.fewest", description=__doc__)
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="of each kind")
    told = parser.parse_args(arguments)
    pipeline = VQDiffusionPipeline.from_pretrained("scenes")
    pipeline.set_progress_bar_config(disable=True)
    right = {}
    for steps in (ALL, *FEW):
        right[str(steps)] = measured(pipeline, steps, told.prompts)
        shares = {kind: Point(d, {}).accuracy.value for kind, d in right[str(steps)].items()}
        print(steps, shares, flush=True)
    found = Fewest("PYTHONPATH=tests python -m bench.fewest", told.prompts, right)
    write_json(RESULTS, to_json(found))
    write_between(PAGE, "bench-steps", steps_table(found))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
