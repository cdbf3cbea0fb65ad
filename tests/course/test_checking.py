"""`check` in a notebook: what it says of right, wrong, unfinished and misnamed functions."""

import linecache
from dataclasses import replace
from functools import reduce

import pytest
import torch

from vqlearn.course import Exercise, Property, check
from vqlearn.course.recognition import judge
from vqlearn.course.worker.calling import outcome


def named(function, name):
    function.__name__ = name
    return function


def uniform_posterior(steps, x_0, x_t, s, t):
    return torch.full((len(x_0), steps.shape[-1]), 1 / steps.shape[-1])


def unnormalised(steps, x_0, x_t, s, t):
    same = torch.eye(steps.shape[-1], dtype=steps.dtype)
    before, after = (reduce(torch.matmul, part.flip(0), same) for part in (steps[:s], steps[s:t]))
    return before[:, x_0].T * after[x_t]


def posterior(steps, x_0, x_t, s, t):
    joint = unnormalised(steps, x_0, x_t, s, t)
    return joint / joint.sum(dim=-1, keepdim=True)


def said(capsys, function, hint=0):
    found = check(named(function, "posterior_from_matrices"), hint=hint)
    captured = capsys.readouterr()
    assert captured.err == ""
    return found, captured.out


def test_a_right_function(capsys):
    assert said(capsys, posterior) == (True, "posterior_from_matrices: correct\n")
    assert said(capsys, posterior, hint=3) == (True, "posterior_from_matrices: correct\n")


def test_a_known_mistake_has_a_name_and_three_hints(capsys):
    found, text = said(capsys, unnormalised)
    assert not found
    assert "It looks as if prior times likelihood was not normalised." in text
    assert "check(posterior_from_matrices, hint=1 to 3)" in text
    hints = [said(capsys, unnormalised, hint)[1] for hint in (1, 2, 3)]
    assert len(set(hints)) == 3
    assert all(hint.startswith(text.split(". ")[0]) for hint in hints)


def test_an_unknown_mistake_says_what_differs_and_shows_the_call(capsys):
    found, text = said(capsys, uniform_posterior)
    assert not found
    assert "In call 1 the result is not the right one, first at [0, 0]." in text
    assert "No hint" not in text
    assert "Call 1: posterior_from_matrices(a tensor float64 (5, 4, 4), [3, " in text
    assert "No hint: this mistake is not known here." in said(capsys, uniform_posterior, 1)[1]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda *_: None, "returned None (is a `return` missing?)"),
        (lambda *_: "x", "returned a str; allowed: tensors, numbers, tuples of them"),
        (lambda *a: posterior(*a).mT, "shapes of the result are (4, 6); expected: (6, 4)"),
        (lambda *a: posterior(*a) * torch.nan, "In call 1 the result has NaN (not a number)."),
        (lambda *a: 2 * posterior(*a), "This should hold, and does not in call 1: every row of"),
        (lambda *a: [][0], "call 1 raised IndexError: list index out of range"),
    ],
    ids=["None", "text", "shape", "NaN", "property", "error"],
)
def test_what_is_said_of_other_results(function, message, capsys):
    found, text = said(capsys, function)
    assert not found
    assert message in text


def test_the_line_of_an_error_is_shown_where_it_is_known(capsys):
    source = "def posterior_from_matrices(steps, *others):\n    return steps[99]\n"
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(keepends=True), "<cell>")
    names = {}
    exec(compile(source, "<cell>", "exec"), names)
    assert "(in the line `return steps[99]`)" in said(capsys, names["posterior_from_matrices"])[1]


def test_calls_are_shown_as_they_could_be_typed(capsys):
    assert not check(named(lambda joint, groups: -1.0, "parallel_loss"))
    call = "Call 1: parallel_loss(a tensor float64 (3, 3, 3), ((0, 2), (1,)))\n"
    assert capsys.readouterr().out.endswith(call)


def test_a_number_has_no_place_and_a_property_may_fail():
    def fails(arguments, results):
        raise IndexError

    double = Exercise("double", 0, 1, lambda x: 2 * x, lambda _: [(3.0,)], ())
    found = judge(double, outcome(lambda x: x, [(3.0,)], ()), 0)
    assert found.message == "In call 1 the result is not the right one."
    strict = replace(double, properties=(Property("it can be asked", fails),))
    found = judge(strict, outcome(lambda x: x, [(3.0,)], ()), 0)
    assert found.message == "This should hold, and does not in call 1: it can be asked."


def test_a_function_that_is_not_written(capsys):
    def blank(*arguments):
        raise NotImplementedError

    assert said(capsys, blank) == (False, "posterior_from_matrices: not written yet\n")


@pytest.mark.parametrize(
    ("function", "hint", "error", "message"),
    [
        (3, 0, TypeError, "function is 3; allowed: a function of an exercise"),
        (print, 0, ValueError, "named 'print'; allowed: the name that the exercise gives it"),
        (posterior, 4, ValueError, "hint is 4; allowed: 0 to 3"),
    ],
)
def test_what_cannot_be_checked_is_refused(function, hint, error, message):
    if function is posterior:
        named(posterior, "posterior_from_matrices")
    with pytest.raises(error, match=message):
        check(function, hint)
