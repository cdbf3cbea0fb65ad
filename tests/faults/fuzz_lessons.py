"""The lessons in random order, each in a kernel of its own: none needs what another one leaves."""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 900


def soak(count: int, seed: int) -> dict[str, int]:
    """`count` times all lessons; a lesson survives if it prints what it has stored."""
    dice, found = random.Random(seed), {"tried": 0, "survived": 0, "lost": 0}
    for _ in range(count):
        lessons = sorted((ROOT / "notebooks").glob("*.ipynb"))
        dice.shuffle(lessons)
        for lesson in lessons:
            found["tried"] += 1
            found["survived" if prints_the_same(lesson) else "lost"] += 1
    return found


def prints_the_same(lesson: Path) -> bool:
    """Does nbval pass, offline and in an empty folder?"""
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env"]
    command += ["-p", "no:cacheprovider", "--nbval-cell-timeout=180", str(lesson)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests/offline")}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=SECONDS
        )
    return done.returncode == 0
