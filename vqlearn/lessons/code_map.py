"""The map of the code in vqlearn/README.md: `python -m vqlearn.lessons.code_map`.

Every room and every file with the first sentence of its docstring, so that nobody types it twice.
"""

import ast
from pathlib import Path

from vqlearn.lessons.marks import write_between

PACKAGE = Path(__file__).parents[1]
PAGE, MARK = PACKAGE / "README.md", "map"
ROOMS = (
    *("probability", "tokens", "text", "diffusion", "transformer", "autoregressive"),
    *("continuous", "storage", "data", "checkpoints", "released", "pipeline", "training"),
    *("evaluation", "course", "challenge", "lessons", "experiments", "cli"),
)
"""In the order of reading."""


def code_map() -> str:
    """A heading for each room, a line for each file; rooms inside rooms follow their room.

    Raises `ValueError` if a room is not in `ROOMS`.
    """
    there = {file.parent.relative_to(PACKAGE).parts[0] for file in PACKAGE.glob("*/__init__.py")}
    if there != set(ROOMS):
        raise ValueError(f"the rooms are {sorted(there)}; allowed: {sorted(ROOMS)}")
    folders = [
        folder
        for room in ROOMS
        for folder in sorted(file.parent for file in (PACKAGE / room).rglob("__init__.py"))
    ]
    return "\n\n".join(_room(folder) for folder in folders)


def _room(folder: Path) -> str:
    files = sorted(file for file in folder.glob("*.py") if file.name != "__init__.py")
    name = folder.relative_to(PACKAGE).as_posix()
    lines = [f"- [`{file.name}`]({name}/{file.name}) {_summary(file)}" for file in files]
    return "\n".join([f"## {name}", "", _summary(folder / "__init__.py"), "", *lines])


def _summary(file: Path) -> str:
    """The first paragraph of its docstring, on one line."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return " ".join((docstring or "").partition("\n\n")[0].split())


if __name__ == "__main__":
    write_between(PAGE, MARK, code_map())
