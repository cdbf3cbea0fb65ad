"""The names of the classes of a class-conditional model: `class_names.json`, which may be missing.

    {"0": "tench, Tinca tinca", "1": "goldfish, Carassius auratus", …}

A class may have several names, with commas between them, and two classes may share one.
"""

from collections.abc import Sequence
from pathlib import Path

from vqlearn.checkpoints.digests import forget_digests
from vqlearn.checkpoints.layout import CLASS_NAMES_FILE, CheckpointError
from vqlearn.checkpoints.reading import read_json
from vqlearn.probability.checks import shown
from vqlearn.storage import write_json


def read_class_names(file: Path, num_classes: int) -> tuple[str, ...]:
    """The names of all classes in a JSON file. Raises `CheckpointError` that names file and key."""
    found = read_json(file)
    for key in (str(number) for number in range(num_classes)):
        if not isinstance(found.get(key), str) or not found[key].strip():
            raise CheckpointError(
                f"{file}: the name of class {key} is {shown(found.get(key))}; allowed: a string"
            )
    if len(found) > num_classes:
        raise CheckpointError(f"{file} names {len(found)} classes; allowed: {num_classes}")
    return tuple(found[str(number)] for number in range(num_classes))


def load_class_names(folder: Path, num_classes: int) -> tuple[str, ...] | None:
    """The names that a checkpoint has of its classes, if it has any."""
    file = folder / CLASS_NAMES_FILE
    return read_class_names(file, num_classes) if file.exists() else None


def save_class_names(names: Sequence[str], folder: Path) -> None:
    """Write the names of the classes 0, 1, … of a checkpoint."""
    forget_digests(folder)
    write_json(folder / CLASS_NAMES_FILE, {str(number): name for number, name in enumerate(names)})
