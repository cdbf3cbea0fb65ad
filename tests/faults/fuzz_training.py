"""Trainings that are killed, or find no room, at random moments: is anything lost?

    kills(100, seed=0)       # {"tried": 100, "survived": 100, "lost": 0, "foreign": 0}
    full_disks(20, seed=0)

A tiny training of all stages is broken off and started again, until it ends; then its checkpoint
must have the bytes of one that nobody touched. `lost` counts those that have others; `foreign` ends
with anything but one line of `OSError` or `ValueError`, or with files that nobody deletes.
"""

import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from support.training import make_small

from vqlearn.training import Recipe, Run, best_accelerator, state
from vqlearn.training.stages import order

RECIPE = Recipe(steps=4, batch_size=2, learning_rate=1e-3, ema_decay=0.9, save_every=1)
DONE, REFUSED, FOREIGN = 0, 3, 4
WRITES = os.O_WRONLY | os.O_RDWR
MOST_SECONDS = 300  # of a training that hangs


class Fault(NamedTuple):
    """What goes wrong, and when: at this call, at this size of a file, or after these seconds."""

    kind: str
    amount: float


# in the process that trains


def attempt(folder: str, fault: Fault | None) -> None:
    """Train here, to the end or to the fault; the exit code says what came of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    make_small()
    if fault is not None:
        FAULTS[fault.kind](Path(folder), fault.amount)
    try:
        train(Path(folder))
    except (OSError, ValueError) as error:
        told = len(str(error)) <= 400 and "\n" not in str(error)
        if not told:
            traceback.print_exc()
        os._exit(REFUSED if told else FOREIGN)
    except BaseException:
        traceback.print_exc()
        os._exit(FOREIGN)
    os._exit(DONE)


def train(folder: Path) -> None:
    """All stages, with a discriminator."""
    source, options = order.open_source("scenes", 16), {"tokens": {"discriminator": True}}
    for name in order.VQ_DIFFUSION:
        run = Run(folder, source, RECIPE, best_accelerator())
        order.train(name, run, **options.get(name, {}))


def at_each_change(folder: Path, do: Callable[[], None]) -> None:
    """Call `do` before anything in the folder is opened for writing, named, deleted or synced."""

    def hook(event: str, found: tuple) -> None:
        opened = event == "open" and isinstance(found[2], int) and found[2] & WRITES
        named = event in ("os.rename", "os.mkdir")
        inside = (opened or named) and str(folder) in str(found[0])
        if inside or event in ("os.remove", "os.rmdir"):
            do()

    fsync = os.fsync

    def synced(number: int) -> None:
        do()
        fsync(number)

    os.fsync = synced
    sys.addaudithook(hook)


def count_down(amount: float, do: Callable[[], None]) -> Callable[[], None]:
    """A function that does it when it is called so many times."""
    left = [int(amount)]

    def counted() -> None:
        left[0] -= 1
        if left[0] == 0:
            do()

    return counted


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def no_room() -> None:
    raise OSError(28, "No space left on device")


def half_written(folder: Path, amount: float) -> None:
    """Die when half of this file of tensors is written."""
    save, counted = state.save_file, count_down(amount, die)

    def cut(tensors, file, about=None):
        save(tensors, file, about)
        os.truncate(file, os.path.getsize(file) // 2)
        counted()
        save(tensors, file, about)

    state.save_file = cut


def limited(folder: Path, amount: float) -> None:
    """No file gets longer than so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(amount), resource.RLIM_INFINITY))


def result_limited(folder: Path, amount: float) -> None:
    """The same, of the files of a result only: states, which are larger, have room."""
    save = order._save

    def saved(*task) -> None:
        limited(folder, amount)
        save(*task)

    order._save = saved


FAULTS = {
    "kill": lambda folder, amount: at_each_change(folder, count_down(amount, die)),
    "half": half_written,
    "alarm": lambda folder, amount: signal.setitimer(signal.ITIMER_REAL, amount),  # ends it
    "no room": lambda folder, amount: at_each_change(folder, count_down(amount, no_room)),
    "size": limited,
    "size of a result": result_limited,
}


# in the process that asks


def kills(count: int, seed: int) -> dict[str, int]:
    """Kill -9: before a change of the folder, inside a file of tensors, at any time."""
    draw = random.Random(seed)
    kinds = {"kill": (1, 120), "half": (1, 6), "alarm": (0.05, 2.0)}
    return tally(count, lambda: drawn(draw, kinds), -signal.SIGKILL, -signal.SIGALRM)


def full_disks(count: int, seed: int) -> dict[str, int]:
    """No room for one of the calls that write, or for more than so many bytes of a file."""
    draw = random.Random(seed)
    kinds = {"no room": (1, 120), "size": (0, 300_000), "size of a result": (0, 200_000)}
    return tally(count, lambda: drawn(draw, kinds), REFUSED)


def drawn(draw: random.Random, kinds: dict[str, tuple[float, float]]) -> Fault:
    kind = draw.choice(sorted(kinds))
    return Fault(kind, draw.uniform(*kinds[kind]))


def tally(count: int, fault: Callable[[], Fault], *expected: int) -> dict[str, int]:
    """Break trainings off this often, and let each end at last."""
    found = {"tried": 0, "survived": 0, "lost": 0, "foreign": 0}
    with tempfile.TemporaryDirectory() as scratch, forkserver() as run:
        whole = Path(scratch) / "whole"
        assert run(whole, None) == DONE
        while found["tried"] < count:
            folder, broken = Path(tempfile.mkdtemp(dir=scratch)) / "run", 0
            while (code := run(folder, fault() if found["tried"] < count else None)) != DONE:
                found["tried"] += 1
                broken += 1
                if code not in expected or (code == REFUSED and litter(folder)):
                    found["foreign"] += 1
                    break
            else:
                same = sums(folder) == sums(whole) and not litter(folder)
                found["survived" if same else "lost"] += broken
    return found


def sums(folder: Path) -> str:
    return (folder / "SHA256SUMS").read_text()


def litter(folder: Path) -> list[Path]:
    """Files that an end should have deleted."""
    return [path for path in folder.rglob("*") if "part" in path.name]


@contextmanager
def forkserver():
    """Gives a function that runs an `attempt` in a process of its own, and its exit code.

    A server imports everything once, and is forked for each.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])

    def run(folder: Path, fault: Fault | None) -> int:
        process = context.Process(target=attempt, args=(str(folder), fault))
        process.start()
        process.join(MOST_SECONDS)
        process.kill()
        process.join()
        return process.exitcode

    path = os.pathsep.join(sys.path)  # the server takes over no other
    settings = {"PYTHONPATH": path, "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with mock.patch.dict(os.environ, settings):
        yield run
