"""Ctrl-C and SIGTERM in a training: the step ends and its state is saved before anything stops."""

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A training was asked to stop and has saved its state; `exit_code` is what shells expect."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Interruption:
    """Inside `with`, a signal only sets `asked` to its number; a second Ctrl-C stops at once.

    Signals that are ignored stay so. Outside the main thread, where Python allows no handlers,
    nothing changes.
    """

    def __init__(self) -> None:
        self.asked = 0

    def __enter__(self) -> "Interruption":
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            known = (None, signal.SIG_IGN)  # None: not set by Python, which could not restore it
            self.before = {n: handler for n, handler in handlers.items() if handler not in known}
        for number in self.before:
            signal.signal(number, self._remember)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.asked and kind is None:
            signal.raise_signal(self.asked)  # it came too late to be seen

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number


def leave_signals_to_the_main_process(worker: int) -> None:
    """For the start of a process that loads batches: it ends together with the main process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
