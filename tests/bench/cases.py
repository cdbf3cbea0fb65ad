"""All cases by name, in the order of the table."""

from bench import (
    distributions,
    floor,
    generation,
    growth,
    images,
    memory,
    raster,
    rules,
    starting,
    training,
)
from bench.case import Case, Setting

ROOMS = (
    *(generation, distributions, starting, training, raster, memory, growth, rules, images, floor),
)
CASES: dict[str, Case] = {name: case for room in ROOMS for name, case in room.CASES.items()}


def chosen(only: list[str], setting: Setting) -> dict[str, Case]:
    """The cases whose name is one of `only` or begins with it and "/" or "-"; without `only` all.

    Those that need what is not there are left out. Raises `ValueError` for a name that fits none.
    """
    possible = {name: case for name, case in CASES.items() if setting.has(case.needs)}
    for wanted in only:
        if not any(fits(name, wanted) for name in possible):
            allowed = ", ".join(possible)
            raise ValueError(f"--only is {wanted!r}; allowed: beginnings of {allowed}")
    asked = {name for name in possible for wanted in only if fits(name, wanted)}
    return {name: case for name, case in possible.items() if not only or name in asked}


def fits(name: str, wanted: str) -> bool:
    """Is it the name of the case, or a beginning of it that ends where a word ends?"""
    return name == wanted or name.startswith((f"{wanted}/", f"{wanted}-"))
