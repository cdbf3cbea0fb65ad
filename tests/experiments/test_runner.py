"""Runs go into one file, one by one: stopped, repeated, asked for, and by several processes."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from vqlearn.experiments import runner
from vqlearn.experiments.__main__ import STUDIES, main
from vqlearn.experiments.report import Facts, Run
from vqlearn.experiments.runner import Study, claimed, is_possible, lock_for


class Stopped(Exception):
    """Ctrl-C, or a machine that went down."""


@dataclass(frozen=True)
class Number:
    value: int


@dataclass(frozen=True)
class FakeRun(Run):
    """A run without any network; `find` says its number."""

    id: str
    data: str | None
    find: object
    told: int = 0
    device: str = "cpu"
    budget = "a budget"

    def settings(self):
        return {"of": self.id, "told": self.told}

    def measure(self, data) -> Number:
        assert (data is None) == (self.data is None)
        return Number(self.find(self.id))


class FakeData:
    def __init__(self, budget):
        assert budget == FakeRun.budget

    def describe(self):
        return Facts("bits", 2, {"uniform guess": 1.0})


def study(find, told=0, needed=None, shown=None):
    """Three runs of two data sets and one of none."""
    kinds = {"letters/a": "letters", "letters/b": "letters", "digits/a": "digits", "cost/a": None}
    return Study(
        "a-study",
        [FakeRun(id, data, find, told) for id, data in kinds.items()],
        {"letters": FakeData, "digits": FakeData},
        plot=lambda report, folder: (shown if shown is not None else []).append(report),
        tables=lambda report: {"a-mark": f"{len(report.runs)} runs"},
        needed=needed,
    )


def numbers(report):
    return {id: record.result.value for id, record in report.runs.items()}


def test_every_run_is_written_with_its_settings_and_read_again(tmp_path):
    found = study(len).run(tmp_path)
    stored = json.loads((tmp_path / "a_study.json").read_text())
    assert stored["command"] == "python -m vqlearn.experiments a-study"
    assert list(stored["runs"]) == ["letters/a", "letters/b", "digits/a", "cost/a"]
    assert stored["runs"]["cost/a"]["settings"] == {"of": "cost/a", "told": 0}
    facts = {"unit": "bits", "num_codes": 2, "baselines": {"uniform guess": 1.0}}
    assert stored["data"] == {"letters": facts, "digits": facts}
    assert numbers(found) == {"letters/a": 9, "letters/b": 9, "digits/a": 8, "cost/a": 6}
    assert study(len).read(tmp_path) == found
    assert all("cores" in record.machine for record in found.runs.values())


def test_an_empty_file_is_read_as_no_runs(tmp_path):
    assert numbers(study(len).read(tmp_path)) == {}


def test_a_stopped_command_goes_on_with_the_runs_that_are_missing(tmp_path):
    asked = []

    def stop_at_third(id):
        asked.append(id)
        if len(asked) == 3:
            raise Stopped
        return len(asked)

    with pytest.raises(Stopped):
        study(stop_at_third).run(tmp_path)
    assert numbers(study(len).read(tmp_path)) == {"letters/a": 1, "letters/b": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["a_study.json"]
    asked.clear()
    found = study(lambda id: asked.append(id) or 7).run(tmp_path)
    assert asked == ["digits/a", "cost/a"]
    assert numbers(found) == {"letters/a": 1, "letters/b": 2, "digits/a": 7, "cost/a": 7}


def test_a_finished_command_measures_nothing_and_other_settings_do(tmp_path):
    study(len).run(tmp_path)
    before = (tmp_path / "a_study.json").read_text()
    study(None).run(tmp_path)
    assert (tmp_path / "a_study.json").read_text() == before
    asked = []
    study(lambda id: asked.append(id) or 1, told=1).run(tmp_path, ["digits/a"])
    assert asked == ["digits/a"]
    assert study(len).missing(study(len).read(tmp_path)) == ["digits/a"]


def test_one_run_can_be_asked_for_and_takes_its_position(tmp_path):
    study(len).run(tmp_path, ["digits/a"])
    found = study(len).run(tmp_path, ["letters/b"])
    assert list(found.runs) == ["letters/b", "digits/a"]
    assert set(found.data) == {"letters", "digits"}


def test_plots_and_tables_are_made_as_soon_as_the_needed_runs_are_there(tmp_path, capsys):
    page, shown = tmp_path / "README.md", []
    page.write_text("before\n<!-- a-mark -->\nold\n<!-- /a-mark -->\nafter\n")
    some = study(len, needed=frozenset({"letters/a", "digits/a"}), shown=shown)
    some.run(tmp_path / "figures", ["letters/a"])
    assert "no plots yet: they need 1 more runs, such as digits/a" in capsys.readouterr().out
    assert not shown
    report = some.run(tmp_path / "figures", ["digits/a"])
    assert shown == [report]
    assert page.read_text() == "before\n<!-- a-mark -->\n2 runs\n<!-- /a-mark -->\nafter\n"


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    report = study(len).run(tmp_path)
    before = (tmp_path / "a_study.json").read_text()
    monkeypatch.setattr(runner.os, "replace", lambda *_: (_ for _ in ()).throw(Stopped))
    report.runs.clear()
    with pytest.raises(Stopped):
        study(len).write(report, tmp_path)
    assert (tmp_path / "a_study.json").read_text() == before


# several processes, one file


def held_by_another_process(lock):
    code = """
