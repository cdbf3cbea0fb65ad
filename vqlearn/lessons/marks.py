"""Parts of a page that a command writes: what stands between two marks, `<!-- x -->` and after."""

from pathlib import Path


def write_between(page: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- mark -->` and `<!-- /mark -->`; all else stays.

    Raises `ValueError` if the page does not have both marks, once each.
    """
    before, _, after = _parts(page, mark)
    page.write_text(f"{before}\n{text.strip()}\n{after}", encoding="utf-8")


def between(page: Path, mark: str) -> str:
    """What stands between the marks, without the line ends around it. Raises as `write_between`."""
    return _parts(page, mark)[1].strip("\n")


def _parts(page: Path, mark: str) -> tuple[str, str, str]:
    """The page up to the first mark, what stands between, and the page from the second mark on."""
    whole = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if whole.count(begin) != 1 or whole.count(end) != 1:
        raise ValueError(f"{page} has not both marks of {mark!r}; allowed: {begin} and {end}, once")
    before, _, rest = whole.partition(begin)
    inside, _, after = rest.partition(end)
    return before + begin, inside, end + after
