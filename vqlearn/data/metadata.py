"""The files that name images and their captions: `metadata.jsonl`, or `metadata.csv`.

    {"file_name": "cat.jpg", "text": "a cat on a sofa"}         a line of metadata.jsonl

    file_name,text                                              metadata.csv
    cat.jpg,"a cat, on a sofa"

The conventions are those of Hugging Face's `imagefolder`: every sub-folder may have such a file of
its own, and its file names begin there; sub-folders of other splits, such as `test`, are no part of
the training. The caption is called `text` or `caption`, or as the user says; other keys are not
looked at.
"""

import csv
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from vqlearn.probability.checks import shown

NAMES = ("metadata.jsonl", "metadata.csv")
OTHER_SPLITS = {
    *("validation", "valid", "dev", "val"),
    *("test", "testing", "eval", "evaluation"),
}
"""Sub-folders of these names hold no images to train on."""
HIDDEN = (".", "__")
"""How the names of sub-folders begin that are not looked at."""
CAPTION_KEYS = ("text", "caption")
BYTE_ORDER_MARK = "\ufeff"

logger = logging.getLogger("vqlearn")


def allowed_line(caption_column: str | None = None) -> str:
    """What a line may be, for messages."""
    key = json.dumps(_caption_keys(caption_column)[0], ensure_ascii=False)
    return f'{{"file_name": "an image in the folder", {key}: "its caption"}}'


class Entry(NamedTuple):
    """A line of a file, and what it holds: an object, or the `ValueError` that says why not."""

    file: Path
    number: int
    content: object

    def __str__(self) -> str:
        return f"{self.file} line {self.number}"


def find_metadata(folder: Path) -> list[Path]:
    """The metadata of the folder, then those of its sub-folders, in the order of their names.

    In each the first of `NAMES` that is there. What is there and not read is named by the logger
    "vqlearn". Raises `FileNotFoundError` if there are none.
    """
    found = []
    for place in _folders(folder):
        there = [place / name for name in NAMES if (place / name).is_file()]
        if there and OTHER_SPLITS.intersection(place.relative_to(folder).parts):
            logger.warning("%s is not read: its folder is not for training", there[0])
            continue
        found += there[:1]
        for file in there[1:]:
            logger.warning("%s is not read: %s is beside it", file, there[0].name)
    if not found:
        raise FileNotFoundError(
            f"there is no {', '.join(NAMES)} in {shown(str(folder))} or its sub-folders; "
            f"allowed: one line an image, {allowed_line()}"
        )
    return found


def _folders(folder: Path) -> Iterator[Path]:
    """The folder and all that are in it, each once, whatever links there are."""
    seen = set()
    for place, names, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        names[:] = [] if real in seen else sorted(n for n in names if not n.startswith(HIDDEN))
        if real not in seen:
            seen.add(real)
            yield Path(place)


def read_entries(file: Path, caption_column: str | None = None) -> Iterator[Entry]:
    """All lines that are not empty, in order.

    A byte that is not UTF-8 makes its own line unusable. Raises `ValueError` for a file in UTF-16,
    and for the first line of a CSV file that does not name the columns.
    """
    content = file.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{file} is written in UTF-16; allowed: UTF-8")
    # A byte that is not UTF-8 becomes a lone surrogate, which `name_and_caption` refuses.
    text = content.decode("utf-8", errors="surrogateescape").removeprefix(BYTE_ORDER_MARK)
    is_csv = file.suffix == ".csv"
    entries = _csv_entries(file, text, caption_column) if is_csv else _json_entries(text)
    return (Entry(file, number, content) for number, content in entries)


def name_and_caption(content: object, caption_column: str | None = None) -> tuple[str, str]:
    """The file name and the caption of an entry. Raises `ValueError` if it lacks one of them."""
    if isinstance(content, ValueError):
        raise content
    keys, allowed = _caption_keys(caption_column), allowed_line(caption_column)
    if not isinstance(content, dict):
        raise ValueError(f"it holds {shown(content)}; allowed: {allowed}")
    caption_key = next((key for key in keys if key in content), keys[0])
    for key in ("file_name", caption_key):
        value = content.get(key)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key} is {shown(value)}; allowed: {allowed}")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f"{key} is {shown(value)}; allowed: text in UTF-8")
    return content["file_name"], content[caption_key]


def _caption_keys(caption_column: str | None) -> tuple[str, ...]:
    return CAPTION_KEYS if caption_column is None else (caption_column,)


def _json_entries(text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), start=1):  # no other character ends a line
        line = line.removeprefix(BYTE_ORDER_MARK)  # where files were joined
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except json.JSONDecodeError as error:
            reason = f"it is no JSON: {error.msg} at character {error.colno} of {shown(line)}"
            yield number, ValueError(reason)
        except ValueError:  # Python's bound on the digits of a number
            yield number, ValueError(f"a number is too long in {shown(line)}")
        except RecursionError:
            yield number, ValueError(f"it is nested too deep: {shown(line)}")


def _csv_entries(file: Path, text: str, caption_column: str | None) -> Iterator[tuple[int, object]]:
    """Number of a line: that of its end, since a caption in quotes may have several."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise ValueError(f"the first line of {file} is no CSV: {error}") from error
    keys = _caption_keys(caption_column)
    if "file_name" not in names or not set(names) & set(keys):
        raise ValueError(
            f"{file} begins with {shown(names)}; allowed: the columns file_name, {keys[0]}, "
            "or the one that caption_column names"
        )
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield rows.line_num, ValueError(f"it is no CSV: {error}")
            continue
        if len(row) == len(names):
            yield rows.line_num, dict(zip(names, row, strict=True))
        elif row:
            reason = f"it has {len(row)} cells; allowed: {len(names)} (text with commas in quotes)"
            yield rows.line_num, ValueError(reason)
