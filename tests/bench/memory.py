"""The most memory that a whole process had, theirs and ours: each in a process of its own."""

from pathlib import Path
from tempfile import TemporaryDirectory

from bench.case import DIFFUSERS, LINUX, Case, Setting
from bench.pairs import Comparison
from bench.starting import python
from bench.twins import ITHQ_WIDTH, SCENES, SMALL, write_twins

from vqlearn.transformer.denoiser import DenoiserConfig

BAR = 1536  # MiB: 64 images of scenes need no more
TIMES = 3  # memory is less noisy than time


def peaks(folder: Path, steps: int, images: int, setting: Setting) -> Comparison:
    """MiB of their process and of ours, in turn."""

    def of(side: str) -> float:
        told = (side, str(folder), str(steps), str(images), setting.device)
        return float(python("-m", "bench.process", *told).splitlines()[-1])

    both = [(of("theirs"), of("ours")) for _ in range(min(TIMES, setting.pairs))]
    theirs, ours = zip(*both, strict=True)
    return Comparison(theirs, ours, "MiB")


def peaks_of_twins(config: DenoiserConfig, setting: Setting) -> Comparison:
    """One image with random weights in two guided, truncated steps."""
    with TemporaryDirectory() as folder:
        write_twins(Path(folder), config)
        return peaks(Path(folder), 2, 1, setting)


CASES = {
    "memory/small": Case(
        "peak memory: one image, 256 tokens, width 256, 8 layers",
        DIFFUSERS,
        lambda s: peaks_of_twins(SMALL, s),
        LINUX,
    ),
    "memory/ithq-width": Case(
        "peak memory: one image, 1,024 tokens, width 1,408, 4 layers",
        DIFFUSERS,
        lambda s: peaks_of_twins(ITHQ_WIDTH, s),
        LINUX,
    ),
    "memory/scenes": Case(
        f"peak memory: 64 images of the shipped scenes (bar: {BAR:,} MiB)",
        DIFFUSERS,
        lambda s: peaks(SCENES, 25, 64, s),
        LINUX,
    ),
}
