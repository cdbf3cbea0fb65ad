"""One command: the same short training on 50 to 1,442 images.

python -m vqlearn.experiments own-images
"""

from vqlearn.evaluation import Share
from vqlearn.evaluation.own_images import Measured
from vqlearn.experiments import pages
from vqlearn.experiments.own_images.runs import SizeRun
from vqlearn.experiments.report import Report
from vqlearn.experiments.runner import Study

IMAGES = (1442, 800, 400, 150, 50)
RUNS = tuple(SizeRun(count) for count in IMAGES)
COLUMNS = (
    *("images", "round trip, seen, dB", "never seen, dB", "bits per token, seen", "never seen"),
    *("CLIP finds the caption of the sample, seen", "never seen"),
    *("of the true image, seen", "never seen"),
)


def tables(report: Report) -> dict[str, str]:
    """A line for each number of images; one standard error of means, 95 % intervals of shares."""
    rows = []
    for run in sorted(RUNS, key=lambda run: run.images):
        scores = report.runs[run.id].result
        parts = (scores.seen, scores.never_seen)
        means = [each.round_trip_psnr for each in parts] + [each.bits_per_token for each in parts]
        shares = [each.matched for each in parts] + [each.matched_truth for each in parts]
        rows.append([f"{run.images:,}", *map(mean, means), *map(percent, shares)])
    return {"own-images": pages.table(COLUMNS, rows)}


def mean(measured: Measured) -> str:
    """Such as "21.60 ± 0.14"."""
    return f"{measured.mean:.2f} ± {measured.standard_error:.2f}"


def percent(share: Share) -> str:
    """Such as "75 % (69 to 80)"."""
    low, high = (100 * end for end in share.interval_95)
    return f"{100 * share.share:.0f} % ({low:.0f} to {high:.0f})"


STUDY = Study("own-images", RUNS, tables=tables)
