"""All that is tried against the package at full size, and the table of what came of it.

    make soak

Each part's result is kept in figures/faults.json as soon as it is there, and figures/faults.md
shows them. `--only NAME` runs one part again.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from faults import (
    fuzz_checkpoints,
    fuzz_data,
    fuzz_lessons,
    fuzz_numbers,
    fuzz_prompts,
    fuzz_training,
)

from vqlearn.lessons.marks import write_between

FIGURES = Path(__file__).parents[2] / "figures"
RESULTS, PAGE = FIGURES / "faults.json", FIGURES / "faults.md"
FAULTS = {
    "foreign": "foreign error",
    "hung": "no answer in 10 s",
    "loaded_other": "silent change",
    "executed": "executed",
    "lost": "lost, or another result",
}


class Part(NamedTuple):
    """What is tried, how often, and what does it: soak(count, seed) -> how many came out how."""

    what: str
    count: int
    soak: Callable[[int, int], dict[str, int]]


PARTS = {
    "checkpoints": Part("damaged checkpoints, and malicious pickles", 2000, fuzz_checkpoints.soak),
    "images": Part("damaged images and lines of image folders", 2000, fuzz_data.soak),
    "kills": Part(
        "kills of a training at random moments and inside writes", 100, fuzz_training.kills
    ),
    "disks": Part("disks full at some moment of a training", 20, fuzz_training.full_disks),
    "numbers": Part(
        "random schedules and extreme predictions, against enumeration", 1000, fuzz_numbers.soak
    ),
    "prompts": Part("prompts of any characters, memory flat", 1000, fuzz_prompts.soak),
    "lessons": Part("lessons, all in random order, ten times", 10, fuzz_lessons.soak),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=list(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [options.only] if options.only else PARTS:
        begin = time.perf_counter()
        counts = PARTS[name].soak(PARTS[name].count, options.seed)
        seconds = round(time.perf_counter() - begin)
        results[name] = {**counts, "seed": options.seed, "seconds": seconds}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(name, results[name], flush=True)
    write_between(PAGE, "faults", table(results))
    print(f"{PAGE.name}: {os.cpu_count()} cores")


def table(results: dict[str, dict[str, int]]) -> str:
    """What was tried, how often it ended as it should, and every other end."""
    titles = ("what", "tried", "as it should", *FAULTS.values())
    lines = [titles, ["---"] * len(titles)]
    for name, part in PARTS.items():
        if name in results:
            found = results[name]
            faults = [found.get(fault, 0) for fault in FAULTS]
            numbers = (found["tried"], found["tried"] - sum(faults), *faults)
            lines.append((part.what, *map(str, numbers)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
