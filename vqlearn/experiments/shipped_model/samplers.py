"""Four ways to skip steps: what two wrong ones cost, and what strides gain that are short at first.

Both wrong ones are in use elsewhere; here they are measured beside two exact ones. "Exact" is the
posterior of every stride, token by token; tokens that are revealed in one call are independent.

    python -m vqlearn.experiments samplers

A sampler is a plan, one row (told, t, s) for each call of the denoiser: it is **told** that the
tokens are at level `told`, then they are drawn as if they went from level t to level s.
Lesson 06 shows the result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from vqlearn.diffusion import all_masked, levels_to_visit
from vqlearn.diffusion.sampler import step
from vqlearn.evaluation import Accuracy, Evaluation, Share, evaluated_scenes, prompt_accuracy
from vqlearn.evaluation.prompts import IMAGES_AT_ONCE
from vqlearn.experiments.shipped_model.runs import EvaluatedRun, load_pipeline
from vqlearn.pipeline import VQDiffusionPipeline
from vqlearn.probability import Sampling, random_stream

COMPOSITION = "seen"
PROMPTS = 100
CALLS = (10, 25, 50)

Plan = list[tuple[int, int, int]]


def exact_plan(num_timesteps: int, calls: int, spacing: str = "even") -> Plan:
    """Exact: strides from level T to 0, told where it stands.

    The pipeline's are short at first: `spacing` "slow_start".
    """
    return [(t, t, s) for t, s in pairwise(levels_to_visit(num_timesteps, calls, spacing))]


def wrong_prefix_plan(num_timesteps: int, calls: int) -> Plan:
    """WRONG: only the lowest levels, one at a time, from tokens that are all masked.

    The denoiser is told level `calls`, where few tokens are masked, and sees that all are: it was
    never trained for that. Source: `VQDiffusionScheduler.set_timesteps` of diffusers.
    """
    return [(t, t, t - 1) for t in range(calls, 0, -1)]


def wrong_lagging_plan(num_timesteps: int, calls: int) -> Plan:
    """WRONG: the levels of `exact_plan`, but each stride from t to s is drawn as its last step.

    Only the tokens of the step from s + 1 to s come out; most are left for the last call. Source:
    `sample_fast` of the official VQ-Diffusion code, whose posterior is that of level t - skip.
    """
    return [(t, s + 1, s) for t, _, s in exact_plan(num_timesteps, calls)]


PLANS: dict[str, Callable[[int, int], Plan]] = {
    "exact": exact_plan,
    "slow start": partial(exact_plan, spacing="slow_start"),
    "prefix": wrong_prefix_plan,
    "lagging": wrong_lagging_plan,
}


@torch.no_grad()
def sample_tokens(
    pipeline: VQDiffusionPipeline,
    captions: list[str],
    plan: Plan,
    evaluation: Evaluation,
    first: int,
) -> list[Tensor]:
    """The tokens (b, n) of one image a caption, at the start and after every call.

    Exact plans give those of `sampler.sample`. `first` is the position of the first caption in the
    whole list; it decides the random numbers.
    """
    sampling = Sampling(evaluation.guidance_scale, evaluation.truncation_rate)
    denoise = pipeline.model.denoiser(pipeline.conditioning(captions), sampling)
    positions = range(first, first + len(captions))
    streams = [random_stream("evaluated picture", evaluation.seed, i) for i in positions]
    shape = (len(captions), pipeline.denoiser.config.num_positions)
    x_t = all_masked(pipeline.process, shape, device=pipeline.device)
    states = [x_t]
    for told, t, s in plan:
        x_t = step(pipeline.process, denoise(x_t, told), x_t, (t, s), generator=streams)
        states.append(x_t)
    return states


@dataclass(frozen=True)
class SamplerAccuracy:
    """Images that are right, and the tokens that were still masked before the last call."""

    accuracy: Accuracy
    revealed_in_last_call: Share


@dataclass(frozen=True)
class SamplerRun(EvaluatedRun):
    """A plan at one number of calls: all get the same prompts and the same random numbers."""

    plan: str

    @property
    def id(self) -> str:
        """Such as "lagging/25"."""
        return f"{self.plan}/{self.calls}"

    @property
    def calls(self) -> int:
        """The calls of the denoiser for each image, without guidance."""
        return self.evaluation.num_inference_steps

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {"plan": self.plan, "composition": COMPOSITION, **super().settings()}

    @torch.no_grad()
    def measure(self, data: None) -> SamplerAccuracy:
        """Sample, decode, read; count the tokens that are masked before the last call."""
        pipeline, evaluation = load_pipeline(), self.evaluation
        captions = evaluated_scenes(COMPOSITION, evaluation, pipeline.image_size).captions
        plan = PLANS[self.plan](pipeline.process.num_timesteps, self.calls)
        images, masked, tokens = [], 0, 0
        for first in range(0, len(captions), IMAGES_AT_ONCE):
            some = captions[first : first + IMAGES_AT_ONCE]
            *_, before, last = sample_tokens(pipeline, some, plan, evaluation, first)
            images.append(pipeline.vqvae.decode(last).float().cpu())
            masked += int((before == pipeline.process.mask).sum())
            tokens += before.numel()
        return SamplerAccuracy(prompt_accuracy(torch.cat(images), captions), Share(masked, tokens))


def sampler_runs(prompts: int = PROMPTS, calls: Sequence[int] = CALLS) -> tuple[SamplerRun, ...]:
    """Every plan at every number of calls."""
    return tuple(
        SamplerRun(Evaluation(num_inference_steps=count, prompts=prompts), plan)
        for plan in PLANS
        for count in calls
    )
