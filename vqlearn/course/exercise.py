"""An exercise as the grader sees it: a reference, probes, and the mistakes that are known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Arguments = tuple[Any, ...]
"""What one call of the function is given: tensors, numbers, strings, tuples of them."""


@dataclass(frozen=True)
class Mistake:
    """A wrong solution that students are known to write."""

    id: str
    name: str  # completes "It looks as if …"
    function: Callable[..., Any]
    source: str = ""  # where it is documented: a paper, a repository, a lesson


@dataclass(frozen=True)
class Property:
    """What every right answer has, so that an unknown mistake can be told by what it breaks."""

    name: str  # completes "This should hold: …"
    holds: Callable[[Arguments, Sequence[np.ndarray]], bool]  # of the arguments and the results


@dataclass(frozen=True)
class Exercise:
    """One function to write.

    Its id is the name of the function, unique in the course; `probes` draws the arguments of
    several calls; of the arguments at the places `differentiable`, gradients are compared too.
    """

    id: str
    lesson: int
    points: int
    reference: Callable[..., Any]
    probes: Callable[[torch.Generator], list[Arguments]]
    mistakes: tuple[Mistake, ...]
    properties: tuple[Property, ...] = ()
    differentiable: tuple[int, ...] = ()
