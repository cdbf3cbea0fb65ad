"""The arguments of a pipeline's call: which are allowed, and what is said of the others.

All functions raise `TypeError` or `ValueError` that names the argument, the value seen and the
values allowed.
"""

import torch

from vqlearn.probability import Generators
from vqlearn.probability.checks import check_choice, check_integer

NOISES = ("exact", "reference")
OUTPUT_TYPES = ("pil", "np")


def checked_prompts(
    prompt: str | list[str], num_images_per_prompt: int, generator: Generators, output_type: str
) -> list[str]:
    """The prompts as a list, if these arguments, which every pipeline takes, are allowed."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not all(isinstance(p, str) for p in prompts):
        raise TypeError(f"prompt is {prompt!r}; allowed: a string or a list of strings")
    if not prompts:
        raise ValueError("prompt is an empty list; allowed: at least one string")
    check_integer("num_images_per_prompt", num_images_per_prompt, 1)
    several = generator if isinstance(generator, list | tuple) else [generator]
    if generator is not None and not all(isinstance(g, torch.Generator) for g in several):
        raise TypeError(f"generator is {generator!r}; allowed: a torch.Generator or a list of them")
    check_choice("output_type", output_type, OUTPUT_TYPES)
    return list(prompts)


def check_noise(noise: str, steps: int, num_timesteps: int, generator: Generators) -> None:
    """Noise of a known kind; what others drew can be repeated with all steps only."""
    check_choice("noise", noise, NOISES)
    if noise == "reference" and steps != num_timesteps:
        raise ValueError(
            f"num_inference_steps is {steps}; allowed with noise='reference': {num_timesteps}"
        )
    if noise == "reference" and isinstance(generator, list | tuple):
        raise TypeError("generator is a list; allowed with noise='reference': one generator")
