"""The command: all kernels on their data, two plots, and the tables of the pages."""

from pathlib import Path

from vqlearn.data.digit_images import binarised, digits
from vqlearn.experiments import style
from vqlearn.experiments.data import Captions, DigitImages
from vqlearn.experiments.kernels.runs import RUNS
from vqlearn.experiments.pages import bits_table, table
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study

TITLES = {
    "captions": "captions",
    "digits": "digits, 17 greys",
    "binary": "digits, black and white",
}
CAPTIONS_SHOWN = 3


def plot_all(report: Report, folder: Path) -> None:
    """Bits beside the floor and the baselines, and the digits that were sampled."""
    style.plot_bits(report, RUNS, TITLES, folder / "kernels_bits.png")
    rows = {
        f"{TITLES[data]}: {name}": style.to_grey(shown, report.data[data].num_codes)
        for data in ("digits", "binary")
        for name, shown in style.shown_of(report, RUNS, data).items()
    }
    style.plot_images(rows, folder / "kernels_samples.png")


def tables(report: Report) -> dict[str, str]:
    """Bits of every kernel, and the captions that it samples."""
    return {
        "kernels-bits": bits_table(report, RUNS, TITLES, what="kernel", digits=2),
        "kernels-captions": captions_table(report),
    }


def captions_table(report: Report) -> str:
    """How many captions of each kernel the grammar's parser understands, and the first of them."""
    rows = []
    for run in (run for run in RUNS if run.data == "captions"):
        samples = report.runs[run.id].result.samples
        first = "<br>".join(f"`{text}`" for text in samples.shown[:CAPTIONS_SHOWN])
        rows.append([run.name, f"{samples.parsed.right} of {samples.parsed.total}", first])
    return table(("kernel", "understood", "the first three samples"), rows)


STUDY = Study(
    name="kernels",
    runs=RUNS,
    data={
        "captions": Captions,
        "digits": lambda budget: DigitImages(digits(), budget),
        "binary": lambda budget: DigitImages(binarised(digits()), budget),
    },
    plot=plot_all,
    tables=tables,
)
