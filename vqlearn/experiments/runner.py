"""Runs with names, measured one by one into one JSON file: a command that was stopped goes on.

A name is "world/system". Runs of one world learn the same rows and are measured on the same rows,
so the file also holds what is known of each world.
"""

import getpass
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vqlearn.experiments.kernels.data import World

Report = dict[str, Any]


def world_of(name: str) -> str:
    """The world of a run: what stands before the slash."""
    return name.partition("/")[0]


@dataclass(frozen=True)
class Experiment:
    """All runs of a command, in the order of the file, and how to make one.

    - `settings(name)`: all that decides the result, as JSON gives it back.
    - `open_world(kind)`: the data of a world.
    - `measure(name, world)`: the result of a run, with its settings under "settings".
    """

    command: str
    names: Sequence[str]
    settings: Callable[[str], dict[str, Any]]
    open_world: Callable[[str], World]
    measure: Callable[[str, World], dict[str, Any]]

    def missing(self, report: Report, names: Sequence[str] | None = None) -> list[str]:
        """Which of these runs (by default all) are not there, or have other settings?"""
        done = {name: run["settings"] for name, run in report.get("runs", {}).items()}
        names = self.names if names is None else names
        return [name for name in names if done.get(name) != self.settings(name)]

    def go_on(self, file: Path, names: Sequence[str]) -> Report:
        """Measure those that are missing, and write the file after each; returns all of it.

        Several processes may work on one file: each takes runs that no other is busy with.
        """
        worlds: dict[str, World] = {}
        for name in names:
            with claimed(file, name) as mine:
                if mine and self.missing(self.read(file), [name]):
                    kind = world_of(name)
                    if kind not in worlds:
                        worlds[kind] = self.open_world(kind)
                    run = self.measure(name, worlds[kind])
                    described = self._add(file, name, run, worlds[kind])
                    bits = [run["bits"], described["unit"]] if "bits" in run else []
                    print(name, *bits, flush=True)
        return self.read(file)

    def read(self, file: Path) -> Report:
        """The file, or what stands in it before the first run."""
        report = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        return {"command": self.command, "worlds": {}, "runs": {}} | report

    def write(self, report: Report, file: Path) -> None:
        """The whole file or none of it, the runs in their order."""
        runs = {name: report["runs"][name] for name in self.names if name in report["runs"]}
        text = json.dumps(report | {"runs": runs}, indent=2) + "\n"
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, file)

    def _add(self, file: Path, name: str, run: dict[str, Any], world: World) -> dict[str, Any]:
        kind = world_of(name)
        with lock_for(file, "written"):
            report = self.read(file)
            report["runs"][name] = run
            report["worlds"][kind] = report["worlds"].get(kind) or world.describe()
            self.write(report, file)
        return report["worlds"][kind]


def lock_for(file: Path, what: str) -> FileLock:
    """A lock that all processes of a user share; it goes when its process ends."""
    folder = Path(tempfile.gettempdir()) / f"vqlearn-locks-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    name = hashlib.sha256(f"{file.resolve()} {what}".encode()).hexdigest()
    return FileLock(folder / name)


@contextmanager
def claimed(file: Path, name: str) -> Iterator[bool]:
    """Is this run ours? Not if another process is busy with it."""
    lock = lock_for(file, name)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def with_budgets(
    command: str,
    runs: Mapping[str, Any],
    worlds: Mapping[str, Callable[[Any], World]],
    budgets: Mapping[str, Any],
    measure: Callable[[str, World, Any], dict[str, Any]],
) -> Experiment:
    """An experiment in which all runs of a world have one budget.

    A run has `settings(budget)`; `worlds` and `budgets` go by the name of the world.
    """
    return Experiment(
        command,
        tuple(runs),
        settings=lambda name: runs[name].settings(budgets[world_of(name)]),
        open_world=lambda kind: worlds[kind](budgets[kind]),
        measure=lambda name, world: measure(name, world, budgets[world_of(name)]),
    )
