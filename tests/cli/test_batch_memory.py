"""`vqlearn batch` takes as much memory after a thousand prompts as after a hundred.

`make soak` makes 1,000 images and sees a leak of 0.005 MB an image; `make test`, 300 of them, one
of 0.02 MB. Both are in a process of their own, of a tiny checkpoint.
"""

import json
import os
import subprocess
import sys

from support.tiny import write_diffusers_folder

LARGE = os.environ.get("VQLEARN_LARGE_FOLDER") == "1"
FIRST, LAST = 100, 1_000 if LARGE else 300
BATCH = 10
MOST = 4  # megabytes that the last images may add: what an allocator keeps
SCRIPT = """
import json, psutil
from vqlearn.cli import many
from vqlearn.cli.commands import main

write, used, kept = many.write_images, [], []

def watched(pipeline, jobs, *how):
    write(pipeline, jobs, *how)
    LEAK
    used.append(psutil.Process().memory_info().rss / 1e6)
    with open("memory.json", "w") as file:
        json.dump(used, file)

many.write_images = watched
main()
"""


def memory(folder, leak="pass"):
    """The megabytes of a `vqlearn batch` after each batch of images."""
    write_diffusers_folder(folder / "model")
    prompts = [f"a red circle, number {i}" for i in range(LAST)]
    (folder / "prompts.txt").write_text("\n".join(prompts))
    code = SCRIPT.replace("LEAK", leak)
    options = ["--model", "model", "--steps", "2", "--batch-size", str(BATCH), "--device", "cpu"]
    command = [sys.executable, "-c", code, "batch", "prompts.txt", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    return json.loads((folder / "memory.json").read_text())


def added(used):
    """What the images after the first hundred add to the memory."""
    assert len(used) == LAST // BATCH
    return used[-1] - used[FIRST // BATCH - 1]


def test_memory_does_not_grow_with_the_number_of_prompts(tmp_path):
    used = memory(tmp_path)
    told = f"{used[FIRST // BATCH - 1]:.1f} MB after {FIRST} images, {used[-1]:.1f} after {LAST}"
    print(told)
    assert added(used) < MOST, told


def test_a_leak_is_seen(tmp_path):
    """One that keeps as much as the images of a model of 128 pixels, a number a channel."""
    assert added(memory(tmp_path, leak='kept.append(b"x" * 50_000 * len(jobs))')) > MOST
