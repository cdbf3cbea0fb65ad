"""The arguments of a pipeline's call: which are allowed, and what is said of the others.

All functions raise `TypeError` or `ValueError` that names the argument, the value seen and the
values allowed.
"""

import torch

from vqlearn.probability import Generators
from vqlearn.probability.checks import check_choice

NOISES = ("exact", "reference")
OUTPUT_TYPES = ("pil", "np")


def as_prompts(prompt: str | list[str]) -> list[str]:
    """One prompt or a list of them, as a list."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not all(isinstance(p, str) for p in prompts):
        raise TypeError(f"prompt is {prompt!r}; allowed: a string or a list of strings")
    if not prompts:
        raise ValueError("prompt is an empty list; allowed: at least one string")
    return list(prompts)


def check_generator(generator: Generators) -> None:
    """None, one generator of torch, or a list of them."""
    several = generator if isinstance(generator, list | tuple) else [generator]
    if generator is not None and not all(isinstance(g, torch.Generator) for g in several):
        raise TypeError(f"generator is {generator!r}; allowed: a torch.Generator or a list of them")


def check_noise(noise: str, steps: int, num_timesteps: int, generator: Generators) -> None:
    """Noise of a known kind; what others drew can be repeated with all steps only."""
    check_choice("noise", noise, NOISES)
    if noise == "reference" and steps != num_timesteps:
        raise ValueError(
            f"num_inference_steps is {steps}; allowed with noise='reference': {num_timesteps}"
        )
    if noise == "reference" and isinstance(generator, list | tuple):
        raise TypeError("generator is a list; allowed with noise='reference': one generator")
