"""`check` inside a notebook: is my function right, and if not, what does it look like?"""

from collections.abc import Callable
from typing import Any

import torch

from vqlearn.course.catalogue import EXERCISES
from vqlearn.course.exercise import Exercise
from vqlearn.course.hints import LEVELS, hints_of
from vqlearn.course.recognition import Verdict, expected, judge
from vqlearn.course.worker.calling import outcome
from vqlearn.probability.checks import check_integer

SEED = 0  # of the probes in a notebook; the grader draws others
MOST_NUMBERS = 16  # of a tensor that is shown


def check(function: Callable[..., Any], hint: int = 0) -> bool:
    """Print whether a function is right, and which known mistake it looks like if it is not.

    `hint` is 0 for none, 1 for a question, 2 for the concept and its lesson, 3 for the shape of
    the line. The exercise is known by the name of the function. Raises `TypeError` or `ValueError`
    for what is no function of an exercise, or another hint.
    """
    if not callable(function) or not hasattr(function, "__name__"):
        raise TypeError(f"function is {function!r}; allowed: a function of an exercise")
    if function.__name__ not in EXERCISES:
        raise ValueError(
            f"the function is named {function.__name__!r}; allowed: the name that the exercise "
            "gives it, by which it is known"
        )
    check_integer("hint", hint, 0, LEVELS)
    exercise = EXERCISES[function.__name__]
    calls = expected(exercise, SEED).calls
    verdict = judge(exercise, outcome(function, calls, exercise.differentiable), SEED)
    print(f"{exercise.id}: {_said(exercise, verdict, hint)}")
    if verdict.call is not None:
        print(
            f"Call {verdict.call}: {exercise.id}({', '.join(map(_shown, calls[verdict.call - 1]))})"
        )
    return verdict.status == "correct"


def _said(exercise: Exercise, verdict: Verdict, hint: int) -> str:
    """The verdict, then the hint that was asked for, or how to ask for one."""
    if verdict.mistake is None:
        unknown = hint > 0 and verdict.status in ("wrong", "error")
        return verdict.message + (" (No hint: this mistake is not known here.)" if unknown else "")
    hints = hints_of(exercise, verdict.mistake)
    if hint > 0:
        return f"{verdict.message}\n{hints[min(hint, len(hints)) - 1]}"
    levels = " to ".join(dict.fromkeys(("1", str(len(hints)))))
    return f"{verdict.message} For a hint, write check({exercise.id}, hint={levels})."


def _shown(value: Any) -> str:
    """Arguments as they could be typed; of a large tensor its type and shape."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))}{',' if len(value) == 1 else ''})"
    if torch.is_tensor(value) and value.numel() > MOST_NUMBERS:
        return f"a tensor {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if torch.is_tensor(value):
        rounded = value.mul(1e4).round().div(1e4) if value.is_floating_point() else value
        return str(rounded.tolist())
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
