"""Every exercise: mistakes lose and are told apart, its notebook is right, pasting gains nothing.

`alternatives/NN.py` has other right solutions, named `<exercise>__<anything>`;
`second_mistakes/NN.py` has each mistake written a second time, named `<exercise>__<mistake>`.
"""

import ast
import importlib.util
import inspect
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from support.exercise_notebooks import (
    SOURCES,
    cell_of,
    each_test_alone,
    hidden_tests,
    run_cells,
    solution_lines,
    source_of_lesson,
)
from support.pasted import lesson_functions, limited, package_functions, takes

from vqlearn.course import EXERCISES
from vqlearn.course.assigning import check_statements
from vqlearn.course.hints import FOLDER, hints_of
from vqlearn.course.notebook_format import TEST, TEXT, load, statement
from vqlearn.course.recognition import ABSOLUTE, RELATIVE, expected, judge
from vqlearn.course.worker.calling import outcome

HERE = Path(__file__).parent
SEEDS = range(5)
CLEARLY = 10  # times what counts as rounding
LONGEST_HINTS, LONGEST_TEXT, LONGEST_INTRO = 160, 220, 150  # words
LONGEST_WORD = 12  # letters: a shorter expression may stand in a sentence by chance
NAMED = 0.95  # of the mistakes written a second time
LEAST_MISTAKES = 3
MOST_CELLS = 60

each_exercise = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
each_source = pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.stem)


def answer(exercise, function, seed=0):
    calls = expected(exercise, seed).calls
    return outcome(function, calls, exercise.differentiable)


def difference(one, other):
    """The largest difference of any two numbers, in units of what counts as rounding."""
    largest = 0.0
    for mine, theirs in zip(one.calls, other.calls, strict=True):
        if [x.shape for x in mine] != [x.shape for x in theirs]:
            return np.inf
        for x, y in zip(mine, theirs, strict=True):
            same = np.isclose(x, y, 0, 0, equal_nan=True)
            with np.errstate(all="ignore"):  # infinite against finite
                off = np.abs(x[~same] - y[~same]) / (ABSOLUTE + RELATIVE * np.abs(y[~same]))
            largest = max(largest, np.nan_to_num(off, nan=np.inf, posinf=np.inf).max(initial=0))
    return largest


def squeezed(text):
    return re.sub(r"\s", "", text)


