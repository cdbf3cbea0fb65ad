"""What the processes of one training do together: one of them works, all of them agree."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from vqlearn.training.state import FOLDER


def in_main_process(accelerator: Accelerator, work: Callable[[], None]) -> None:
    """Do `work` in the main process while the others wait. If it raises, all of them raise."""
    failed: list[Exception | None] = [None]
    if accelerator.is_main_process:
        try:
            work()
        except Exception as error:
            failed[0] = error
    if accelerator.num_processes > 1:
        broadcast_object_list(failed)
    if failed[0] is not None:
        raise failed[0]


def largest(accelerator: Accelerator, number: int) -> int:
    """The largest of the numbers that the processes have."""
    if accelerator.num_processes == 1:
        return number
    return int(accelerator.gather(torch.tensor([number], device=accelerator.device)).max())


@contextmanager
def holding(lock: Path, accelerator: Accelerator, refusal: str) -> Iterator[None]:
    """Keep other commands out while the processes of this one work.

    The lock is gone with the main process, killed or not. Raises `BlockingIOError` with the text of
    the refusal in all processes if another command holds the lock.
    """
    held = FileLock(lock)

    def acquire() -> None:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(blocking=False)
        except Timeout:
            raise BlockingIOError(refusal) from None

    in_main_process(accelerator, acquire)
    try:
        yield
    finally:
        held.release()


def alone_in(folder: Path, accelerator: Accelerator) -> AbstractContextManager[None]:
    """Keep other trainings out of a folder, as `holding` does."""
    refusal = (
        f"{folder} is used by another training; wait until it ends, or choose another folder with "
        "--out"
    )
    return holding(folder / FOLDER / "lock", accelerator, refusal)
