"""The data of the model of emoji, and its measures; the trainings stand in the Makefile.

python -m vqlearn.experiments.emoji data       make runs/emoji-data
python -m vqlearn.experiments.emoji measure    measure runs/emoji: figures/emoji.json
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vqlearn.experiments.emoji.folder import build, summary
from vqlearn.experiments.emoji.runs import DATA
from vqlearn.experiments.emoji.study import STUDY

FIGURES = Path("figures")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the data, or measure the model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=("data", "measure"))
    if parser.parse_args(arguments).task == "data":
        print(f"{DATA}: {summary(build(DATA))}")
    else:
        STUDY.run(FIGURES)


if __name__ == "__main__":
    main()