import sys, filelock
lock = filelock.FileLock(sys.argv[1])
try:
    lock.acquire(blocking=False)
except filelock.Timeout:
    sys.exit(7)
"""
    run = subprocess.run([sys.executable, "-c", code, lock.lock_file], check=False)
    assert run.returncode in (0, 7)
    return run.returncode == 7


def test_a_run_can_be_claimed_once_at_a_time(tmp_path):
    file = tmp_path / "file.json"
    with claimed(file, "letters/a") as first:
        assert first
        with claimed(file, "letters/a") as second:
            assert not second
        assert held_by_another_process(lock_for(file, "letters/a"))  # nor has the refusal freed it
        with claimed(file, "letters/b") as other, claimed(tmp_path / "b.json", "letters/a") as far:
            assert other
            assert far
        assert not held_by_another_process(lock_for(file, "letters/b"))
    assert not held_by_another_process(lock_for(file, "letters/a"))
    with claimed(file, "letters/a") as again:
        assert again
    assert list(tmp_path.iterdir()) == []


def test_one_file_has_one_lock_by_whatever_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {lock_for(file, "x").lock_file for file in (Path("a.json"), tmp_path / "a.json")}
    assert len(paths) == 1
    assert lock_for(Path("a.json"), "y").lock_file not in paths


def test_a_claim_ends_with_an_exception(tmp_path):
    def stop(id):
        raise Stopped

    with pytest.raises(Stopped):
        study(stop).run(tmp_path, ["letters/a"])
    file = tmp_path / "a_study.json"
    assert not file.exists()
    for name in ("letters/a", "written"):
        assert not held_by_another_process(lock_for(file, name))
    assert numbers(study(len).run(tmp_path, ["letters/a"])) == {"letters/a": 9}


def test_what_another_process_adds_meanwhile_is_kept(tmp_path):
    """The other one starts while the first run is measured, and does all the rest."""
    seen = []

    def other(id):
        seen.append(("other", id))
        return 2

    def first(id):
        seen.append(("first", id))
        study(other).run(tmp_path)
        return 1

    found = study(first).run(tmp_path)
    rest = ("letters/b", "digits/a", "cost/a")
    assert seen == [("first", "letters/a"), *(("other", id) for id in rest)]
    assert numbers(found) == {"letters/a": 1, **dict.fromkeys(rest, 2)}
    assert list(found.runs) == ["letters/a", *rest]


def test_nobody_writes_between_the_reading_and_the_writing(tmp_path, monkeypatch):
    locked, write = [], Study.write

    def spy(self, report, folder):
        locked.append(held_by_another_process(lock_for(folder / self.file, "written")))
        write(self, report, folder)

    monkeypatch.setattr(Study, "write", spy)
    study(len).run(tmp_path, ["letters/a"])
    assert locked == [True]


# the command


@pytest.mark.parametrize(
    "arguments", [["kernels", "--only", "captions/gaussian"], ["face-off", "--only", "quality/x/0"]]
)
def test_the_command_refuses_runs_that_it_does_not_know(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"RUN is '{arguments[-1]}'; allowed: " in capsys.readouterr().err


def test_the_command_refuses_studies_that_it_does_not_know(capsys):
    with pytest.raises(SystemExit):
        main(["family"])
    assert "invalid choice: 'family'" in capsys.readouterr().err
    names = ("shipped-model", "samplers", "frontier", "kernels", "autoregressive", "face-off")
    assert set(STUDIES) == {*names, "unmasking", "null-text", "emoji", "own-images"}


def test_the_command_runs_some_of_a_study(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Study, "run", lambda *given: asked.append(given))
    main(["kernels", "--only", "digits/uniform"])
    main(["samplers"])
    main(["face-off", "--only"])  # plots and tables alone
    assert asked == [
        (STUDIES["kernels"], Path("figures"), ["digits/uniform"]),
        (STUDIES["samplers"], Path("figures"), None),
        (STUDIES["face-off"], Path("figures"), []),
    ]


def test_what_needs_cuda_is_possible_there_only(monkeypatch):
    run = FakeRun("a", None, len, device="cuda")
    for available in (True, False):
        monkeypatch.setattr(runner.torch.cuda, "is_available", lambda found=available: found)
        assert is_possible(run) == available
