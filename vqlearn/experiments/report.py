"""Runs, what was measured of each as frozen dataclasses, and the one JSON format of all studies.

A file holds the command that made it, what is known of each data set (`Facts`), and a `Record` for
each run: its settings, its machine, and its result: a frozen dataclass whose fields carry their
unit. None is left out of the file.
"""

import dataclasses
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vqlearn.evaluation import Accuracy, Share
from vqlearn.probability import Bits

DIGITS = 4


class Run(ABC):
    """One measurement, which is one entry of the file.

    A run counts as measured while its stored settings are those of the code. So ids, and all words
    in settings, stay as they are, whatever the code is called today.
    """

    id: str
    """Its key in the file: never changed, never cut up."""
    data: str | None
    """The id of its data set; None if it needs none."""
    budget: Any
    """What its data set is opened with, where it needs one."""
    device: str = "cpu"
    """Where it is measured: "cpu" or "cuda"."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that decides the result, as JSON gives it back."""

    @abstractmethod
    def measure(self, data: Any) -> Any:
        """The result, on the opened data set; the annotation says its type."""

    @property
    def result(self) -> type:
        """The dataclass that `measure` returns."""
        return typing.get_type_hints(type(self).measure)["return"]


@dataclass(frozen=True)
class Samples:
    """Some samples as text, and how many captions the grammar knows, where there is one.

    `parsed`: the parser understands them, which lets a little pass; `possible`: the grammar can
    write them letter by letter.
    """

    shown: tuple[str, ...]
    parsed: Share | None = None
    possible: Share | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of a data set, whatever is learnt from it. Numbers are in `unit`.

    `floor` is the entropy, which no model can go below on average; `floor_on_test` is the negative
    log-likelihood of the test sequences under the true distribution. `baselines` only count.
    `round_trip`: captions that come out right from the true tokens, by composition.
    """

    unit: str
    num_codes: int
    baselines: dict[str, float]
    num_positions: int | None = None
    floor: float | None = None
    floor_per_position: float | None = None
    floor_on_test: float | None = None
    samples: Samples | None = None
    round_trip: dict[str, Accuracy] | None = None


@dataclass(frozen=True)
class Record:
    """A run that was measured: with which settings, where, and what came out."""

    settings: dict[str, Any]
    result: Any
    machine: str | None = None


@dataclass(frozen=True)
class Report:
    """All of a study that was measured so far: facts by data set, records by the id of the run."""

    command: str
    data: dict[str, Facts] = field(default_factory=dict)
    runs: dict[str, Record] = field(default_factory=dict)


def rounded(bits: Bits) -> Bits:
    """As it is stored."""
    return Bits(*(round(value, DIGITS) for value in bits))


def to_json(value: Any) -> Any:
    """Dataclasses and named tuples become dicts; fields that are None are left out."""
    if isinstance(value, Bits):
        return value._asdict()
    if dataclasses.is_dataclass(value):
        parts = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return {name: to_json(part) for name, part in parts.items() if part is not None}
    if isinstance(value, Mapping):
        return {key: to_json(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(part) for part in value]
    return value


def from_json(kind: Any, value: Any) -> Any:
    """The inverse of `to_json` for this type, such as `dict[str, Share]` or `Samples | None`.

    Raises `TypeError` if a dataclass lacks a field or does not know one.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else from_json(inner[0], value)
    if origin is dict:
        return {key: from_json(inner[1], part) for key, part in value.items()}
    if origin is tuple:
        return tuple(from_json(inner[0], part) for part in value)
    if kind is Bits:
        return Bits(**value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: from_json(hints.get(name), part) for name, part in value.items()})
    return value
