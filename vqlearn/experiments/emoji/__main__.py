"""The data of the model of emoji, and the questions that people are asked about its images.

python -m vqlearn.experiments.emoji data           make runs/emoji-data
python -m vqlearn.experiments.emoji questions      draw sheets in runs/emoji-questions
python -m vqlearn.experiments.emoji answers FILES  keep what readers answered
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vqlearn.experiments.emoji.folder import build, summary
from vqlearn.experiments.emoji.runs import ANSWERS, DATA, SHEETS


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the data, draw the questions, or keep the answers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    tasks.add_parser("data", help="make runs/emoji-data")
    tasks.add_parser("questions", help="draw sheets in runs/emoji-questions")
    kept = tasks.add_parser("answers", help="keep what readers answered")
    kept.add_argument("files", nargs="+", type=Path, help="sixty letters each, a to e")
    asked = parser.parse_args(arguments)
    if asked.task == "data":
        print(f"{DATA}: {summary(build(DATA))}")
        return
    # Here, because it needs matplotlib.
    from vqlearn.experiments.emoji import recognition

    if asked.task == "questions":
        build(DATA)
        for file in recognition.draw_questions(DATA, SHEETS):
            print(file)
    else:
        recognition.keep_answers(SHEETS, asked.files, ANSWERS)


if __name__ == "__main__":
    main()
