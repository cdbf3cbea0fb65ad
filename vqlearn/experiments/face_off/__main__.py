"""Every system learns the same tokens with one budget; then each claim about them is measured.

    python -m vqlearn.experiments.face_off
    python -m vqlearn.experiments.face_off --only quality/raster/0 errors/raster/0

Weights go to runs/face-off, results to figures/face_off.json. A run is written as soon as it is
measured, and a training that was stopped goes on: the command can be killed and started again.
As soon as every first seed is there, figures/face_off.md shows all results, with images.
With a CUDA device systems learn and are measured there, and its costs are measured as well.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vqlearn.experiments.face_off import page
from vqlearn.experiments.face_off import runs as measures
from vqlearn.experiments.face_off.runs import Setting
from vqlearn.experiments.runner import Experiment

COMMAND = "python -m vqlearn.experiments.face_off"
FILE = Path("figures/face_off.json")


def experiment(setting: Setting) -> Experiment:
    """All runs of the face-off."""
    return Experiment(
        COMMAND,
        tuple(measures.names()),
        settings=partial(measures.settings, setting=setting),
        open_world=partial(measures.open_world, setting=setting),
        measure=partial(measures.measured, setting=setting),
    )


def main(names: Sequence[str], file: Path = FILE, setting: Setting | None = None) -> None:
    """Measure the runs that are missing, one by one; then make the page, if there is enough."""
    report = experiment(setting or Setting()).go_on(file, names)
    missing = page.missing(report)
    if missing:
        print(f"no page yet: it needs {len(missing)} more runs, such as {missing[0]}")
    else:
        page.write(report, file)


if __name__ == "__main__":
    known = [run for run in measures.names() if measures.possible(run)]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="RUN")
    main(parser.parse_args().only)
