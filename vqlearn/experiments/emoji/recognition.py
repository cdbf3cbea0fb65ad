"""Can it be told what was generated? Sixty images of names seen in training, five names for each.

    python -m vqlearn.experiments.emoji questions              sheets in runs/emoji-questions
    python -m vqlearn.experiments.emoji answers ANNA BEN …     figures/emoji_recognition.json

Names and images are drawn by a seed, none is picked. An answer file has sixty letters, a to e.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from torch import Tensor

from vqlearn.evaluation import Share
from vqlearn.experiments import pages, style
from vqlearn.experiments.emoji.captions import TONES
from vqlearn.experiments.emoji.folder import INDEX, Picture, pictures
from vqlearn.probability import random_stream
from vqlearn.probability.checks import shown
from vqlearn.storage import write_json

QUESTIONS = 60
LETTERS = "abcde"
SHEET = 20  # questions
COLUMNS = 5
FILE = "emoji_recognition.json"


@dataclass(frozen=True)
class Question:
    """What the image was asked to be, and the names to choose from."""

    prompt: str
    names: tuple[str, ...]

    @property
    def right(self) -> str:
        """The letter of the prompt."""
        return LETTERS[self.names.index(self.prompt)]


def questions(data: Path, count: int = QUESTIONS) -> list[Question]:
    """Random images of the training without a skin tone; the other names are of such ones, too."""
    found = pictures(json.loads((data / INDEX).read_text(encoding="utf-8")))
    names = [each.captions[0] for each in found if each.part == "train" and not has_tone(each)]
    stream = random_stream("questions about emoji")
    prompts = torch.randperm(len(names), generator=stream)[:count].tolist()
    return [_question(names, prompt, stream) for prompt in prompts]


def has_tone(picture: Picture) -> bool:
    """Is it a variant in a skin tone?"""
    return any(tone in picture.file.upper() for tone in TONES)


def _question(names: Sequence[str], prompt: int, stream: torch.Generator) -> Question:
    order = torch.randperm(len(names), generator=stream).tolist()
    others = [i for i in order if i != prompt][: len(LETTERS) - 1]
    place = torch.randint(len(LETTERS), (1,), generator=stream).item()
    chosen = [*others[:place], prompt, *others[place:]]
    return Question(names[prompt], tuple(names[i] for i in chosen))


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


def write_answers(
    asked: Sequence[Question], answers: Mapping[str, str], model: str, file: Path
) -> None:
    """Keep the questions and what each reader answered.

    Raises `ValueError` for answers that are not one letter for each question.
    """
    for reader, letters in answers.items():
        if len(letters) != len(asked) or not set(letters) <= set(LETTERS):
            raise ValueError(
                f"the answers of {reader} are {shown(letters)}; allowed: {len(asked)} letters, "
                f"each one of {LETTERS}"
            )
    told = {
        "command": "python -m vqlearn.experiments.emoji answers",
        "model": model,
        "questions": [asdict(each) for each in asked],
        "answers": dict(answers),
    }
    write_json(file, told)


def recognised(file: Path) -> dict[str, Share]:
    """How many images each reader has named right; then the names that most of them have."""
    told = json.loads(file.read_text(encoding="utf-8"))
    asked = [Question(each["prompt"], tuple(each["names"])) for each in told["questions"]]
    right = {
        reader: [letter == each.right for letter, each in zip(letters, asked, strict=True)]
        for reader, letters in told["answers"].items()
    }
    most = [2 * sum(each) > len(each) for each in zip(*right.values(), strict=True)]
    return {name: Share(sum(each), len(each)) for name, each in {**right, "most": most}.items()}


def table(file: Path) -> str:
    """A line for each reader, with 95 % intervals over images."""
    rows = []
    for name, share in recognised(file).items():
        low, high = (100 * end for end in share.interval_95)
        title = "right for most readers" if name == "most" else name
        rows.append([title, f"{share.right} of {share.total}", f"{low:.0f} to {high:.0f} %"])
    return pages.table(("who names the image", "right", "95 % interval"), rows)
