"""The questions that people are asked about the images of the model of emoji.

python -m vqlearn.experiments.emoji questions      draw sheets in runs/emoji-questions
python -m vqlearn.experiments.emoji answers FILES  keep what readers answered
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vqlearn.data.emoji import DATA, build
from vqlearn.experiments.emoji import recognition
from vqlearn.experiments.emoji.runs import ANSWERS, SHEETS


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the questions, or keep the answers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    tasks.add_parser("questions", help="draw sheets in runs/emoji-questions")
    kept = tasks.add_parser("answers", help="keep what readers answered")
    kept.add_argument("files", nargs="+", type=Path, help="sixty letters each, a to e")
    asked = parser.parse_args(arguments)
    if asked.task == "answers":
        recognition.keep_answers(SHEETS, asked.files, ANSWERS)
        return
    build(DATA)
    for file in recognition.draw_questions(DATA, SHEETS):
        print(file)


if __name__ == "__main__":
    main()
