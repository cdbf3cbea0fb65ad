"""Conversion takes little more memory than the weights that it writes, whatever else a file holds.

`make soak` converts files of CUB-S (1 GB) and of 388 million weights (8 GB) with an optimizer's
state, `make test` one of 17 million.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from official import files
from official.sizes import FULL, SMALL
from support.official_files import write_clip_tokenizer
from support.peak_memory import PEAK_OF_A_CONVERSION

MOST = 1.3
LARGE = os.environ.get("VQLEARN_FULL_SIZE") == "1"
MEDIUM = replace(
    SMALL["coco_learnable"],
    denoiser=replace(SMALL["coco_learnable"].denoiser, width=448, blocks=6),
)
NAMES = ["coco_learnable", "cub_s"] if LARGE else ["medium"]


def constant(checkpoint):
    """The same nested tensors with memory, all numbers alike; the optimizer's are never read."""
    if isinstance(checkpoint, torch.Tensor):
        return torch.full(checkpoint.shape, 0.5, dtype=checkpoint.dtype)
    if isinstance(checkpoint, dict):
        return {key: constant(value) for key, value in checkpoint.items()}
    return checkpoint


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is that of Linux")
@pytest.mark.parametrize("name", NAMES)
def test_the_peak_is_at_most_1_3_times_the_weights_written(name, tmp_path):
    small, large = SMALL["coco_learnable"], MEDIUM if name == "medium" else FULL[name]
    for place, sizes in (("small", small), ("large", large)):
        checkpoint = constant(files.training_checkpoint(sizes, None))
        for section, prefix in (("model", "transformer."), ("ema", "")):
            buffers = files.schedule_buffers(sizes.denoiser)
            checkpoint[section] |= {prefix + key: value for key, value in buffers.items()}
        (tmp_path / place).mkdir()
        torch.save(checkpoint, tmp_path / place / "model.pth")
        del checkpoint
        files.save_remap(tmp_path / place / "used.pt", sizes)
        write_clip_tokenizer(tmp_path / place / "clip", sizes.text)
    run = subprocess.run(
        [sys.executable, "-c", PEAK_OF_A_CONVERSION, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    size = (tmp_path / "large" / "model.pth").stat().st_size
    peak, written = found["peak"], found["written"]
    print(f"{name}: file {size / 1e6:.0f} MB, written {written / 1e6:.0f}, peak {peak / 1e6:.0f}")
    assert 0.3 * written < peak <= MOST * written
