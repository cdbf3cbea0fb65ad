"""What is wrong with an answer: compared with the reference, then with every known mistake."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from vqlearn.course.exercise import Arguments, Exercise, Property
from vqlearn.course.worker.calling import Outcome, outcome

# float32 is enough for a right answer: `ABSOLUTE` is in units of the largest number, at least 1
RELATIVE, ABSOLUTE = 1e-4, 1e-6
NOT_WRITTEN = "NotImplementedError"


@dataclass(frozen=True)
class Verdict:
    """What was found about one answer.

    `status` is "correct", "mistake" (a known one, with its id), "wrong" (none that is known),
    "error" (it raised) or "blank"; the grader adds "missing", "timeout" and "stopped". `call` is
    the number of the call that an error or a difference without a name was found in.
    """

    status: str
    message: str
    mistake: str | None = None
    mistake_name: str | None = None
    call: int | None = None


@dataclass(frozen=True)
class Expected:
    """The calls of an exercise for one seed, and what reference and mistakes return."""

    calls: tuple[Arguments, ...]
    reference: Outcome
    mistakes: tuple[Outcome, ...]


@lru_cache(maxsize=64)
def expected(exercise: Exercise, seed: int) -> Expected:
    """Draw the probes, and call the reference and every mistake on them."""
    calls = tuple(exercise.probes(torch.Generator().manual_seed(seed)))
    functions = [exercise.reference, *(mistake.function for mistake in exercise.mistakes)]
    right, *wrong = [outcome(one, calls, exercise.differentiable) for one in functions]
    if right.error:
        raise RuntimeError(f"the reference of {exercise.id} fails: {right.error}")
    return Expected(calls, right, tuple(wrong))


def judge(exercise: Exercise, answer: Outcome, seed: int) -> Verdict:
    """What is to be said of what a student's function did on the probes of this seed."""
    known = expected(exercise, seed)
    if same(answer, known.reference):
        return Verdict("correct", "correct")
    for mistake, wrong in zip(exercise.mistakes, known.mistakes, strict=True):
        if same(answer, wrong):
            message = f"It looks as if {mistake.name}."
            return Verdict("mistake", message, mistake.id, mistake.name)
    if answer.error.startswith(NOT_WRITTEN):
        return Verdict("blank", "not written yet")
    if answer.error:
        call = len(answer.calls) + 1
        return Verdict("error", f"call {call} raised {answer.error}", call=call)
    return _unknown(exercise, answer, known)


def same(answer: Outcome, other: Outcome) -> bool:
    """Are all results and gradients of both equal, up to rounding in float32? Errors never are."""
    if answer.error or other.error or len(answer.calls) != len(other.calls):
        return False
    pairs = zip(answer.calls, other.calls, strict=True)
    return all(_same_call(mine, theirs) for mine, theirs in pairs)


def _same_call(mine: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return [x.shape for x in mine] == [x.shape for x in theirs] and all(
        np.allclose(x, y, RELATIVE, ABSOLUTE * _largest(y), equal_nan=True)
        for x, y in zip(mine, theirs, strict=True)
    )


def _largest(values: np.ndarray) -> float:
    """The largest of all finite absolute values and 1."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=1))


def _unknown(exercise: Exercise, answer: Outcome, known: Expected) -> Verdict:
    """By the first thing that tells this answer from a right one, without the right numbers."""
    pairs = zip(known.calls, answer.calls, known.reference.calls, strict=True)
    for call, (arguments, mine, right) in enumerate(pairs, start=1):
        if not _same_call(mine, right):
            return Verdict("wrong", _difference(exercise, arguments, mine, right, call), call=call)
    raise ValueError(f"the answer to {exercise.id} is right; allowed: one that is not")


def _difference(
    exercise: Exercise,
    arguments: Arguments,
    mine: list[np.ndarray],
    right: list[np.ndarray],
    call: int,
) -> str:
    """What is wrong with one call: its shapes, NaN, a property, or the place of a number."""
    seen, wanted = (", ".join(str(x.shape) for x in results) for results in (mine, right))
    if seen != wanted:
        return f"In call {call} the shapes of the result are {seen}; expected: {wanted}."
    if any(np.isnan(x).any() for x in mine) and not any(np.isnan(x).any() for x in right):
        return f"In call {call} the result has NaN (not a number)."
    for each in exercise.properties:
        if not _holds(each, arguments, mine):
            return f"This should hold, and does not in call {call}: {each.name}."
    number, x, y = next(
        (i, x, y)
        for i, (x, y) in enumerate(zip(mine, right, strict=True))
        if not _same_call([x], [y])
    )
    close = np.isclose(x, y, RELATIVE, ABSOLUTE * _largest(y), equal_nan=True)
    place = ", ".join(map(str, np.argwhere(~close)[0]))
    first = f", first at [{place}]" if place else ""
    what = "the result" if len(mine) == 1 else f"result {number + 1} of {len(mine)}"
    if exercise.differentiable:
        what += " (the last ones are gradients)"
    return f"In call {call} {what} is not the right one{first}."


def _holds(wanted: Property, arguments: Arguments, results: list[np.ndarray]) -> bool:
    """Also false where the results are too strange for the property to be asked."""
    try:
        return wanted.holds(arguments, results)
    except Exception:
        return False
