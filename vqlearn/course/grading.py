"""Grade a folder of submissions: every function in a process apart, every verdict in this one.

What has been graded is stored at once, so that a run that was stopped goes on. A result is used
again as long as the submission, the points, the seed and the code of the course are the same.
"""

import hashlib
import inspect
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from vqlearn.course.catalogue import EXERCISES
from vqlearn.course.definitions import defined, definitions, unread
from vqlearn.course.exercise import Exercise
from vqlearn.course.recognition import Verdict, expected, judge
from vqlearn.course.reports import write_reports
from vqlearn.course.submissions import NO_FILE, Submission, find_submissions
from vqlearn.course.worker.sandbox import first_line, untraceable
from vqlearn.course.workers import Ended, Server, shortened
from vqlearn.probability.checks import check_choice, check_integer
from vqlearn.storage import as_path, check_output_folder, write_json
from vqlearn.storage.paths import Pathlike

SUMMARY, RESULTS, SEED = "summary.json", "results", "seed.json"
SEED_BITS = 48  # every program that reads JSON keeps all of them
MOST_PROCESSES = 256
TEST = "test_"  # before the id of an exercise, the id of its test cell
NOTHING = "no exercise was found in it"

Points = Mapping[str, float]
Exercises = Mapping[str, Exercise]
Result = dict[str, Any]


@dataclass(frozen=True)
class _Task:
    """A submission, the points of each exercise that counts, and the sources of its functions."""

    submission: Submission
    points: Points
    sources: Mapping[str, str | None]
    unread: str  # which cells were left out
    digest: str  # of all that the result depends on


def grade(
    folder: Pathlike,
    out: Pathlike,
    *,
    assignment: Points | None = None,
    seed: int | None = None,
    processes: int = 2,
    exercises: Exercises = EXERCISES,
) -> Result:
    """Grade all submissions in a folder; write OUT/summary.json and the reports, and return it.

    Prints what submissions cannot reach, then a line for each as it is graded. `assignment` holds
    the points of each exercise that counts; without it, all exercises of the lessons of which a
    submission shows one. The seed of the probes is that of the run that goes on, or a new one.
    """
    folder, out = as_path("folder", folder), as_path("out", out)
    _check(folder, out, assignment, processes, exercises)
    seed = _seed(out, seed)
    code = _code_digest(exercises)
    tasks = [
        _task(one, assignment, exercises, f"{seed} {code}") for one in find_submissions(folder)
    ]
    if all(task.submission.note == NO_FILE for task in tasks):
        raise ValueError(f"folder is {str(folder)!r}; allowed: one with .ipynb or .py files")
    counting = [one for name, one in exercises.items() if any(name in t.points for t in tasks)]
    for exercise in counting:
        expected(exercise, seed)  # here, where only one thread draws
    closed, results = _results(tasks, out, seed, processes, exercises)
    most = assignment or {one.id: one.points for one in counting}
    summary = {
        "seed": seed,
        "closed": closed,
        "exercises": [
            {"id": name, "lesson": exercises[name].lesson, "max_points": most[name]}
            for name in most
        ],
        "submissions": results,
    }
    write_json(out / SUMMARY, summary)
    write_reports(out, summary)
    return summary


def _check(
    folder: Path, out: Path, assignment: Points | None, processes: int, exercises: Exercises
) -> None:
    """Raise `ValueError`, `TypeError` or `OSError`, naming it, for what cannot be graded."""
    if not folder.is_dir():
        raise NotADirectoryError(f"folder is {str(folder)!r}; allowed: a folder")
    if out.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"out is {str(out)!r}; allowed: a place outside of {str(folder)!r}")
    check_output_folder("out", out)
    check_integer("processes", processes, 1, MOST_PROCESSES)
    for name in assignment or ():
        check_choice("an exercise of the assignment", name, exercises)


def _seed(out: Path, seed: int | None) -> int:
    """The one that was given, or that of the run that was begun here, or a new one."""
    file = out / RESULTS / SEED
    if seed is None:
        with suppress(OSError, ValueError, LookupError, TypeError):
            seed = int(json.loads(file.read_text(encoding="utf-8"))["seed"])
    if seed is None:
        seed = secrets.randbits(SEED_BITS)
    check_integer("seed", seed, 0, 2**63 - 1)
    write_json(file, {"seed": seed})
    return seed


