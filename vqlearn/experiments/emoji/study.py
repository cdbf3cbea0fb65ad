"""One command: the model of emoji on images that it has seen, and on held-out combinations.

python -m vqlearn.experiments emoji
"""

from pathlib import Path

from vqlearn.data import ImageFolder
from vqlearn.data.emoji import build
from vqlearn.evaluation import Share
from vqlearn.experiments import pages
from vqlearn.experiments.emoji import plots, recognition, runs
from vqlearn.experiments.emoji.runs import ANSWERS, GUIDANCE, PARTS, EmojiRun
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study
from vqlearn.pipeline import load_pipeline

RUNS = tuple(EmojiRun(part, guidance) for guidance in GUIDANCE for part in PARTS)
TITLES = {
    "seen": "seen in training",
    "never_seen": "combinations never seen",
    "swapped": "two skin tones, seen the other way round",
}
COLUMNS = (
    *("images", "guidance", "round trip, dB", "bits per token"),
    *("CLIP finds the caption of the sample", "of the true image", "the true image is nearest"),
)


def plot_all(report: Report, folder: Path) -> None:
    """Images of fixed prompts, and what tokens keep of held-out images."""
    pipeline = load_pipeline(runs.MODEL)
    build(runs.DATA)
    train, held_out = (ImageFolder(runs.DATA / name, pipeline.image_size) for name in runs.FOLDERS)
    plots.check_titles(train.captions(), held_out.captions())
    plots.plot_prompts(pipeline, folder / "emoji.png")
    plots.plot_reconstructions(pipeline, held_out, folder / "emoji_reconstructions.png")


def tables(report: Report) -> dict[str, str]:
    """A line for each run, with 95 % intervals of shares and one standard error of means.

    And what readers have recognised.
    """
    measured = [run for run in RUNS if run.id in report.runs]
    rows = [cells(report, run) for run in measured]
    answers = recognition.table(ANSWERS)
    return {"emoji": pages.table(COLUMNS, rows), "emoji-recognition": answers}


def cells(report: Report, run: EmojiRun) -> list[str]:
    """The line of one run."""
    result = report.runs[run.id].result
    scores = result.scores
    psnr, bits = scores.round_trip_psnr, scores.bits_per_token
    shares = (scores.matched, scores.matched_truth, result.nearest)
    return [
        TITLES[run.part],
        str(run.guidance),
        f"{psnr.mean:.1f} ± {psnr.standard_error:.1f}",
        f"{bits.mean:.3f} ± {bits.standard_error:.3f}",
        *(told(share) for share in shares),
    ]


def told(share: Share) -> str:
    """Such as "150 of 200 (69 to 80 %)"."""
    low, high = (100 * end for end in share.interval_95)
    return f"{share.right} of {share.total} ({low:.0f} to {high:.0f} %)"


STUDY = Study("emoji", RUNS, plot=plot_all, tables=tables)
