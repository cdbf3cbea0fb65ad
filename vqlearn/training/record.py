"""What decides the result of a stage: collected in one place, kept beside the result, compared.

`training.json` in the folder of a checkpoint has a record of each stage that was trained there: its
choices, and a digest of what it wrote. A part that has another digest was not written by that
training, and nothing is known of its choices: those of a copy, or of an older version.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from vqlearn.checkpoints.digests import file_digests
from vqlearn.data import ImageFolder, Source
from vqlearn.data.folder_options import DEFAULT_READING
from vqlearn.probability.checks import shown
from vqlearn.storage import write_json
from vqlearn.training.recipes import Recipe
from vqlearn.training.sizes import SMALL

FILE = "training.json"
FORMAT = 1

LEFT_OUT = {
    "folder",  # where the result lies
    "start_from",  # what is taken from it stands in the task's config, as a digest
    "workers",
    "save_every",
    "preview",
}
"""The fields of `Run` and `Recipe` that change no weight; all others are recorded."""

NAME = "_name"
"""`data` is a digest; `data_name` tells whose, and may differ: the same data may lie elsewhere."""

NOT_TOLD = {**asdict(SMALL), **asdict(DEFAULT_READING)}
"""What a choice was where a record has none of its name: of scenes, or of an older version."""

LONGEST = 200  # characters for the differences in a message
COSINE = "the learning rate is a cosine over all steps"

Choices = dict[str, Any]


def choices(run: Any, config: Mapping[str, Any]) -> Choices:
    """All that decides what comes out of a `Run` with the `config` of its task; ready for JSON."""
    told = {"format": FORMAT, **_fields(run), **config}
    return json.loads(json.dumps(told))


def digest_of(folder: Path, parts: Iterable[str]) -> str:
    """16 hex digits for what the files of these parts hold, wherever the folder is."""
    files = json.dumps(file_digests(folder, list(parts)), sort_keys=True)
    return hashlib.sha256(files.encode()).hexdigest()[:16]


def write(folder: Path, stage: str, chosen: Choices, parts: Iterable[str]) -> None:
    """Keep the choices of a stage, now that its `parts` are written."""
    record = {"choices": chosen, "result": digest_of(folder, parts)}
    write_json(folder / FILE, {**_read(folder), stage: record})


def read(folder: Path, stage: str, parts: Iterable[str]) -> Choices | None:
    """The choices with which the `parts` in this folder were trained; None if they are unknown."""
    record = _read(folder).get(stage)
    if not isinstance(record, dict) or record.get("result") != digest_of(folder, parts):
        return None
    return told(folder, stage)


def told(folder: Path, stage: str) -> Choices | None:
    """The choices in the record of a stage, whether its parts are those of it or not."""
    record = _read(folder).get(stage)
    chosen = record.get("choices") if isinstance(record, dict) else None
    return chosen if isinstance(chosen, dict) else None


def check_data(folder: Path, stages: Mapping[str, Iterable[str]], data: str) -> None:
    """Raise `ValueError` if a stage of this folder is known to have learned from other data.

    `stages` are names with their parts, as for `read`; `data` is the digest of a `Source`.
    """
    for stage, parts in stages.items():
        chosen = read(folder, stage, parts) or {}
        if chosen.get("data", data) != data:
            raise ValueError(
                f"{stage} of {folder} was trained on {shown(chosen.get('data_name'))}; allowed: a "
                f"model of {data}, or --data FOLDER to measure it on images like its own"
            )


def differing(before: Choices, now: Choices, only: Iterable[str] | None = None) -> list[str]:
    """The names of the choices that differ, among all or `only` some."""
    names = [*now, *(name for name in before if name not in now)] if only is None else only
    return [n for n in names if not n.endswith(NAME) and _value(before, n) != _value(now, n)]


def difference(before: Choices, now: Choices, names: list[str]) -> str:
    """Those differences in words, as many as there is room for: `seed 1 is not allowed: seed 0`."""
    for count in range(len(names), 0, -1):
        more = f" and {len(names) - count} more" if count < len(names) else ""
        seen, allowed = (
            ", ".join(_told(name, chosen) for name in names[:count]) for chosen in (now, before)
        )
        text = f"{seen}{more} is not allowed: {allowed}{more}"
        if len(text) <= LONGEST:
            break
    return f"{text} ({COSINE})" if "steps" in names else text


def _told(name: str, chosen: Choices) -> str:
    value = shown(_value(chosen, name))
    called = chosen.get(f"{name}{NAME}")
    return f"{name} {value}" if called is None else f"{name} {shown(called)} ({value})"


def _value(chosen: Choices, name: str) -> Any:
    return chosen.get(name, NOT_TOLD.get(name))


def _fields(values: Any) -> Choices:
    """The fields of a dataclass that are not left out; of objects among them, what counts."""
    told = {}
    for each in fields(values):
        if each.name not in LEFT_OUT:
            told |= _expanded(each.name, getattr(values, each.name))
    return told


def _expanded(name: str, value: Any) -> Choices:
    match value:
        case Recipe():
            return _fields(value)
        case Accelerator():
            return {"processes": value.num_processes, "mixed_precision": value.mixed_precision}
        case Source():
            names = {"data": value.digest, "data_name": value.name}
            reading = _fields(value.reading) if isinstance(value, ImageFolder) else {}
            return {**names, "image_size": value.image_size, **reading}
        case _:
            return {name: value}


def _read(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
