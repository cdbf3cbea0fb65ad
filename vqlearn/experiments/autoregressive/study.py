"""The command: all networks on their data, three plots, and the tables of the pages."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.data import digits
from vqlearn.data.rgb import to_images
from vqlearn.data.scenes import SceneBatch
from vqlearn.evaluation import Evaluation, evaluated_scenes
from vqlearn.experiments import style
from vqlearn.experiments.autoregressive.runs import RUNS, TOKENS
from vqlearn.experiments.autoregressive.token_runs import GUIDED, CaptionedTokens
from vqlearn.experiments.data import DigitImages, RgbScenes
from vqlearn.experiments.pages import bits_table, table
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study
from vqlearn.experiments.tokens import ShippedTokens, tokens_from_text

TITLES = {
    "digits": "digits, 17 greys",
    "rgb": "scenes, 256 levels of a colour",
    "tokens": "scenes as tokens, after captions",
}
PROMPTS = 6


def plot_all(report: Report, folder: Path) -> None:
    """Bits beside the baselines, samples of pixels, and samples of tokens."""
    style.plot_bits(report, RUNS, TITLES, folder / "autoregressive_bits.png")
    plot_samples(report, folder / "autoregressive_samples.png")
    plot_scenes(report, folder / "autoregressive_scenes.png")


def plot_samples(report: Report, file: Path) -> None:
    """Of every network of pixels, the images that it sampled; above them some of the data."""
    levels = report.data["digits"].num_codes
    rows = {
        f"digits: {name}": style.to_grey(shown, levels)
        for name, shown in style.shown_of(report, RUNS, "digits").items()
    }
    for name, shown in style.shown_of(report, RUNS, "rgb").items():
        rows[f"scenes: {name}"] = to_rgb(shown)
    style.plot_images(rows, file)


def to_rgb(shown: Sequence[str]) -> Float[Tensor, "b 3 h w"]:
    """Images in 0 to 1 from strings with two hexadecimal digits for each token."""
    return to_images(torch.tensor([list(bytes.fromhex(text)) for text in shown]))


def plot_scenes(report: Report, file: Path) -> None:
    """What comes out for the first prompts, sampled plainly, and guided and truncated."""
    rows, tokens = {"the scenes": shown_scenes().images[:PROMPTS]}, ShippedTokens()
    for run in (run for run in RUNS if run.data == "tokens"):
        result = report.runs[run.id].result
        for title, part in ((run.name, result.plain), (f"{run.name}, guided", result.guided)):
            rows[title] = tokens.decode(tokens_from_text(part.shown[:PROMPTS]))
    style.plot_images(rows, file, height=1.2)


def shown_scenes() -> SceneBatch:
    """All scenes that prompts were taken from; the first are in the plot."""
    return evaluated_scenes("seen", Evaluation(prompts=TOKENS.samples))


def tables(report: Report) -> dict[str, str]:
    """Bits of every network, how many prompts come out right, and which are in the plot."""
    prompts = shown_scenes().captions[:PROMPTS]
    return {
        "autoregressive-bits": bits_table(report, RUNS, TITLES, what="network", digits=3),
        "autoregressive-accuracy": accuracy_table(report),
        "autoregressive-prompts": ", ".join(f"*{each}*" for each in prompts),
    }


def accuracy_table(report: Report) -> str:
    """Prompts that come out right, sampled plainly and guided."""
    how = f"guidance {GUIDED.guidance_scale}, top-p {GUIDED.truncation_rate}"
    rows = []
    for run in (run for run in RUNS if run.data == "tokens"):
        found = report.runs[run.id].result
        for name, part in ((run.name, found.plain), (f"{run.name}, {how}", found.guided)):
            rows.append([name, *(str(each.right) for each in part.by_composition.values())])
    return table(("network", "seen", "never seen"), rows)


STUDY = Study(
    name="autoregressive",
    runs=RUNS,
    data={
        "digits": lambda budget: DigitImages(digits(), budget),
        "rgb": RgbScenes,
        "tokens": CaptionedTokens,
    },
    plot=plot_all,
    tables=tables,
)
