"""Inside a lesson: the package's own source, and a bar that leaves no trace in the notebook."""

import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from textwrap import dedent

from tqdm import tqdm

PACKAGE = Path(__file__).parent.parent


def source_of(piece: Callable) -> str:
    """Where a function, method or class of vqlearn stands, and its very source.

    Raises `TypeError` for anything that is not defined in a file of vqlearn.
    """
    try:
        file = Path(inspect.getsourcefile(inspect.unwrap(piece))).relative_to(PACKAGE)
    except (TypeError, ValueError):
        raise TypeError(
            f"{piece!r} cannot be shown; allowed: a function, method or class of vqlearn"
        ) from None
    return f"# vqlearn/{file.as_posix()}\n{dedent(inspect.getsource(inspect.unwrap(piece)))}"


def show(piece: Callable) -> None:
    """Print where a function, method or class of vqlearn stands, and its very source.

    The output is part of the lesson: if the source changes, the lesson has to be run again.
    Raises `TypeError` for anything that is not defined in a file of vqlearn.
    """
    print(source_of(piece), end="")


def progress(steps: Iterable, what: str) -> Iterable:
    """Go through `steps`, with a bar in a terminal, and without one in a notebook.

    There the bar would become part of the stored output, and differ at every run.
    """
    return tqdm(steps, desc=what, leave=False, disable=not sys.stderr.isatty())
