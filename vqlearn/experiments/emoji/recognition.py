"""Can it be told what was generated? Images of names seen in training, five names for each.

    python -m vqlearn.experiments.emoji questions              sheets in runs/emoji-questions
    python -m vqlearn.experiments.emoji answers FILE FILE …    figures/emoji_recognition.json

Names and images are drawn by a seed, none is picked. In the first sixty questions the four other
names are random, so it is asked what kind of thing is shown; in the next sixty they are of the same
kind, such as five fruits. An answer file has 120 letters, a to e.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.data.emoji import INDEX, pictures
from vqlearn.evaluation import Evaluation, Share
from vqlearn.evaluation.prompts import generate
from vqlearn.experiments import pages, style
from vqlearn.experiments.emoji import runs
from vqlearn.pipeline import load_pipeline
from vqlearn.probability import random_stream
from vqlearn.probability.checks import shown
from vqlearn.storage import write_json

QUESTIONS = 60  # of each kind
RANDOM, SIMILAR = "random names", "names of the same kind"
LETTERS = "abcde"
SHEET = 20  # questions
COLUMNS = 5
QUESTIONS_FILE = "questions.json"
COMMAND = "python -m vqlearn.experiments.emoji answers"
MOST = "more than half of them"


@dataclass(frozen=True)
class Question:
    """What the image was asked to be, the names to choose from, and how these were chosen."""

    prompt: str
    names: tuple[str, ...]
    others: str

    @property
    def right(self) -> str:
        """The letter of the prompt."""
        return LETTERS[self.names.index(self.prompt)]


def questions(data: Path, count: int = QUESTIONS) -> list[Question]:
    """So many with random names, then with names of the same kind (Unicode's subcategory).

    All are names of the training, without a skin tone.
    """
    emoji = json.loads((data / INDEX).read_text(encoding="utf-8"))
    kinds = {each["image"]: each["subcategory"] for each in emoji}
    found = [each for each in pictures(emoji) if each.part == "train" and each.file in kinds]
    names = {each.captions[0]: kinds[each.file] for each in found}
    stream = random_stream("questions about emoji")
    asked = [
        _question(prompt, list(names), RANDOM, stream)
        for prompt in _some(list(names), count, stream)
    ]
    sizes = Counter(names.values())
    many = [name for name, kind in names.items() if sizes[kind] >= len(LETTERS)]
    for prompt in _some(many, count, stream):
        same = [name for name, kind in names.items() if kind == names[prompt]]
        asked.append(_question(prompt, same, SIMILAR, stream))
    return asked


def _some(names: Sequence[str], count: int, stream: torch.Generator) -> list[str]:
    return [names[i] for i in torch.randperm(len(names), generator=stream)[:count].tolist()]


def _question(prompt: str, names: Sequence[str], others: str, stream: torch.Generator) -> Question:
    order = torch.randperm(len(names), generator=stream).tolist()
    wrong = [names[i] for i in order if names[i] != prompt][: len(LETTERS) - 1]
    place = torch.randint(len(LETTERS), (1,), generator=stream).item()
    return Question(prompt, (*wrong[:place], prompt, *wrong[place:]), others)


def draw_sheets(
    asked: Sequence[Question], images: Float[Tensor, "b 3 h w"], folder: Path
) -> list[Path]:
    """Pictures with 20 questions each: a number, the image, and the five names below it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for first in range(0, len(asked), SHEET):
        files.append(folder / f"sheet_{first // SHEET + 1}.png")
        some = range(first, min(first + SHEET, len(asked)))
        figure, grid = plt.subplots(
            -(-len(some) // COLUMNS), COLUMNS, figsize=(13, 16), layout="constrained"
        )
        for axes, number in zip(grid.flat, some, strict=False):
            names = zip(LETTERS, asked[number].names, strict=True)
            axes.imshow(images[number].permute(1, 2, 0).numpy())
            axes.set_title(f"{number + 1}", fontsize=12)
            lines = [fill(f"{letter}  {name}", 34) for letter, name in names]
            axes.set_xlabel("\n".join(lines), fontsize=9, loc="left")
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
        style.save(figure, files[-1])
    return files


def draw_questions(data: Path, folder: Path) -> list[Path]:
    """Generate an image for each question; the sheets, and with them the questions themselves."""
    asked = questions(data)
    images = generate(load_pipeline(runs.MODEL), [each.prompt for each in asked], Evaluation())
    sheets = draw_sheets(asked, images, folder)
    told = {"model": runs.model_digest(), "questions": [asdict(each) for each in asked]}
    write_json(folder / QUESTIONS_FILE, told)
    return sheets


def keep_answers(folder: Path, files: Sequence[Path], file: Path) -> None:
    """Write the questions of a folder, and what readers answered, in the order of their files.

    Raises `ValueError` for answers that are not one letter for each question.
    """
    told = json.loads((folder / QUESTIONS_FILE).read_text(encoding="utf-8"))
    count, answers = len(told["questions"]), {}
    for number, each in enumerate(files, start=1):
        letters = "".join(each.read_text(encoding="utf-8").split())
        if len(letters) != count or not set(letters) <= set(LETTERS):
            raise ValueError(
                f"{each} holds {shown(letters)}; allowed: {count} letters, each one of {LETTERS}"
            )
        answers[f"reader {number}"] = letters
    write_json(file, {"command": COMMAND, **told, "answers": answers})


def recognised(file: Path) -> dict[tuple[str, str], Share]:
    """How many images each reader has named right; then how many most of them have; by kind."""
    told = json.loads(file.read_text(encoding="utf-8"))
    asked = [Question(**{**each, "names": tuple(each["names"])}) for each in told["questions"]]
    right = {
        reader: [letter == each.right for letter, each in zip(letters, asked, strict=True)]
        for reader, letters in told["answers"].items()
    }
    right[MOST] = [2 * sum(each) > len(each) for each in zip(*right.values(), strict=True)]
    return {
        (others, name): Share(*_counted(each, [one.others == others for one in asked]))
        for others in (RANDOM, SIMILAR)
        for name, each in right.items()
    }


def _counted(right: Sequence[bool], which: Sequence[bool]) -> tuple[int, int]:
    return sum(each for each, own in zip(right, which, strict=True) if own), sum(which)


def table(file: Path) -> str:
    """A line for each reader and kind, with 95 % intervals over images."""
    rows = []
    for (others, name), share in recognised(file).items():
        low, high = (100 * end for end in share.interval_95)
        rows.append([others, name, f"{share.right} of {share.total}", f"{low:.0f} to {high:.0f} %"])
    return pages.table(("the other four", "who names it", "right", "95 % interval"), rows)