def _code_digest(exercises: Exercises) -> str:
    """Of the course's code, and of the files in which other exercises are."""
    files = set(Path(__file__).parent.rglob("*.py"))
    for exercise in exercises.values():
        with suppress(TypeError):
            files.add(Path(inspect.getsourcefile(exercise.reference) or __file__))
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _task(
    submission: Submission, assignment: Points | None, exercises: Exercises, other: str
) -> _Task:
    cells = submission.cells
    points = dict(assignment) if assignment else _points_of(submission, exercises)
    sources = {name: definitions(cells, name) for name in points}
    left_out = shortened("; ".join(unread(cells)))
    about = json.dumps([submission.digest, submission.id, submission.file, points, other])
    digest = hashlib.sha256(about.encode()).hexdigest()
    return _Task(submission, points, sources, left_out, digest)


def _points_of(submission: Submission, exercises: Exercises) -> Points:
    """The points of all exercises of its lessons: by its cells' ids, or without any by names."""
    ids = {cell.grade_id.removeprefix(TEST) for cell in submission.cells}
    shown = ids & set(exercises) or defined(submission.cells) & set(exercises)
    lessons = {exercises[name].lesson for name in shown}
    return {name: one.points for name, one in exercises.items() if one.lesson in lessons}


def _results(
    tasks: Sequence[_Task], out: Path, seed: int, processes: int, exercises: Exercises
) -> tuple[dict[str, bool], list[Result]]:
    """What submissions cannot reach, and the result of each: stored ones, then the others."""
    files = {task.submission.id: _result_file(out, task) for task in tasks}
    results = {task.submission.id: _stored(files[task.submission.id], task) for task in tasks}
    missing = [task for task in tasks if results[task.submission.id] is None]
    with untraceable(), ExitStack() as stack:
        count = max(1, min(processes, len(missing)))
        servers = [stack.enter_context(Server()) for _ in range(count)]
        closed = servers[0].closed()
        print(first_line(closed), flush=True)
        for task, result in _graded(missing, servers, seed, exercises):
            write_json(files[task.submission.id], {"digest": task.digest, "result": result})
            results[task.submission.id] = result
            points = f"{result['points']:g} of {result['max_points']:g} points"
            print(f"{task.submission.id}: {points}", flush=True)
    return asdict(closed), list(results.values())


def _result_file(out: Path, task: _Task) -> Path:
    name = hashlib.sha256(task.submission.id.encode()).hexdigest()
    return out / RESULTS / f"{name}.json"


def _stored(file: Path, task: _Task) -> Result | None:
    """The result of an earlier run, if nothing has changed since."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return stored["result"] if stored["digest"] == task.digest else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _graded(
    tasks: Sequence[_Task], servers: Sequence[Server], seed: int, exercises: Exercises
) -> Iterator[tuple[_Task, Result]]:
    """Every task with its result as it is ready; each server has one task at a time."""
    free: SimpleQueue[Server] = SimpleQueue()
    for server in servers:
        free.put(server)

    def graded(task: _Task) -> tuple[_Task, Result]:
        server = free.get()
        try:
            return task, _result(task, server, seed, exercises)
        finally:
            free.put(server)

    with ThreadPoolExecutor(len(servers)) as pool:
        futures = [pool.submit(graded, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _result(task: _Task, server: Server, seed: int, exercises: Exercises) -> Result:
    """Points and verdicts of one submission; an exercise has all of its points or none."""
    found = []
    for name, most in task.points.items():
        verdict = _verdict(task, server, exercises[name], seed)
        points = most if verdict.status == "correct" else 0
        about = {
            "status": verdict.status,
            "mistake": verdict.mistake,
            "mistake_name": verdict.mistake_name,
            "message": shortened(verdict.message),
        }
        found.append({"id": name, "points": points, "max_points": most, **about})
    note = task.submission.note or task.unread
    return {
        "id": task.submission.id,
        "files": [task.submission.file],
        "note": note if task.points or note else NOTHING,
        "points": sum(one["points"] for one in found),
        "max_points": sum(task.points.values()),
        "exercises": found,
    }


def _verdict(task: _Task, server: Server, exercise: Exercise, seed: int) -> Verdict:
    if task.submission.note:
        return Verdict("error", task.submission.note)
    source = task.sources[exercise.id]
    if source is None:
        reasons = [f"no function {exercise.id} was found", task.unread]
        return Verdict("missing", "; ".join(filter(None, reasons)))
    calls = expected(exercise, seed).calls
    answer = server.ask(source, exercise.id, calls, exercise.differentiable)
    if isinstance(answer, Ended):
        return Verdict(answer.status, answer.message)
    try:
        with np.errstate(all="ignore"):
            return judge(exercise, answer, seed)
    except Exception as error:  # one submission never stops the others
        return Verdict("wrong", f"its results cannot be compared ({type(error).__name__})")
