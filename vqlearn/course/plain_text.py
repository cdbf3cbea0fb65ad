"""Texts of students and of ours, so that nothing in them means anything where they are shown."""

import re

FORMULA = ("=", "+", "-", "@")


def as_code(text: str) -> str:
    """A text of a student in Markdown, on one line: nothing in it is a link, an image or HTML."""
    line = _one_line(text)
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if "`" in line else f"`{line or ' '}`"


def table_cell(text: str) -> str:
    """The same in a table of Markdown, where a bar would end the cell; nothing stays nothing."""
    return as_code(text).replace("|", "\\|") if text else ""


def plain(text: str) -> str:
    """A text of ours in Markdown, where no character of it means anything."""
    return re.sub(r"([\\`*_<>\[\]|$])", r"\\\1", " ".join(text.split()))


def no_formula(value: object) -> object:
    """A spreadsheet takes what begins like a formula for one, unless an apostrophe precedes it."""
    if not isinstance(value, str):
        return value
    line = _one_line(value)
    return f"'{line}" if line.startswith(FORMULA) else line


def _one_line(text: str) -> str:
    """Without characters that cannot be seen, which could begin a new row."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
