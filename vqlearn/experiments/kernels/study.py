"""The command: all kernels on their data, two plots, and the tables of the pages."""

from collections.abc import Mapping, Sequence
from functools import partial

from vqlearn.data.digits import binarised, digits
from vqlearn.experiments.data import Budget, Captions, DigitImages
from vqlearn.experiments.kernels.plots import plot_all
from vqlearn.experiments.kernels.runs import BUDGETS, kernel_runs
from vqlearn.experiments.pages import bits_table
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study
from vqlearn.experiments.sequences import DEFAULT_SIZE, DenoiserSize, DiffusionRun

TITLES = {
    "captions": "captions",
    "digits": "digits, 17 greys",
    "binary": "digits, black and white",
}


def kernel_study(
    budgets: Mapping[str, Budget] = BUDGETS, size: DenoiserSize = DEFAULT_SIZE
) -> Study:
    """All runs, each with the budget of its data."""
    runs = kernel_runs(budgets, size)
    return Study(
        name="kernels",
        runs=runs,
        data={
            "captions": lambda: Captions(budgets["captions"]),
            "digits": lambda: DigitImages(digits(), budgets["digits"]),
            "binary": lambda: DigitImages(binarised(digits()), budgets["binary"]),
        },
        plot=partial(plot_all, runs=runs),
        tables=partial(tables, runs=runs),
    )


def tables(report: Report, runs: Sequence[DiffusionRun]) -> dict[str, str]:
    """Bits of every kernel, and how many of its captions the grammar's parser understands."""
    return {
        "kernels-bits": bits_table(report, runs, TITLES, what="kernel", digits=2),
        "kernels-captions": captions_sentence(report, runs),
    }


def captions_sentence(report: Report, runs: Sequence[DiffusionRun]) -> str:
    """How many of the captions that a kernel samples can be parsed?"""
    parsed = {
        run.name: report.runs[run.id].result.samples.parsed
        for run in runs
        if run.data == "captions"
    }
    (total,) = {share.total for share in parsed.values()}
    counts = ", ".join(f"{share.right} ({name})" for name, share in parsed.items())
    return (
        f"Of {total} captions that each kernel samples, the grammar's parser understands {counts}."
    )


STUDY = kernel_study()
