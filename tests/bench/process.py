"""One process that loads a checkpoint, generates, and prints the most memory that it had, in MiB.

    python -m bench.process theirs|ours FOLDER STEPS IMAGES DEVICE

It imports one of the two libraries alone. The memory is what was resident (Linux), or on a CUDA
device what torch had there.
"""

import re
import sys
import warnings
from pathlib import Path

import torch

MIB = 2**20


def load_theirs(folder: str):
    """diffusers' pipeline, and what its call needs besides."""
    import diffusers
    from diffusers.pipelines.deprecated.vq_diffusion import pipeline_vq_diffusion as reference

    # diffusers looks for this class where it was once
    diffusers.LearnedClassifierFreeSamplingEmbeddings = (
        reference.LearnedClassifierFreeSamplingEmbeddings
    )
    return reference.VQDiffusionPipeline.from_pretrained(folder), {}


def load_ours(folder: str):
    """Our pipeline, and what its call needs besides."""
    from vqlearn import VQDiffusionPipeline

    return VQDiffusionPipeline.from_pretrained(folder), {"noise": "fast"}


def peak(device: str) -> float:
    """The most memory that this process had, in MiB.

    Not `resource.getrusage`: what a process had before it became this program counts there.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def main(side: str, folder: str, steps: str, images: str, device: str) -> None:
    warnings.simplefilter("ignore")  # diffusers', of its next version
    pipeline, more = {"theirs": load_theirs, "ours": load_ours}[side](folder)
    pipeline = pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    pipeline("a red circle", int(steps), 1.5, 0.9, int(images), output_type="np", **more)
    print(peak(device))


if __name__ == "__main__":
    main(*sys.argv[1:])
