"""One command: the shipped model without its null embedding, and what can take its place.

python -m vqlearn.experiments null-text
"""

import torch

from vqlearn.evaluation import Share
from vqlearn.evaluation.prompts import COMPOSITIONS
from vqlearn.experiments import pages
from vqlearn.experiments.null_text.runs import NullRun
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study
from vqlearn.probability import Estimate

ROWS = {
    NullRun(None, None): "no guidance",
    NullRun(None, "empty"): "the empty caption, not trained",
    NullRun("empty", "own"): "the empty caption, fine-tuned",
    NullRun("learned", "own"): "a learned null, fine-tuned",
    NullRun(None, "own"): "the null that the model was trained with",
    NullRun("empty", None): "no guidance, fine-tuned with the empty caption",
    NullRun("learned", None): "no guidance, fine-tuned with a learned null",
}
"""The runs in the order in which they are measured, and what stands for "no caption"."""
REFERENCE = NullRun(None, "empty")


def tables(report: Report) -> dict[str, str]:
    """Images that are right, and the difference to the empty caption without training."""
    columns = [pages.COMPOSITIONS[name] for name in COMPOSITIONS]
    titles = ("null", *(part for column in columns for part in (column, "difference")))
    rows = [[title, *cells(report, run)] for run, title in ROWS.items()]
    return {"null-text": pages.table(titles, rows)}


def cells(report: Report, run: NullRun) -> list[str]:
    """For each composition the share of right images, and what it gains; 95 % intervals."""
    found = []
    for composition in COMPOSITIONS:
        answers, reference = (
            getattr(report.runs[each.id].result, composition) for each in (run, REFERENCE)
        )
        share = Share(sum(answers), len(answers))
        low, high = (100 * end for end in share.interval_95)
        value, least, most = (100 * number for number in gain(answers, reference))
        found.append(f"{share.right} of {share.total} ({low:.0f} to {high:.0f} %)")
        found.append(
            f"{value:+.1f} ({least:+.1f} to {most:+.1f}) points" if run != REFERENCE else ""
        )
    return found


def gain(answers: tuple[int, ...], reference: tuple[int, ...]) -> Estimate:
    """The difference of two shares on the same prompts: the mean of the differences."""
    difference = torch.tensor(answers).double() - torch.tensor(reference).double()
    error = difference.std().item() / len(difference) ** 0.5
    return Estimate.of_mean(difference.mean().item(), error)


STUDY = Study("null-text", tuple(ROWS), tables=tables)
