"""Parts of a page that a command writes: what stands between two marks, `<!-- x -->` and after."""

from pathlib import Path


def write_between(page: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- mark -->` and `<!-- /mark -->`; all else stays.

    Raises `ValueError` if the page does not have both marks, once each.
    """
    before, begin, after = _around(page, mark)
    page.write_text(f"{before}{begin}\n{text.strip()}\n{after}", encoding="utf-8")


def between(page: Path, mark: str) -> str:
    """What stands between the marks, without the line ends around it. Raises as `write_between`."""
    before, begin, after = _around(page, mark)
    whole = page.read_text(encoding="utf-8")
    return whole[len(before) + len(begin) : len(whole) - len(after)].strip("\n")


def _around(page: Path, mark: str) -> tuple[str, str, str]:
    """What stands before the marks, the first mark, and the second mark with all after it."""
    whole = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if whole.count(begin) != 1 or whole.count(end) != 1:
        raise ValueError(f"{page} has not both marks of {mark!r}; allowed: {begin} and {end}, once")
    before, _, rest = whole.partition(begin)
    return before, begin, end + rest.partition(end)[2]
