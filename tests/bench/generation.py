"""Whole calls of the pipelines: read the prompt, sample the tokens, decode them."""

from dataclasses import replace

import torch
from bench.case import DIFFUSERS, FULL_DEPTH, Case, paired
from bench.pairs import Work
from bench.twins import ITHQ_WIDTH, SCENES, SMALL, load_twins, make_twins

from vqlearn.diffusion.reveal import scheduled
from vqlearn.evaluation.frontier_rules import Sizes
from vqlearn.transformer.denoiser import DenoiserConfig

PROMPT = "a red circle"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GUIDANCE = {"guided": 5.0, "unguided": 1.0}  # 5 is what both have by default
SIZES = {
    "small": ("256 tokens, width 256, 8 layers", SMALL, 10),
    "ithq-width": ("1,024 tokens, width 1,408, 4 layers", ITHQ_WIDTH, 4),
}
FULL = replace(ITHQ_WIDTH, num_layers=36)
FULL_STEPS = 2


def generate(
    device: str,
    *,
    config: DenoiserConfig,
    steps: int,
    guidance: float,
    dtype: torch.dtype,
    noise: str,
) -> tuple[Work, Work]:
    """One image with random weights, in the same number of steps; ours with this noise."""
    theirs, ours = make_twins(config, device, dtype)
    return (
        lambda: theirs(PROMPT, steps, guidance, output_type="np").images,
        lambda: ours(PROMPT, steps, guidance, output_type="np", noise=noise).images,
    )


def default_to_default(device: str, *, theirs_steps: int, ours_steps: int) -> tuple[Work, Work]:
    """Four images of the shipped scenes: their 100 steps, our 25 with `noise="fast"`."""
    theirs, ours = load_twins(SCENES, device)
    sampling = {"guidance_scale": 1.5, "truncation_rate": 0.9, "num_images_per_prompt": 4}
    return (
        lambda: theirs(PROMPT, theirs_steps, **sampling, output_type="np").images,
        lambda: ours(PROMPT, ours_steps, **sampling, output_type="np", noise="fast").images,
    )


def in_few_steps(device: str, *, theirs_steps: int, ours_steps: int) -> tuple[Work, Work]:
    """The same by the unmasking rule of `bench.fewest`, which needs fewer steps."""
    theirs, ours = load_twins(SCENES, device)
    sampling = {"guidance_scale": 1.5, "truncation_rate": 0.9, "num_images_per_prompt": 4}
    sizes = Sizes(ours.process.num_timesteps, ours.denoiser.config.sample_size)
    rule = scheduled(sizes.slow_start(ours_steps))
    return (
        lambda: theirs(PROMPT, theirs_steps, **sampling, output_type="np").images,
        lambda: ours(PROMPT, **sampling, output_type="np", rule=rule).images,
    )


def _case(size: str, config: DenoiserConfig, steps: int, names: tuple[str, str, str]) -> Case:
    dtype, guided, noise = names
    what = f"one image, {size}: {steps} {guided} steps, {dtype}, {noise} noise"
    options = {"guidance": GUIDANCE[guided], "dtype": DTYPES[dtype], "noise": noise}
    needs = FULL_DEPTH if config == FULL else None
    return Case(what, DIFFUSERS, paired(generate, config=config, steps=steps, **options), needs)


CASES = {
    f"generation/{name}-{dtype}-{guided}-{noise}": _case(*size, (dtype, guided, noise))
    for name, size in SIZES.items()
    for dtype in DTYPES
    for guided in GUIDANCE
    for noise in ("fast", "exact")
} | {
    f"generation/full-depth-{dtype}": _case(
        "1,024 tokens, width 1,408, 36 layers", FULL, FULL_STEPS, (dtype, "guided", "fast")
    )
    for dtype in DTYPES
}
CASES["generation/scenes"] = Case(
    "four images of the shipped scenes: 25 fast steps, theirs 100",
    DIFFUSERS,
    paired(default_to_default, theirs_steps=100, ours_steps=25),
)
CASES["generation/scenes-few"] = Case(
    "four images of the shipped scenes: 20 steps of fixed counts with a slow start, theirs 100",
    DIFFUSERS,
    paired(in_few_steps, theirs_steps=100, ours_steps=20),
)
CASES["generation/small-all-steps"] = _case(
    "256 tokens, width 256, 8 layers", SMALL, 100, ("float32", "guided", "fast")
)