def functions_of(folder):
    """(exercise, rest of its name, function) of every file in a folder beside this one."""
    found = []
    for file in sorted((HERE / folder).glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"{folder}_{file.stem}", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, value in vars(module).items():
            exercise, split, rest = name.partition("__")
            if inspect.isfunction(value) and exercise and split:
                found.append((exercise, rest, value))
    return found


def test_an_exercise_is_named_by_the_function_to_write():
    names = [exercise.id for exercise in EXERCISES.values()]
    assert len(set(names)) == len(names) == sum(len(load(file).points) for file in SOURCES)
    for exercise in EXERCISES.values():
        assert exercise.id.isidentifier()
        assert exercise.reference.__name__ == exercise.id
        mistakes = [mistake.id for mistake in exercise.mistakes]
        assert len(set(mistakes)) == len(mistakes) >= LEAST_MISTAKES
        for mistake in exercise.mistakes:
            assert re.fullmatch(r"[a-z0-9_]{1,40}", mistake.id)
            assert re.fullmatch(r"\S.*[^.\s]", mistake.name)  # It looks as if …


@each_exercise
@pytest.mark.filterwarnings("default")  # a mistake may divide by zero
def test_mistakes_lose_and_no_two_look_alike(exercise):
    for seed in SEEDS:
        found = expected(exercise, seed)
        functions = {"the reference": found.reference} | {
            mistake.id: wrong
            for mistake, wrong in zip(exercise.mistakes, found.mistakes, strict=True)
        }
        for name, one in functions.items():
            assert not one.error, f"{name}: {one.error}"
        for (name, one), (other_name, other) in combinations(functions.items(), 2):
            assert difference(one, other) > CLEARLY, f"seed {seed}: {name} and {other_name}"
            assert difference(other, one) > CLEARLY, f"seed {seed}: {name} and {other_name}"


@each_exercise
def test_the_right_answer_has_all_properties(exercise):
    assert exercise.properties
    for seed in SEEDS:
        found = expected(exercise, seed)
        for arguments, results in zip(found.calls, found.reference.calls, strict=True):
            for wanted in exercise.properties:
                assert wanted.holds(arguments, results), wanted.name


@each_exercise
def test_other_seeds_ask_for_other_numbers(exercise):
    """Unless there is nothing to ask: a function without arguments."""
    first, second = (expected(exercise, seed) for seed in (0, 1))
    if any(first.calls):
        assert difference(first.reference, second.reference) > CLEARLY


@each_exercise
def test_hints_are_there_and_short(exercise):
    for mistake in exercise.mistakes:
        hints = hints_of(exercise, mistake.id)
        assert len(hints) in (1, 3), mistake.id
        assert len(" ".join(hints).split()) <= LONGEST_HINTS, mistake.id


def test_hints_belong_to_mistakes_and_most_have_three_levels():
    headings = [
        heading
        for file in sorted(FOLDER.glob("*.md"))
        for heading in re.findall(r"^## (.+)$", file.read_text("utf-8"), re.MULTILINE)
    ]
    pairs = [(one, mistake.id) for one in EXERCISES.values() for mistake in one.mistakes]
    assert sorted(headings) == sorted(f"{exercise.id}: {mistake}" for exercise, mistake in pairs)
    three = sum(len(hints_of(exercise, mistake)) == 3 for exercise, mistake in pairs)
    assert three >= 0.6 * len(pairs), f"{three} of {len(pairs)}"


@each_exercise
def test_no_hint_is_the_answer(exercise):
    tree = ast.parse(inspect.getsource(exercise.reference))
    answers = {
        squeezed(ast.unparse(node.value))
        for node in ast.walk(tree)
        if isinstance(node, ast.Return) and node.value is not None
    }
    answers |= {squeezed(line) for line in solution_lines(source_of_lesson(exercise.lesson))}
    for mistake in exercise.mistakes:
        hints = squeezed("".join(hints_of(exercise, mistake.id)))
        assert not [one for one in answers if len(one) > LONGEST_WORD and one in hints], mistake.id


@each_exercise
def test_the_solution_of_the_notebook_is_right(exercise, capsys):
    source = source_of_lesson(exercise.lesson)
    names = run_cells(source)
    for seed in SEEDS:
        verdict = judge(exercise, answer(exercise, names[exercise.id], seed), seed)
        assert verdict.status == "correct", verdict.message
    exec(cell_of(source, TEST + exercise.id), dict(names))
    captured = capsys.readouterr()
    assert captured.err == "", "nbgrader gives no points to a test cell that writes to stderr"


@each_exercise
def test_every_hidden_test_fails_on_the_blank_version(exercise):
    source = source_of_lesson(exercise.lesson)
    names = run_cells(source, blank=True)
    tests = each_test_alone(hidden_tests(source, exercise.id))
    assert tests
    for test in tests:
        with pytest.raises((AssertionError, NotImplementedError)):
            exec(test, dict(names))


@each_exercise
@pytest.mark.filterwarnings("default")
def test_hidden_tests_catch_every_known_mistake(exercise):
    """Without the line of the check: so nbgrader notices them too."""
    source = source_of_lesson(exercise.lesson)
    names, hidden = run_cells(source), hidden_tests(source, exercise.id)
    for mistake in exercise.mistakes:
        caught = False
        try:
            exec(hidden, {**names, exercise.id: mistake.function})
        except Exception:  # whichever: no points
            caught = True
        assert caught, mistake.id


@each_exercise
def test_a_test_cell_is_made_of_statements(exercise):
    """The last value of a cell is partial credit for nbgrader."""
    text = cell_of(source_of_lesson(exercise.lesson), TEST + exercise.id)
    assert not [node for node in ast.parse(text).body if isinstance(node, ast.Expr)]
    assert text.startswith(f"assert check({exercise.id})\n### BEGIN HIDDEN TESTS\n")
    assert text.endswith("\n### END HIDDEN TESTS")


@each_exercise
def test_the_text_says_what_the_grader_gives(exercise):
    source = source_of_lesson(exercise.lesson)
    assert source.points[exercise.id] == exercise.points
    said = statement(source.exercises()[exercise.id])
    assert (said.points, bool(said.title), said.minutes > 0) == (exercise.points, True, True)
    assert len(cell_of(source, TEXT + exercise.id).split()) <= LONGEST_TEXT
    defined = ast.parse(cell_of(source, exercise.id))
    (function,) = [node for node in ast.walk(defined) if getattr(node, "name", "") == exercise.id]
    assert ast.get_docstring(function)


@each_source
def test_the_introduction_says_the_sums(file):
    source = load(file)
    check_statements(source)
    intro = source.beginning[0].source
    minutes = sum(statement(cells).minutes for cells in source.exercises().values())
    assert re.search(rf"\b{sum(source.points.values())} points\b", intro)
    assert re.search(rf"\b{minutes} minutes\b", intro)
    assert len(intro.split()) <= LONGEST_INTRO
    assert len(source.notebook.cells) <= MOST_CELLS


@pytest.fixture(scope="module")
def pasted():
    return package_functions() | lesson_functions()


@each_exercise
@pytest.mark.filterwarnings("ignore")  # of functions that get what they were not made for
def test_a_pasted_function_gains_no_points(exercise, pasted):
    number = len(expected(exercise, 0).calls[0])
    fitting = {name: each for name, each in pasted.items() if takes(each, number)}
    right = []
    for name, each in fitting.items():
        with limited():
            found = answer(exercise, each)
        if judge(exercise, found, 0).status == "correct":
            right.append(name)
    assert not right
    assert len(pasted) > 200, "functions of the package or the lessons were not found"


@pytest.mark.filterwarnings("default")
def test_other_right_solutions_are_right():
    found = functions_of("alternatives")
    wrong = []
    for name, rest, function in found:
        exercise = EXERCISES[name]
        for seed in SEEDS:
            verdict = judge(exercise, answer(exercise, function, seed), seed)
            if verdict.status != "correct":
                wrong.append(f"{name}__{rest}, seed {seed}: {verdict.message}")
    assert not wrong, f"{len(found)} solutions; false alarms: {wrong}"
    assert {name for name, *_ in found} == set(EXERCISES)


@pytest.mark.filterwarnings("default")
def test_mistakes_written_a_second_time_are_named():
    found = functions_of("second_mistakes")
    wanted = {(one.id, mistake.id) for one in EXERCISES.values() for mistake in one.mistakes}
    assert {(name, mistake) for name, mistake, _ in found} == wanted
    named, unknown, other = 0, [], []
    for name, mistake, function in found:
        exercise = EXERCISES[name]
        verdicts = [judge(exercise, answer(exercise, function, seed), seed) for seed in SEEDS]
        seen = {verdict.mistake or verdict.status for verdict in verdicts}
        if seen == {mistake}:
            named += 1
        elif seen <= {"wrong", "error", mistake}:
            unknown.append(f"{name}__{mistake}: {verdicts[0].message}")
        else:
            other.append(f"{name}__{mistake}: {seen}")
    assert not other, f"{len(found)} mistakes; right or named as another: {other}"
    assert named >= NAMED * len(found), f"{named} of {len(found)} are named; not {unknown}"
