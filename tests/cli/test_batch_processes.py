"""`vqlearn batch` in two real processes: nothing is made twice, and one of them may be killed."""

import json
import os
import subprocess
import sys

import pytest
from support.tiny import write_diffusers_folder

IMAGES = 30
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node=2"],
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2"],
}
SCRIPT = """
import os, signal, sys
from vqlearn.cli import many
from vqlearn.cli.commands import main

rank, killed = os.environ["RANK"], sys.argv.pop(1)
write, calls = many.write_images, []

def watched(pipeline, jobs, *how):
    calls.append(jobs)
    if rank == killed and len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    write(pipeline, jobs, *how)
    with open(f"made-{rank}", "a") as made:
        made.writelines(job.file_name + "\\n" for job in jobs)

many.write_images = watched
main()
"""


@pytest.fixture
def launched(tmp_path):
    """Runs the command in two processes with a launcher; one of them kills itself in its work."""
    write_diffusers_folder(tmp_path / "model")
    (tmp_path / "both.py").write_text(SCRIPT)
    prompts = [f"a red circle, number {i}" for i in range(IMAGES)]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    options = ["--model", "model", "--steps", "2", "--batch-size", "2", "--dtype", "float64"]

    def launch(launcher, killed):
        command = [*LAUNCHERS[launcher], "both.py", killed, "batch", "prompts.txt", *options]
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    return launch


def made(folder):
    """What the processes say that they have made, since it was asked last."""
    found = []
    for rank in (0, 1):
        file = folder / f"made-{rank}"
        found.append(file.read_text().split() if file.exists() else [])
        file.unlink(missing_ok=True)
    return found


def test_two_processes_make_each_image_once_though_one_was_killed(launched, tmp_path):
    """Of one launcher; the same command of the other then makes what is missing."""
    images, names = tmp_path / "images", [f"{i:06d}.png" for i in range(IMAGES)]
    assert launched("torchrun", killed="1").returncode != 0
    there = sorted(path.name for path in images.glob("0*.png"))
    first, second = made(tmp_path)
    assert len(second) == 4
    assert not set(first) & set(second)
    assert {*first, *second} <= set(there) < set(names)
    before = {name: (images / name).stat().st_mtime_ns for name in there}
    result = launched("accelerate", killed="nobody")
    assert (result.returncode, result.stdout.split()) == (0, ["images"]), result.stderr
    first, second = made(tmp_path)
    assert sorted([*there, *first, *second]) == names
    assert len(first) - len(second) in (0, 1)
    assert before == {name: (images / name).stat().st_mtime_ns for name in there}
    lines = (images / "metadata.jsonl").read_text().splitlines()
    prompts = (tmp_path / "prompts.txt").read_text().split("\n")
    told = [(line["file_name"], line["text"]) for line in map(json.loads, lines)]
    assert told == list(zip(names, prompts, strict=True))
    assert len({path.read_bytes() for path in images.glob("*.png")}) == IMAGES
