"""Runs that are measured one by one into one JSON file: a command that was stopped goes on.

A `Run` knows its id, its settings and how it is measured; a `Study` is all runs of one command.
A run counts as measured while the file holds it with the settings that it has today.
"""

import getpass
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from filelock import FileLock, Timeout

from vqlearn.experiments.pages import write_tables
from vqlearn.experiments.report import Facts, Record, Report, from_json, to_json


@runtime_checkable
class Data(Protocol):
    """What runs learn from and are measured on."""

    def describe(self) -> Facts:
        """What is known of it."""


@runtime_checkable
class Run(Protocol):
    """One measurement, which is one entry of the file."""

    id: str
    """Its key in the file: never changed, never cut up."""
    data: str | None
    """The id of its data set; None if it needs none."""
    device: str
    """Where it is measured: "cpu" or "cuda"."""
    result: type
    """The dataclass that `measure` returns."""

    def settings(self) -> dict[str, Any]:
        """All that decides the result, as JSON gives it back."""

    def measure(self, data: Any) -> Any:
        """The result, on the opened data set."""


@dataclass(frozen=True)
class Study:
    """All runs of a command in the order of the file, the data sets by id, and what is shown.

    Plots and tables are made as soon as the runs of `needed` are there; None: all runs.
    """

    name: str
    runs: Sequence[Run]
    data: Mapping[str, Callable[[], Data]]
    plot: Callable[[Report, Path], None]
    tables: Callable[[Report], dict[str, str]]
    needed: frozenset[str] | None = None

    @property
    def command(self) -> str:
        """What makes the file."""
        return f"python -m vqlearn.experiments {self.name}"

    @property
    def file(self) -> str:
        """The name of the file in the folder of figures."""
        return f"{self.name.replace('-', '_')}.json"

    def run(self, folder: Path, only: Sequence[str] | None = None) -> Report:
        """Measure what is missing (of `only` these ids), then make plots and tables."""
        runs = [run for run in self.runs if is_possible(run)]
        report = self.resume(folder, [run for run in runs if only is None or run.id in only])
        waiting = [run for run in self.missing(report) if self.needed is None or run in self.needed]
        if waiting:
            print(f"no plots yet: they need {len(waiting)} more runs, such as {waiting[0]}")
        else:
            self.plot(report, folder)
            write_tables(folder.parent, self.tables(report))
        return report

    def resume(self, folder: Path, runs: Sequence[Run]) -> Report:
        """Measure those of these runs that are missing, and write the file after each.

        Several processes may work on one file: each takes runs that no other is busy with.
        """
        opened: dict[str, Data] = {}
        for run in runs:
            with claimed(folder / self.file, run.id) as mine:
                if mine and self.missing(self.read(folder), [run]):
                    if run.data is not None and run.data not in opened:
                        opened[run.data] = self.data[run.data]()
                    data = None if run.data is None else opened[run.data]
                    record = Record(run.settings(), run.measure(data), machine(run.device))
                    self._add(folder, run, record, data)
                    print(run.id, flush=True)
        return self.read(folder)

    def missing(self, report: Report, runs: Sequence[Run] | None = None) -> list[str]:
        """Which of these runs (by default all) are not there, or have other settings?"""
        done = {id: record.settings for id, record in report.runs.items()}
        runs = self.runs if runs is None else runs
        return [run.id for run in runs if done.get(run.id) != run.settings()]

    def read(self, folder: Path) -> Report:
        """The file, or an empty report before the first run."""
        if not (folder / self.file).exists():
            return Report(self.command)
        stored = json.loads((folder / self.file).read_text(encoding="utf-8"))
        found = {run.id: run.result for run in self.runs if run.id in stored["runs"]}
        records = {id: Record(**stored["runs"][id]) for id in found}
        return Report(
            stored["command"],
            from_json(dict[str, Facts], stored["data"]),
            {
                id: replace(record, result=from_json(found[id], record.result))
                for id, record in records.items()
            },
        )

    def write(self, report: Report, folder: Path) -> None:
        """The whole file or none of it, the runs in their order."""
        runs = {run.id: report.runs[run.id] for run in self.runs if run.id in report.runs}
        text = json.dumps(to_json(Report(self.command, report.data, runs)), indent=1) + "\n"
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = (folder / self.file).with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, folder / self.file)

    def _add(self, folder: Path, run: Run, record: Record, data: Data | None) -> None:
        with lock_for(folder / self.file, "written"):
            report = self.read(folder)
            report.runs[run.id] = record
            if data is not None and run.data not in report.data:
                report.data[run.data] = data.describe()
            self.write(report, folder)


def is_possible(run: Run) -> bool:
    """Can this run be measured here?"""
    return run.device == "cpu" or torch.cuda.is_available()


def best_device() -> str:
    """CUDA if there is a device, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def machine(device: str) -> str:
    """The machine that a device belongs to, as far as it decides how long something takes."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} in use"


def lock_for(file: Path, what: str) -> FileLock:
    """A lock that all processes of a user share; it goes when its process ends."""
    folder = Path(tempfile.gettempdir()) / f"vqlearn-locks-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    name = hashlib.sha256(f"{file.resolve()} {what}".encode()).hexdigest()
    return FileLock(folder / name)


@contextmanager
def claimed(file: Path, id: str) -> Iterator[bool]:
    """Is this run ours? Not if another process is busy with it."""
    lock = lock_for(file, id)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
