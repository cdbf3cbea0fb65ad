"""The command: all networks on their data, three plots, and the tables of the pages."""

from collections.abc import Mapping, Sequence
from functools import partial

from vqlearn.data.digits import digits
from vqlearn.experiments.autoregressive.data import CaptionedTokens, RgbScenes
from vqlearn.experiments.autoregressive.plots import plot_all
from vqlearn.experiments.autoregressive.runs import BUDGETS, autoregressive_runs
from vqlearn.experiments.autoregressive.token_runs import GUIDED, TokenRun
from vqlearn.experiments.data import Budget, DigitImages
from vqlearn.experiments.pages import bits_table, table
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study
from vqlearn.experiments.sequences import AutoregressiveRun

HELD_BACK = 150
TITLES = {
    "digits": "digits, 17 greys",
    "rgb": "scenes, 256 levels of a colour",
    "tokens": "scenes as tokens, after captions",
}


def autoregressive_study(budgets: Mapping[str, Budget] = BUDGETS) -> Study:
    """All runs, each with the budget of its data."""
    runs = autoregressive_runs(budgets)
    return Study(
        name="autoregressive",
        runs=runs,
        data={
            "digits": lambda: DigitImages(digits(), budgets["digits"], held_back=HELD_BACK),
            "rgb": lambda: RgbScenes(budgets["rgb"]),
            "tokens": lambda: CaptionedTokens(budgets["tokens"]),
        },
        plot=partial(plot_all, runs=runs),
        tables=partial(tables, runs=runs),
    )


def tables(report: Report, runs: Sequence[AutoregressiveRun | TokenRun]) -> dict[str, str]:
    """Bits of every network, and how many prompts come out right."""
    return {
        "autoregressive-bits": bits_table(report, runs, TITLES, what="network", digits=3),
        "autoregressive-accuracy": accuracy_table(report, runs),
    }


def accuracy_table(report: Report, runs: Sequence[AutoregressiveRun | TokenRun]) -> str:
    """Prompts that come out right, sampled plainly and guided."""
    how = f"guidance {GUIDED.guidance_scale}, top-p {GUIDED.truncation_rate}"
    rows = []
    for run in (run for run in runs if run.data == "tokens"):
        found = report.runs[run.id].result
        for name, part in ((run.name, found.plain), (f"{run.name}, {how}", found.guided)):
            rows.append([name, *(str(each.right) for each in part.by_composition.values())])
    return table(("network", "seen", "never seen"), rows)


STUDY = autoregressive_study()
