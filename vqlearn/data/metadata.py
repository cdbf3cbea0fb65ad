"""The file that names images and their captions: `metadata.jsonl`, or `metadata.csv`.

    {"file_name": "cat.jpg", "text": "a cat on a sofa"}         a line of metadata.jsonl

    file_name,text                                              metadata.csv
    cat.jpg,"a cat, on a sofa"

The conventions are those of Hugging Face's `imagefolder`: the file may lie in a sub-folder `train`;
the caption is called `text` or `caption`; other keys are not looked at.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from vqlearn.probability.checks import shown

NAMES = ("metadata.jsonl", "metadata.csv", "train/metadata.jsonl", "train/metadata.csv")
CAPTION_KEYS = ("text", "caption")
ALLOWED_LINE = '{"file_name": "an image in the folder", "text": "its caption"}'
BYTE_ORDER_MARK = "\ufeff"

Entry = tuple[int, object]
"""The number of a line, and what it holds: an object, or the `ValueError` that says why not."""


def find_metadata(folder: Path) -> Path:
    """The first of `NAMES` that is there. Raises `FileNotFoundError` if none is."""
    for name in NAMES:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"there is no {', '.join(NAMES)} in {shown(str(folder))}; "
        f"allowed: one line an image, {ALLOWED_LINE}"
    )


def read_entries(file: Path) -> Iterator[Entry]:
    """All lines that are not empty, in order.

    A byte that is not UTF-8 makes its own line unusable. Raises `ValueError` for a file in UTF-16,
    and for the first line of a CSV file that does not name the columns.
    """
    content = file.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{file} is written in UTF-16; allowed: UTF-8")
    # A byte that is not UTF-8 becomes a lone surrogate, which `name_and_caption` refuses.
    text = content.decode("utf-8", errors="surrogateescape").removeprefix(BYTE_ORDER_MARK)
    return _csv_entries(file, text) if file.suffix == ".csv" else _json_entries(text)


def name_and_caption(entry: object) -> tuple[str, str]:
    """The file name and the caption of an entry. Raises `ValueError` if it lacks one of them."""
    if isinstance(entry, ValueError):
        raise entry
    if not isinstance(entry, dict):
        raise ValueError(f"it holds {shown(entry)}; allowed: {ALLOWED_LINE}")
    caption_key = next((key for key in CAPTION_KEYS if key in entry), CAPTION_KEYS[0])
    for key in ("file_name", caption_key):
        value = entry.get(key)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key} is {shown(value)}; allowed: {ALLOWED_LINE}")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f"{key} is {shown(value)}; allowed: text in UTF-8")
    return entry["file_name"], entry[caption_key]


def _json_entries(text: str) -> Iterator[Entry]:
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


def _csv_entries(file: Path, text: str) -> Iterator[Entry]:
    """Number of a line: that of its end, since a caption in quotes may have several."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = [name.strip() for name in next(rows, [])]
    if "file_name" not in names or not set(names) & set(CAPTION_KEYS):
        raise ValueError(f"{file} begins with {shown(names)}; allowed: the columns file_name, text")
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
