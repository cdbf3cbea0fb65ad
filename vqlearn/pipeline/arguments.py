"""The arguments of a pipeline's call: which are allowed, and what is said of the others.

All functions raise `TypeError` or `ValueError` that names the argument, the value seen and the
values allowed. They are asked before the prompt is read.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypedDict

import torch
from jaxtyping import Int
from torch import Tensor

from vqlearn.diffusion.reveal import UnmaskingRule
from vqlearn.probability import Generators, GuidanceScale, Sampling
from vqlearn.probability.checks import check_choice, check_integer, check_kind, check_tokens, shown

NOISES = ("exact", "fast", "reference")
OUTPUT_TYPES = ("pil", "np", "numpy", None)  # None: numpy too, as in diffusers
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class StepOptions(TypedDict, total=False):
    """The arguments of every call and every way to edit that say nothing of a condition."""

    num_inference_steps: int
    truncation_rate: float
    generator: Generators
    output_type: str | None
    return_dict: bool
    callback: Callable[[int, int, Tensor], Any] | None
    callback_steps: int
    rule: UnmaskingRule | None


class StartOptions(StepOptions, total=False):
    """The same of a call, which begins with no image."""

    latents: Int[Tensor, "b n"] | None
    noise: str


class CallOptions(StepOptions, total=False):
    """The arguments of VQ-Diffusion's call with a prompt that editing has too."""

    guidance_scale: GuidanceScale
    num_images_per_prompt: int
    negative_prompt: str | list[str] | None


@dataclass(frozen=True, eq=False)
class Request:
    """What VQ-Diffusion is asked for, all of it checked.

    `count`: the number of images. `plan`: the levels to visit, or a rule that finds its own.
    `watch`: the callback, and every how many steps it is called. `output`: type and `return_dict`.
    `each`: how many of the images the model is told the same of; they come one after another.
    """

    count: int
    plan: list[int] | UnmaskingRule
    sampling: Sampling
    generator: Generators
    watch: tuple[Callable | None, int]
    output: tuple[str | None, bool]
    each: int

    @property
    def told(self) -> int:
        """How many things the model is told: prompts, classes."""
        return self.count // self.each


@dataclass(frozen=True, eq=False)
class PromptRequest(Request):
    """The same with prompts.

    `negative`: what to guide away from, if it is not the null embedding.
    """

    prompts: list[str]
    negative: list[str] | None


@dataclass(frozen=True, eq=False)
class ClassRequest(Request):
    """The same with classes, by their numbers."""

    labels: list[int]


def checked_prompts(prompt: str | list[str], name: str = "prompt") -> list[str]:
    """The prompts as a list."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not all(isinstance(p, str) for p in prompts):
        raise TypeError(f"{name} is {shown(prompt)}; allowed: a string or a list of strings")
    if not prompts:
        raise ValueError(f"{name} is an empty list; allowed: at least one string")
    for text in prompts:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError(f"{name} is {shown(text)}; allowed: text, without lone surrogates")
    return list(prompts)


def checked_negative(
    negative_prompt: str | list[str] | None, prompts: int, sampling: Sampling
) -> list[str] | None:
    """What to guide away from: one text for all prompts, or one for each; only with guidance."""
    if negative_prompt is None:
        return None
    if not sampling.is_guided:
        raise ValueError(
            f"negative_prompt is {shown(negative_prompt)}; allowed without guidance: None"
        )
    negative = checked_prompts(negative_prompt, "negative_prompt")
    if len(negative) not in (1, prompts):
        raise ValueError(
            f"negative_prompt is a list of {len(negative)}; allowed: 1, or {prompts}, one a prompt"
        )
    return negative


def check_images(count: int, each: int, most: int, what: str = "prompt") -> None:
    """At least one image for each prompt (or of what there are `count`), and no more in all of them
    together than `most`, what memory holds."""
    check_integer(f"num_images_per_{what}", each, 1)
    if count * each > most:
        raise ValueError(
            f"num_images_per_{what} is {shown(each)} for {count} {what}s; "
            f"allowed: {most} images in one call, more do not fit into the memory"
        )


def check_generator(generator: Generators, images: int) -> None:
    """torch's own generator (None), one for all images, or one for each."""
    several = isinstance(generator, list | tuple)
    found = generator if several else [generator]
    if generator is not None and not all(isinstance(g, torch.Generator) for g in found):
        raise TypeError(
            f"generator is {shown(generator)}; allowed: a torch.Generator or a list of them"
        )
    if several and len(found) != images:
        raise ValueError(f"generator is a list of {len(found)}; allowed: {images}, one an image")


def check_output(output_type: str | None, return_dict: bool) -> None:
    """A known form of the images, and whether they come with a name or in a tuple."""
    check_choice("output_type", output_type, OUTPUT_TYPES)
    check_kind("return_dict", return_dict, bool)


def check_callback(callback: Callable | None, callback_steps: int) -> None:
    """Something that can be called, or None, every so many steps."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {shown(callback)}; allowed: a function or None")
    check_integer("callback_steps", callback_steps, 1)


def checked_latents(
    latents: Int[Tensor, "b n"], shape: tuple[int, int], num_classes: int
) -> Int[Tensor, "b n"]:
    """The tokens of a start, MASK among them, as int64."""
    seen = latents.dtype if isinstance(latents, Tensor) else shown(latents)
    if seen not in INTEGERS:
        raise TypeError(f"latents is {seen}; allowed: a tensor of int64 tokens, or None")
    if tuple(latents.shape) != shape:
        raise ValueError(f"latents has the shape {tuple(latents.shape)}; allowed: {shape}")
    check_tokens("latents", latents.cpu(), num_classes)
    return latents.long()


def check_noise(noise: str, steps: int, num_timesteps: int) -> None:
    """Noise of a known kind; what others drew can be repeated with all steps only."""
    check_choice("noise", noise, NOISES)
    if noise == "reference" and steps != num_timesteps:
        raise ValueError(
            f"num_inference_steps is {steps}; allowed with noise='reference': {num_timesteps}"
        )


def check_rule(rule: UnmaskingRule | None, noise: str) -> None:
    """An unmasking rule or None; what others drew is not repeated with a rule."""
    check_choice("noise", noise, NOISES)
    check_kind("rule", rule, UnmaskingRule, NoneType)
    if rule is not None and noise == "reference":
        raise ValueError(f"noise is {noise!r}; allowed with a rule: 'exact', 'fast'")


def check_names(method: str, options: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise `TypeError` for an argument that a method has not."""
    unknown = [name for name in options if name not in allowed]
    if unknown:
        raise TypeError(f"{method} has no argument {unknown[0]!r}; allowed: {', '.join(allowed)}")


def check_reference_generator(generator: Generators, device: torch.device) -> None:
    """The generator of the references: one, on the device of the pipeline."""
    if isinstance(generator, list | tuple):
        raise TypeError("generator is a list; allowed with noise='reference': one generator")
    if generator is not None and generator.device.type != device.type:
        raise ValueError(
            f"generator is on {str(generator.device)!r}; allowed with noise='reference': "
            f"one on {str(device)!r}, where the pipeline is"
        )
