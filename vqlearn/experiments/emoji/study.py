"""One command: the model of emoji on images that it has seen, and on held-out combinations.

python -m vqlearn.experiments emoji
"""

from pathlib import Path

from vqlearn.data import ImageFolder
from vqlearn.evaluation import Share
from vqlearn.experiments import pages
from vqlearn.experiments.emoji import plots, recognition, runs
from vqlearn.experiments.emoji.folder import PARTS, build
from vqlearn.experiments.emoji.runs import GUIDANCE, EmojiRun
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study
from vqlearn.pipeline import load_pipeline

ANSWERS = Path("figures") / recognition.FILE
RUNS = tuple(EmojiRun(part, guidance) for guidance in GUIDANCE for part in PARTS)
TITLES = {"train": "seen in training", "held_out": "combinations never seen"}
COLUMNS = (
    *("prompts", "guidance", "round trip, dB", "bits per token"),
    *("CLIP finds the caption", "of the true image", "the true image is nearest"),
)


def plot_all(report: Report, folder: Path) -> None:
    """Images of fixed prompts, and what tokens keep of held-out images."""
    pipeline = load_pipeline(str(runs.MODEL))
    build(runs.DATA)
    held_out = ImageFolder(runs.DATA / "held_out", pipeline.image_size)
    plots.plot_prompts(pipeline, folder / "emoji.png")
    plots.plot_reconstructions(pipeline, held_out, folder / "emoji_reconstructions.png")


def tables(report: Report) -> dict[str, str]:
    """A line for each run, with 95 % intervals of shares and one standard error of means.

    And what readers have recognised, if somebody has asked them.
    """
    measured = [run for run in RUNS if run.id in report.runs]
    found = {"emoji": pages.table(COLUMNS, [cells(report, run) for run in measured])}
    if ANSWERS.exists():
        found["emoji-recognition"] = recognition.table(ANSWERS)
    return found


def cells(report: Report, run: EmojiRun) -> list[str]:
    """The line of one run."""
    result = report.runs[run.id].result
    scores = result.scores
    means = (scores.round_trip_psnr, scores.bits_per_token)
    shares = (scores.matched, scores.matched_truth, result.nearest)
    return [
        TITLES[run.part],
        str(run.guidance),
        *(f"{each.mean:.2f} ± {each.standard_error:.2f}" for each in means),
        *(told(share) for share in shares),
    ]


def told(share: Share) -> str:
    """Such as "150 of 200 (69 to 81 %)"."""
    low, high = (100 * end for end in share.interval_95)
    return f"{share.right} of {share.total} ({low:.0f} to {high:.0f} %)"


STUDY = Study("emoji", RUNS, plot=plot_all, tables=tables)
