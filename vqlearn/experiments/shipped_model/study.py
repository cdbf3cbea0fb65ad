"""Two commands: what the shipped model can do, with its images; and four samplers of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqlearn.evaluation import Evaluation
from vqlearn.evaluation.prompts import COMPOSITIONS
from vqlearn.experiments.pages import table
from vqlearn.experiments.report import Report, Share
from vqlearn.experiments.runner import Study
from vqlearn.experiments.shipped_model import film, plots
from vqlearn.experiments.shipped_model.runs import (
    PROMPTS,
    PROMPTS_OF_STEPS,
    EvaluationRun,
    StepsRun,
    WholeEvaluation,
    load_pipeline,
)
from vqlearn.experiments.shipped_model.samplers import sampler_runs

STEPS_IN_TABLE = (10, 25, 100)


def shipped_model_study(
    prompts: int = PROMPTS, prompts_of_steps: Mapping[int, int] = PROMPTS_OF_STEPS
) -> Study:
    """The evaluation of "scenes"; then samples, films, and accuracy against steps."""
    steps = (
        StepsRun(Evaluation(num_inference_steps=count, prompts=number))
        for count, number in prompts_of_steps.items()
    )
    return Study(
        name="shipped-model",
        runs=(EvaluationRun(Evaluation(prompts=prompts)), *steps),
        data={},
        plot=plot_all,
        tables=tables,
    )


def plot_all(report: Report, folder: Path) -> None:
    """Images, films, and the curve."""
    pipeline = load_pipeline()
    plots.plot_prompts(pipeline, folder / "prompts.png")
    plots.plot_reconstructions(pipeline, folder / "reconstructions.png")
    states = film.record(pipeline)
    film.plot_strip(pipeline, states, folder / "denoising.png")
    film.animate(pipeline, states, folder / "denoising.gif")
    ceiling = report.runs["evaluation"].result.by_composition["seen"].ceiling
    plots.plot_accuracy(by_steps(report), ceiling, folder / "accuracy.png")


def by_steps(report: Report) -> dict[int, dict[str, Share]]:
    """Right images by the number of steps, then by composition; the evaluation has one of them."""
    found: dict[int, dict[str, Share]] = {}
    for record in report.runs.values():
        parts: dict[str, Any] = record.result.by_composition
        if isinstance(record.result, WholeEvaluation):
            parts = {composition: part.model for composition, part in parts.items()}
        found[record.settings["steps"]] = parts
    return {steps: found[steps] for steps in sorted(found)}


def tables(report: Report) -> dict[str, str]:
    """Images that are right, by steps; and which attributes are."""
    return {
        "shipped-model-accuracy": accuracy_table(report),
        "shipped-model-attributes": attributes_sentence(report),
    }


def accuracy_table(report: Report) -> str:
    """Counts with their 95 % intervals: the ceiling, then some numbers of steps."""
    evaluation, found = report.runs["evaluation"].result.by_composition, by_steps(report)
    scenes = "true scenes after a round trip through their tokens"
    rows = [
        _row(f"{scenes}, {plots.LABELS[composition]}", evaluation[composition].ceiling)
        for composition in COMPOSITIONS
    ]
    for steps in STEPS_IN_TABLE:
        for composition in COMPOSITIONS:
            name = f"images in {steps} steps, {plots.LABELS[composition]}"
            rows.append(_row(name, found[steps][composition]))
    return table(("what is read", "right", "95 % interval"), rows)


def _row(name: str, share: Share) -> list[str]:
    low, high = share.interval_95
    return [name, f"{share.right} of {share.total}", f"{100 * low:.1f} to {100 * high:.1f} %"]


def attributes_sentence(report: Report) -> str:
    """Shares of right attributes, of captions that name them."""
    record = report.runs["evaluation"]
    parts = []
    for composition in COMPOSITIONS:
        by_attribute = record.result.by_composition[composition].model.by_attribute
        shares = ", ".join(
            f"{name} {100 * part.share:.0f} %" for name, part in by_attribute.items()
        )
        parts.append(f"{plots.LABELS[composition]}: {shares}")
    return f"By attribute at {record.settings['steps']} steps, {'; '.join(parts)}."


def sampler_study() -> Study:
    """Four samplers at three numbers of calls; lesson 05 shows the result."""
    return Study(
        name="samplers",
        runs=sampler_runs(),
        data={},
        plot=lambda report, folder: None,
        tables=lambda report: {},
    )


SHIPPED_MODEL = shipped_model_study()
SAMPLERS = sampler_study()
