"""What do two wrong fast samplers cost, and what do exact strides gain that are short at first?

Both wrong ones are in use elsewhere; here they are measured beside two exact ones.

    python -m vqlearn.experiments.shipped_model.samplers

A sampler is a plan, one row (told, t, s) for each call of the denoiser: it is **told** that the
tokens are at level `told`, then they are drawn as if they went from level t to level s.
Lesson 05 draws the result.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqlearn.checkpoints.shipped import resolve
from vqlearn.data.scenes.sampling import scene_batch
from vqlearn.diffusion.process import Process
from vqlearn.diffusion.sampler import Denoise, all_masked, levels_to_visit, step
from vqlearn.evaluation.prompts import PICTURES_AT_ONCE, Evaluation, describe_accuracy
from vqlearn.evaluation.scene_reader import prompt_accuracy
from vqlearn.pipeline.pipeline import VQDiffusionPipeline
from vqlearn.probability.estimates import wilson_interval
from vqlearn.probability.model import Sampling
from vqlearn.probability.random import Generators, random_stream

COMMAND = "python -m vqlearn.experiments.shipped_model.samplers"
FILE = Path("figures/samplers.json")
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
COMPOSITION = "seen"
PROMPTS = 100
CALLS = (10, 25, 50)

Plan = list[tuple[int, int, int]]


def exact_plan(num_timesteps: int, calls: int) -> Plan:
    """Exact: even strides from level T to 0, told where it stands."""
    return _exact(levels_to_visit(num_timesteps, calls, "even"))


def slow_start_plan(num_timesteps: int, calls: int) -> Plan:
    """Exact too, and what the pipeline does: strides that are short at first."""
    return _exact(levels_to_visit(num_timesteps, calls, "slow_start"))


def _exact(levels: list[int]) -> Plan:
    return [(t, t, s) for t, s in pairwise(levels)]


def wrong_prefix_plan(num_timesteps: int, calls: int) -> Plan:
    """WRONG: only the lowest levels, one at a time, from tokens that are all hidden.

    The denoiser is told level `calls`, where few tokens are hidden, and sees that all are: it was
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
    "slow start": slow_start_plan,
    "prefix": wrong_prefix_plan,
    "lagging": wrong_lagging_plan,
}


def follow(
    plan: Plan, process: Process, denoise: Denoise, x_t: Tensor, *, generator: Generators = None
) -> Iterator[Tensor]:
    """The tokens (b, n) after every call. Exact plans give those of `sampler.sample`."""
    for told, t, s in plan:
        x_t = step(process, denoise(x_t, told), x_t, (t, s), generator=generator)
        yield x_t


@torch.no_grad()
def draw_tokens(
    pipeline: VQDiffusionPipeline,
    captions: list[str],
    plan: Plan,
    evaluation: Evaluation,
    first: int,
) -> list[Tensor]:
    """The tokens of one image a caption, at the start and after every call.

    `first` is the position of the first caption in the whole list; it decides the random numbers.
    """
    denoise = pipeline.model.denoiser(
        pipeline.conditioning(captions),
        Sampling(evaluation.guidance_scale, evaluation.truncation_rate),
    )
    shape = (len(captions), pipeline.denoiser.config.num_positions)
    start = all_masked(pipeline.process, shape, device=pipeline.device)
    positions = range(first, first + len(captions))
    streams = [random_stream("evaluated picture", evaluation.seed, i) for i in positions]
    return [start, *follow(plan, pipeline.process, denoise, start, generator=streams)]


@torch.no_grad()
def measure_plan(
    pipeline: VQDiffusionPipeline, captions: list[str], plan: Plan, evaluation: Evaluation
) -> dict[str, Any]:
    """How many images are right, and how many tokens were still hidden before the last call."""
    images, hidden, tokens = [], 0, 0
    for first in range(0, len(captions), PICTURES_AT_ONCE):
        some = captions[first : first + PICTURES_AT_ONCE]
        *_, before, last = draw_tokens(pipeline, some, plan, evaluation, first)
        images.append(pipeline.vqvae.decode(last).float().cpu())
        hidden += int((before == pipeline.process.mask).sum())
        tokens += before.numel()
    low, high = wilson_interval(hidden, tokens)
    in_last_call = {"tokens": hidden, "total": tokens, "share": round(hidden / tokens, 4)}
    in_last_call |= {"interval_95": [round(low, 4), round(high, 4)]}
    accuracy = describe_accuracy(prompt_accuracy(torch.cat(images), captions))
    return {**accuracy, "drawn_in_last_call": in_last_call}


def measure(pipeline: VQDiffusionPipeline, evaluation: Evaluation) -> dict[str, Any]:
    """Every plan at every number of calls, on the same captions with the same random numbers."""
    batch = scene_batch(
        evaluation.prompts,
        generator=random_stream("evaluated scenes", COMPOSITION, evaluation.seed),
        composition=COMPOSITION,
        image_size=pipeline.image_size,
    )
    top = pipeline.process.num_timesteps
    return {
        name: {
            str(calls): measure_plan(pipeline, batch.captions, plan(top, calls), evaluation)
            for calls in CALLS
        }
        for name, plan in PLANS.items()
    }


def weights_digest() -> str:
    """The SHA-256 of the shipped denoiser."""
    with (resolve("scenes") / WEIGHTS).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main(file: Path = FILE, prompts: int = PROMPTS) -> None:
    """Measure "scenes" and write the numbers."""
    evaluation = Evaluation(prompts=prompts)
    report = {"command": COMMAND, "weights": WEIGHTS, "weights_sha256": weights_digest()}
    report |= {"prompts": prompts, "composition": COMPOSITION, "seed": evaluation.seed}
    report |= {"guidance": evaluation.guidance_scale, "truncation": evaluation.truncation_rate}
    report["results"] = measure(VQDiffusionPipeline.from_pretrained("scenes"), evaluation)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
