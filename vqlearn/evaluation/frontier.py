"""Prompt accuracy and diversity against network evaluations: a line for every unmasking rule.

    vqlearn evaluate --frontier --prompts 20

A rule is better if it is as accurate in fewer evaluations, without giving up diversity: a rule that
always draws the likeliest scene is often right and shows little. So both are measured, on the same
prompts and with the same random streams.

A sampling step is one network evaluation (NFE), two with guidance. Steps are counted at the
network.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vqlearn.data.scenes import Scene, parse, render
from vqlearn.diffusion.reveal import UnmaskingRule
from vqlearn.diffusion.reveal.unmasking import level_of
from vqlearn.evaluation.diversity import Diversity, diversity, true_pairs
from vqlearn.evaluation.frontier_rules import RULES, FrontierRule, Sizes
from vqlearn.evaluation.prompts import (
    COMPOSITIONS,
    IMAGES_AT_ONCE,
    Evaluation,
    evaluated_scenes,
    round_trip,
)
from vqlearn.evaluation.scene_reader import DIGITS, agrees, read
from vqlearn.evaluation.scene_words import check_scene_words
from vqlearn.pipeline import VQDiffusionPipeline
from vqlearn.probability import random_stream
from vqlearn.probability.estimates import Estimate

IMAGES = 2  # of every prompt: two show whether they differ


@dataclass(frozen=True)
class Point:
    """A rule at one number of steps, on one kind of prompts.

    `right_images`: a digit for each prompt, how many of its images are right. `steps` and
    `evaluations` are means over images, as counted at the network; a step costs one evaluation, or
    two with guidance. `diversity` is that of `diversity.diversity`.
    """

    right_images: str
    diversity: dict[str, Diversity]
    steps: float = 0.0
    evaluations: float = 0.0

    @property
    def shares(self) -> Float[Tensor, " prompts"]:
        """The share of right images of every prompt."""
        return torch.tensor([int(digit) for digit in self.right_images]).double() / IMAGES

    @property
    def accuracy(self) -> Estimate:
        """The share of right images. Those of a prompt may go together, so prompts are counted."""
        return Estimate.of_share(float(self.shares.sum()), len(self.right_images))


def measure_rules(
    pipeline: VQDiffusionPipeline, evaluation: Evaluation, rules: Sequence[FrontierRule] = RULES
) -> dict[str, dict[int, dict[str, Point]]]:
    """Every rule at all its numbers of steps, on "seen" and "held_out" prompts.

    `evaluation` says all but the steps. Raises `ValueError` as `check_scene_words` does.
    """
    check_scene_words(pipeline.text_encoder.tokenizer)
    return {
        rule.name: {
            steps: measure(pipeline, rule, replace(evaluation, num_inference_steps=steps))
            for steps in rule.steps
        }
        for rule in rules
    }


def as_json(
    evaluation: Evaluation, found: dict[str, dict[int, dict[str, Point]]]
) -> dict[str, Any]:
    """What `vqlearn evaluate --frontier` prints: the settings, then every rule by its steps."""
    report = {name: value for name, value in evaluation.settings().items() if name != "steps"}
    report |= {"images": IMAGES}
    for name, by_steps in found.items():
        report[name] = {
            steps: {composition: _told(point) for composition, point in points.items()}
            for steps, points in by_steps.items()
        }
    return report


def _told(point: Point) -> dict[str, Any]:
    share, *interval = (round(value, DIGITS) for value in point.accuracy)
    return {"share": share, "interval_95": interval, **asdict(point)}


def measure(
    pipeline: VQDiffusionPipeline, rule: FrontierRule, evaluation: Evaluation
) -> dict[str, Point]:
    """One rule at the evaluation's number of steps, on both kinds of prompts."""
    sizes = Sizes(pipeline.process.num_timesteps, pipeline.denoiser.config.sample_size)
    made = rule.make(sizes, evaluation.num_inference_steps)
    return {
        composition: _point(pipeline, made, composition, evaluation) for composition in COMPOSITIONS
    }


def measure_true_scenes(pipeline: VQDiffusionPipeline, evaluation: Evaluation) -> dict[str, Point]:
    """Two true scenes of every prompt after a round trip through their tokens: what can be had."""
    found = {}
    for composition in COMPOSITIONS:
        captions = evaluated_scenes(composition, evaluation, pipeline.image_size).captions
        stream = random_stream("true scenes of the frontier", composition, evaluation.seed)
        pairs = true_pairs([parse(caption) for caption in captions], generator=stream)
        images = render([scene for pair in pairs for scene in pair], image_size=pipeline.image_size)
        found[composition] = score(read(round_trip(pipeline, images)), captions)
    return found


def score(scenes: Sequence[Scene | None], captions: Sequence[str]) -> Point:
    """Accuracy and diversity of what the reader sees: all images of a prompt, then the next."""
    asked = [parse(caption) for caption in captions]
    pairs = [tuple(scenes[i : i + IMAGES]) for i in range(0, len(scenes), IMAGES)]
    right = (
        sum(agrees(scene, each) for scene in pair) for each, pair in zip(asked, pairs, strict=True)
    )
    return Point("".join(map(str, right)), diversity(asked, pairs))


def _point(
    pipeline: VQDiffusionPipeline, rule: UnmaskingRule, composition: str, evaluation: Evaluation
) -> Point:
    captions = evaluated_scenes(composition, evaluation, pipeline.image_size).captions
    at_once, images, calls = IMAGES_AT_ONCE // IMAGES, [], 0
    for first in range(0, len(captions), at_once):
        with evaluations(pipeline, rule) as count:
            images.append(
                _generate(pipeline, rule, captions[first : first + at_once], first, evaluation)
            )
        calls += sum(count)
    scenes = read(torch.cat(images))
    passes = 2 if evaluation.guidance_scale > 1 else 1
    each = calls / len(scenes)
    return replace(score(scenes, captions), steps=each, evaluations=passes * each)


def _generate(
    pipeline: VQDiffusionPipeline,
    rule: UnmaskingRule,
    captions: list[str],
    first: int,
    evaluation: Evaluation,
) -> Float[Tensor, "b 3 h w"]:
    """The images of some captions, each with a random stream of its own."""
    names = [(first + i, image) for i in range(len(captions)) for image in range(IMAGES)]
    images = pipeline(
        captions,
        guidance_scale=evaluation.guidance_scale,
        truncation_rate=evaluation.truncation_rate,
        num_images_per_prompt=IMAGES,
        generator=[random_stream("frontier", evaluation.seed, *name) for name in names],
        output_type="np",
        rule=rule,
    ).images
    return rearrange(torch.from_numpy(images), "b h w c -> b c h w")


@contextmanager
def evaluations(pipeline: VQDiffusionPipeline, rule: UnmaskingRule) -> Iterator[list[int]]:
    """The sequences that each call of the network was needed for.

    A batch goes on until its last sequence is finished; finished ones (level 0) do not count.
    """
    needed: list[int] = []

    def count(_: Any, inputs: tuple) -> None:
        level = level_of(pipeline.process, rule, inputs[0], len(needed))
        needed.append(int((level > 0).sum()))

    hook = pipeline.denoiser.token_embedding.register_forward_pre_hook(count)
    try:
        yield needed
    finally:
        hook.remove()
