"""The arguments of a pipeline's call: which are allowed, and what is said of the others.

All functions raise `TypeError` or `ValueError` that names the argument, the value seen and the
values allowed.
"""

from numbers import Real

import torch

from vqlearn.probability.checks import check_choice, check_integer
from vqlearn.probability.random import Generators

NOISES = ("exact", "reference")
MAX_GUIDANCE = 1000


def as_prompts(prompt: str | list[str]) -> list[str]:
    """One caption or a list of them, as a list."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not all(isinstance(p, str) for p in prompts):
        raise TypeError(f"prompt is {prompt!r}; allowed: a string or a list of strings")
    if not prompts:
        raise ValueError("prompt is an empty list; allowed: at least one string")
    return list(prompts)


def check_numbers(guidance_scale: float, truncation_rate: float) -> None:
    """Numbers, in the range where they mean something."""
    for name, value in (("guidance_scale", guidance_scale), ("truncation_rate", truncation_rate)):
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} is {value!r}; allowed: a number")
    if not abs(guidance_scale) <= MAX_GUIDANCE:
        raise ValueError(f"guidance_scale is {guidance_scale}; allowed: up to {MAX_GUIDANCE}")
    if not 0 < truncation_rate <= 1:
        raise ValueError(f"truncation_rate is {truncation_rate}; allowed: above 0, up to 1")


def check_counts(num_images_per_prompt: int, callback_steps: int) -> None:
    """Whole numbers of 1 or more."""
    counts = (("num_images_per_prompt", num_images_per_prompt), ("callback_steps", callback_steps))
    for name, value in counts:
        check_integer(name, value)
        if value < 1:
            raise ValueError(f"{name} is {value}; allowed: 1, 2, …")


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
