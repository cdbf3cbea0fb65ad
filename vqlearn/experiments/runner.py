"""Runs that are measured one by one into one JSON file: a command that was stopped goes on.

A `Study` is all runs of one command. A run counts as measured while the file holds it with the
settings that it has today.
"""

import getpass
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from vqlearn.experiments.pages import write_tables
from vqlearn.experiments.report import Facts, Record, Report, Run, from_json, to_json


@dataclass(frozen=True)
class Study:
    """All runs of a command in the order of the file, the data sets by id, and what is shown.

    A data set is opened with the budget of the first run that needs it; `describe` gives its facts.
    Plots and tables are made as soon as the runs of `needed` are there; None: all runs.
    """

    name: str
    runs: Sequence[Run]
    data: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    plot: Callable[[Report, Path], None] = lambda report, folder: None
    tables: Callable[[Report], dict[str, str]] = lambda report: {}
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
        opened: dict[str | None, Any] = {None: None}
        for run in runs:
            with claimed(folder / self.file, run.id) as mine:
                if mine and self.missing(self.read(folder), [run]):
                    if run.data not in opened:
                        opened[run.data] = self.data[run.data](run.budget)
                    data = opened[run.data]
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
        report = Report(stored["command"], from_json(dict[str, Facts], stored["data"]))
        for run in self.runs:
            if run.id in stored["runs"]:
                record = stored["runs"][run.id]
                result = from_json(run.result, record["result"])
                report.runs[run.id] = Record(**{**record, "result": result})
        return report

    def write(self, report: Report, folder: Path) -> None:
        """The whole file or none of it, the runs in their order."""
        runs = {run.id: report.runs[run.id] for run in self.runs if run.id in report.runs}
        text = json.dumps(to_json(Report(self.command, report.data, runs)), indent=1) + "\n"
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = (folder / self.file).with_suffix(".unfinished")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, folder / self.file)

    def _add(self, folder: Path, run: Run, record: Record, data: Any) -> None:
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
    with suppress(Timeout):
        lock.acquire(blocking=False)
    try:
        yield lock.is_locked
    finally:
        lock.release()
