"""Classes as a user gives them: by number, or by a name that no other class has."""

from collections.abc import Sequence

from vqlearn.checkpoints.layout import CLASS_NAMES_FILE
from vqlearn.probability.checks import check_integer, shown

Label = int | str
Labels = Label | Sequence[Label]
"""One class or several."""


def numbers_of(class_labels: Labels, num_classes: int, names: Sequence[str] | None) -> list[int]:
    """The numbers of classes that are given by number, 0 to C - 1, or by one of their `names`.

    Raises `TypeError` or `ValueError` that names the class: also for a name that no class has, and
    for one that several have.
    """
    several = isinstance(class_labels, list | tuple)
    labels = class_labels if several else [class_labels]
    if not several and hasattr(labels[0], "__len__") and not isinstance(labels[0], str):
        raise TypeError(
            f"class_labels is {shown(class_labels)}; allowed: a number, a name, or a list of them"
        )
    if not labels:
        raise ValueError("class_labels is an empty list; allowed: at least one class")
    return [number_of("a class of class_labels", label, num_classes, names) for label in labels]


def number_of(called: str, label: Label, num_classes: int, names: Sequence[str] | None) -> int:
    """The number of one class. Raises as `numbers_of` does; `called` is the label in a message."""
    last = num_classes - 1
    if not isinstance(label, str):
        check_integer(called, label, 0, last)
        return int(label)
    seen = f"{called} is {shown(label)}; allowed:"
    if names is None:
        raise ValueError(
            f"{seen} a number, 0 to {last}, for the checkpoint has no {CLASS_NAMES_FILE}"
        )
    found = [number for number, name in enumerate(names) if label in names_in(name)]
    if not found:
        example = shown(names_in(names[0])[1])
        raise ValueError(
            f"{seen} a number, 0 to {last}, or a name in {CLASS_NAMES_FILE} such as {example}"
        )
    if len(found) > 1:
        raise ValueError(f"{seen} a number, for classes {found} have this name")
    return found[0]


def as_label(text: str) -> Label:
    """The class that a text means: digits are its number."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def names_in(names: str) -> list[str]:
    """All of them together, and each: "tench, Tinca tinca", "tench", "Tinca tinca"."""
    return [names, *(name.strip() for name in names.split(","))]
