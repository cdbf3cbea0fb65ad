"""Change one line of the package at a time, and see whether its tests notice: `make mutants`.

Writes figures/mutants.json: how many changes were noticed ("killed"), of how many, and the
survivors, each with the reason that was written into that file before. A run that was stopped goes
on: what is known of the same change, code and tests stands in .mutants.json.
"""

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import Queue
from threading import Lock

from mutation.sites import KINDS, ROOT, Site, draw

from vqlearn.lessons.marks import write_between

REPORT, PAGE = ROOT / "figures" / "mutants.json", ROOT / "figures" / "faults.md"
KNOWN = ROOT / ".mutants.json"
SECONDS = 900  # a change that makes a test endless is noticed too
COMMAND = "make mutants"
LOCK = Lock()
BROAD = {  # tests of several rooms, run where those of the file's own room notice nothing
    "probability": ("diffusion", "contracts", "frozen"),
    "checkpoints": ("faults", "pipeline", "cli"),
    "data": ("training", "faults"),
    "storage": ("faults", "checkpoints"),
    "training": ("faults", "frozen"),
    "pipeline": ("faults", "cli"),
    "tokens": ("frozen", "training", "checkpoints"),
    "text": ("pipeline", "evaluation"),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=2, help="changes of each kind in each room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="rooms or files whose name holds this")
    options = parser.parse_args()
    sites = [site for site in draw(options.each, options.seed) if options.only in site.file]
    copies = Queue()
    for _ in range(options.processes):
        copies.put(_copy_of_the_project())
    survivors = []

    def work(site: Site) -> None:
        copy = copies.get()
        try:
            killer = try_out(site, copy)
        finally:
            copies.put(copy)
        print(f"{killer or 'SURVIVED':<60} {describe(site)}", flush=True)
        if killer is None:
            survivors.append(site)

    pool = ThreadPoolExecutor(options.processes)
    try:
        for tried in as_completed([pool.submit(work, site) for site in sites]):
            tried.result()
    finally:
        pool.shutdown(cancel_futures=True)
    for _ in range(options.processes):
        shutil.rmtree(copies.get())
    if not options.only:
        write(sites, survivors, options.seed)


def try_out(site: Site, copy: Path) -> str | None:
    """The tests that notice the change, or None: first those of the file, then those around it.

    Raises `RuntimeError` with the failure if the tests fail without any change.
    """
    file, original = copy / site.file, (copy / site.file).read_bytes()
    for tests in matching_tests(site.file, copy):
        _known(None, site.file, tests, copy)
        file.write_bytes(site.apply(original))
        try:
            if not _known(site, site.file, tests, copy):
                return " ".join(tests)
        finally:
            file.write_bytes(original)
    return None


def _known(site: Site | None, file: str, tests: list[str], copy: Path) -> bool:
    """Do the tests pass with this change, or without any? Looked up, or tried and noted."""
    room = Path("vqlearn", Path(file).parts[1])
    digest = hashlib.sha256(repr((site, tests)).encode())
    for name in (str(room), *tests):
        for path in sorted((ROOT / name).rglob("*.py")) or [ROOT / name]:
            digest.update(path.read_bytes())
    key = digest.hexdigest()
    with LOCK:
        known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    if key in known:
        return known[key]
    passed, printed = _try(tests, copy)
    if site is None and not passed:
        raise RuntimeError(f"{tests} fail without any change; allowed: tests that pass\n{printed}")
    with LOCK:
        known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
        KNOWN.write_text(json.dumps({**known, key: passed}))
    return passed


def matching_tests(file: str, root: Path) -> list[list[str]]:
    """In the order in which they are tried: the nearest, the room, rooms around it.

    The nearest are the mirrored test file or, where there is none, those that use a name of the
    file.
    """
    parts = Path(file).relative_to("vqlearn").parts
    own = Path("tests", *parts[:-1], f"test_{Path(file).stem}.py")
    nearest = [str(own)] if (root / own).exists() else _tests_that_name(file, root)
    around = [f"tests/{name}" for name in BROAD.get(parts[0], ("contracts", "frozen"))]
    rounds = [nearest, [f"tests/{parts[0]}"], [*around, "tests/test_structure.py"]]
    there = [[test for test in tests if (root / test).exists()] for tests in rounds]
    return [tests for tests in there if tests]


def _tests_that_name(file: str, root: Path) -> list[str]:
    """The room's test files that use a function or class of this file."""
    tree = ast.parse((root / file).read_bytes())
    defined = [getattr(node, "name", "_") for node in tree.body]
    names = re.compile(rf"\b({'|'.join(name for name in defined if name[0] != '_')})\b")
    tests = sorted((root / "tests" / Path(file).parts[1]).rglob("test_*.py"))
    found = [test for test in tests if names.search(test.read_text(encoding="utf-8"))]
    return [str(test.relative_to(root)) for test in found]


def describe(site: Site) -> str:
    """A line for people."""
    return f"{site.file}:{site.line} {site.kind}: {site.before} -> {site.after}"


def write(sites: list[Site], survivors: list[Site], seed: int) -> None:
    """The report; reasons that stand in the last one are kept."""
    before = json.loads(REPORT.read_text())["survivors"] if REPORT.exists() else []
    reasons = {(one["file"], one["source"], one["after"]): one["reason"] for one in before}
    listed = []
    for site in sorted(survivors):
        source = (ROOT / site.file).read_text(encoding="utf-8").splitlines()[site.line - 1].strip()
        reason = reasons.get((site.file, source, site.after), "")
        change = {"kind": site.kind, "before": site.before, "after": site.after}
        listed.append({"file": site.file, "source": source, **change, "reason": reason})
    report = {
        "command": COMMAND,
        "seed": seed,
        "total": len(sites),
        "killed": len(sites) - len(survivors),
        "kinds": {kind: _share(kind, sites, survivors) for kind in KINDS},
        "survivors": listed,
    }
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    write_between(PAGE, "mutants", table(report))
    print(f"{report['killed']} of {report['total']} were noticed; see {REPORT.relative_to(ROOT)}")


def table(report: dict) -> str:
    """How many changes of each kind were noticed."""
    lines = ["| changed | times | noticed |", "| --- | --- | --- |"]
    rows = [*report["kinds"].items(), ("all", report)]
    lines += [f"| {kind} | {share['total']} | {share['killed']} |" for kind, share in rows]
    return "\n".join(lines)


def _share(kind: str, sites: list[Site], survivors: list[Site]) -> dict[str, int]:
    total, alive = Counter(site.kind for site in sites), Counter(site.kind for site in survivors)
    return {"total": total[kind], "killed": total[kind] - alive[kind]}


def _copy_of_the_project() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    for name in ("vqlearn", "tests", "notebooks", "figures"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "Makefile"):
        shutil.copy(ROOT / name, folder)
    return folder


def _try(tests: list[str], copy: Path) -> tuple[bool, str]:
    """Do these tests pass in this copy of the project, in time? And what did they print?"""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            command,
            cwd=copy,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            found = process.wait(timeout=SECONDS)
            printed.seek(0)
            text = printed.read().decode(errors="replace")[-2000:]
        except subprocess.TimeoutExpired:
            return False, f"not ended after {SECONDS} s"
        finally:
            _end_all(process)
    if found not in (0, 1, 2):  # passed, failed, could not be imported
        raise RuntimeError(f"pytest ended with {found}; allowed: 0, 1, 2\n{text}")
    return found == 0, text


def _end_all(process: subprocess.Popen) -> None:
    """The process and whatever its tests have started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


if __name__ == "__main__":
    begin = time.perf_counter()
    main()
    print(f"{time.perf_counter() - begin:.0f} s")
