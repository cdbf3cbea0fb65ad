"""One command for all studies: measure the runs that are missing, then make plots and tables.

    python -m vqlearn.experiments face-off
    python -m vqlearn.experiments face-off --only quality/raster/0 errors/raster/0
    python -m vqlearn.experiments face-off --only

The last one measures nothing: it makes plots and tables of what is stored. Results go to figures/.
A run is written as soon as it is measured: a command that was stopped goes on with the runs that
are missing or were made with other settings, and a second one in another terminal takes its share
of them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from vqlearn.experiments.autoregressive.study import STUDY as AUTOREGRESSIVE
from vqlearn.experiments.emoji.study import STUDY as EMOJI
from vqlearn.experiments.face_off.study import STUDY as FACE_OFF
from vqlearn.experiments.kernels.study import STUDY as KERNELS
from vqlearn.experiments.null_text.study import STUDY as NULL_TEXT
from vqlearn.experiments.own_images.study import STUDY as OWN_IMAGES
from vqlearn.experiments.runner import is_possible
from vqlearn.experiments.shipped_model.study import FRONTIER, SAMPLERS, SHIPPED_MODEL
from vqlearn.experiments.unmasking.study import STUDY as UNMASKING

FOLDER = Path("figures")
STUDIES = {
    study.name: study
    for study in (
        *(SHIPPED_MODEL, SAMPLERS, FRONTIER, NULL_TEXT, KERNELS, AUTOREGRESSIVE, FACE_OFF),
        *(UNMASKING, EMOJI, OWN_IMAGES),
    )
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one study, or some of its runs. Exits with a message for unknown names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--only", nargs="*", metavar="RUN", help="ids, such as quality/raster/0")
    asked = parser.parse_args(arguments)
    study = STUDIES[asked.study]
    known = [run.id for run in study.runs if is_possible(run)]
    for run in asked.only or ():
        if run not in known:
            parser.error(f"RUN is {run!r}; allowed: {', '.join(known)}")
    matplotlib.use("Agg")
    study.run(FOLDER, asked.only)


if __name__ == "__main__":
    main()
