"""What the processes of one training do together: one of them works, all of them agree."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
def alone_in(folder: Path, accelerator: Accelerator) -> Iterator[None]:
    """Keep other trainings out of a folder. The lock is gone with its process, killed or not.

    Raises `BlockingIOError` if another training is in the folder.
    """
    file = folder / FOLDER / "lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)

    def acquire() -> None:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise BlockingIOError(
                f"{folder} is used by another training; wait until it ends, or choose another "
                "folder with --out"
            ) from None

    in_main_process(accelerator, acquire)
    try:
        yield
    finally:
        lock.release()
