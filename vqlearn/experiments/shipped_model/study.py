"""Three commands: what the shipped model can do, with its images; four samplers; all rules."""

from collections.abc import Mapping
from pathlib import Path

from vqlearn.evaluation import Evaluation, Share
from vqlearn.experiments.pages import COMPOSITIONS, table
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study
from vqlearn.experiments.shipped_model import frontier_page, plots
from vqlearn.experiments.shipped_model.frontier_runs import frontier_runs
from vqlearn.experiments.shipped_model.runs import EvaluationRun, StepsRun, load_pipeline
from vqlearn.experiments.shipped_model.samplers import sampler_runs

PROMPTS = 300
PROMPTS_OF_STEPS = {2: 100, 5: 100, 10: 300, 100: 100}
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
        plot=plot_all,
        tables=tables,
    )


def plot_all(report: Report, folder: Path) -> None:
    """Images, films, and the curve."""
    pipeline = load_pipeline()
    plots.plot_prompts(pipeline, folder / "prompts.png")
    plots.plot_reconstructions(pipeline, folder / "reconstructions.png")
    states = plots.record(pipeline)
    plots.plot_strip(pipeline, states, folder / "denoising.png")
    plots.animate(pipeline, states, folder / "denoising.gif")
    ceiling = report.runs["evaluation"].result["seen"].ceiling
    plots.plot_accuracy(by_steps(report), ceiling, folder / "accuracy.png")


def by_steps(report: Report) -> dict[int, dict[str, Share]]:
    """Right images by the number of steps, then by composition; the evaluation has one of them."""
    found = {record.settings["steps"]: record.result for record in report.runs.values()}
    evaluation = report.runs["evaluation"]
    models = {composition: part.model for composition, part in evaluation.result.items()}
    found[evaluation.settings["steps"]] = models
    return dict(sorted(found.items()))


def tables(report: Report) -> dict[str, str]:
    """Images that are right, by steps; and which attributes are."""
    return {
        "shipped-model-accuracy": accuracy_table(report),
        "shipped-model-attributes": attributes_sentence(report),
    }


def accuracy_table(report: Report) -> str:
    """Counts with their 95 % intervals: the ceiling, then some numbers of steps."""
    evaluation, found = report.runs["evaluation"].result, by_steps(report)
    shares = {
        "true scenes after a round trip through their tokens": {
            composition: part.ceiling for composition, part in evaluation.items()
        }
    }
    shares |= {f"images in {steps} steps": found[steps] for steps in STEPS_IN_TABLE}
    rows = []
    for what, by_composition in shares.items():
        for composition, label in COMPOSITIONS.items():
            share = by_composition[composition]
            low, high = (100 * end for end in share.interval_95)
            counts = f"{share.right} of {share.total}"
            rows.append([f"{what}, {label}", counts, f"{low:.1f} to {high:.1f} %"])
    return table(("what is read", "right", "95 % interval"), rows)


def attributes_sentence(report: Report) -> str:
    """Shares of right attributes, of captions that name them."""
    record = report.runs["evaluation"]
    parts = []
    for composition, label in COMPOSITIONS.items():
        found = record.result[composition].model.by_attribute
        shares = ", ".join(f"{name} {100 * part.share:.0f} %" for name, part in found.items())
        parts.append(f"{label}: {shares}")
    return f"By attribute at {record.settings['steps']} steps, {'; '.join(parts)}."


SHIPPED_MODEL = shipped_model_study()
SAMPLERS = Study("samplers", sampler_runs())
"""Four samplers at three numbers of calls; lesson 06 shows the result."""
FRONTIER = Study(
    "frontier", frontier_runs(), plot=frontier_page.plot_all, tables=frontier_page.tables
)
"""Every unmasking rule: accuracy and diversity against steps."""
