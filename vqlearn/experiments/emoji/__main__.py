"""The data of the model of emoji, and the questions that people are asked about its images.

python -m vqlearn.experiments.emoji data           make runs/emoji-data
python -m vqlearn.experiments.emoji questions      draw sheets in runs/emoji-questions
python -m vqlearn.experiments.emoji answers FILES  keep what readers answered
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from vqlearn.evaluation import Evaluation
from vqlearn.evaluation.prompts import generate
from vqlearn.experiments.emoji import recognition, runs
from vqlearn.experiments.emoji.folder import build, summary
from vqlearn.experiments.emoji.study import ANSWERS
from vqlearn.pipeline import load_pipeline

SHEETS = Path("runs") / "emoji-questions"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the data, draw the questions, or keep the answers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    tasks.add_parser("data", help="make runs/emoji-data")
    tasks.add_parser("questions", help="draw sheets in runs/emoji-questions")
    kept = tasks.add_parser("answers", help="keep what readers answered")
    kept.add_argument("files", nargs="+", type=Path, help="sixty letters each, a to e")
    asked = parser.parse_args(arguments)
    told = summary(build(runs.DATA))
    if asked.task == "data":
        print(f"{runs.DATA}: {told}")
    elif asked.task == "questions":
        draw_questions()
    else:
        keep_answers(asked.files)


def draw_questions() -> None:
    """Generate an image for each question, and print the sheets."""
    asked = recognition.questions(runs.DATA)
    prompts = [each.prompt for each in asked]
    images = generate(load_pipeline(str(runs.MODEL)), prompts, Evaluation())
    for sheet in recognition.draw_sheets(asked, images, SHEETS):
        print(sheet)


def keep_answers(files: Sequence[Path]) -> None:
    """Readers have numbers, in the order of their files."""
    answers = {
        f"reader {number}": "".join(file.read_text(encoding="utf-8").split())
        for number, file in enumerate(files, 1)
    }
    asked = recognition.questions(runs.DATA)
    recognition.write_answers(asked, answers, runs.model_digest(), ANSWERS)


if __name__ == "__main__":
    main()
