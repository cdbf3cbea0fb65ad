"""What is done to distributions between two calls of the network: truncation, the reverse step."""

import torch
from bench.case import DIFFUSERS, Case, paired
from bench.pairs import Work
from diffusers import VQDiffusionScheduler
from diffusers.pipelines.deprecated.vq_diffusion import pipeline_vq_diffusion as reference
from einops import rearrange

from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import build_schedule, released
from vqlearn.probability.filters import top_p
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.random import random_stream

RATE = 0.86
LEVELS, LEVEL = 100, 50


def truncate(device: str, *, num_codes: int, positions: int) -> tuple[Work, Work]:
    """The same distributions cut at r = .86. Theirs are not renormalised afterwards, ours are."""
    log_p = _predicted(num_codes, positions).to(device)
    second = rearrange(log_p, "b n k -> b k n").contiguous()
    return (
        lambda: reference.VQDiffusionPipeline.truncate(None, second, RATE),
        lambda: top_p(log_p, RATE),
    )


def reverse_step(device: str, *, num_codes: int, positions: int) -> tuple[Work, Work]:
    """log p(x_{t-1} | x_t) from the same prediction and the same tokens."""
    ours = MaskAndReplace(build_schedule(released(num_codes, LEVELS)))
    theirs = VQDiffusionScheduler(num_vec_classes=num_codes + 1, num_train_timesteps=LEVELS)
    theirs.set_timesteps(LEVELS, device=device)
    generator = random_stream("bench", "posterior")
    log_p_x0 = _predicted(num_codes, positions)
    x_0 = torch.randint(num_codes, (1, positions), generator=generator)
    x_t = ours.corrupt(x_0, LEVEL, generator=generator).to(device)
    log_p_x0 = log_p_x0.to(device)
    second = rearrange(log_p_x0, "b n k -> b k n").contiguous()
    t = torch.tensor([LEVEL - 1], device=device)
    return (
        lambda: theirs.q_posterior(second, x_t, t),
        lambda: ours.log_reverse(log_p_x0, x_t, LEVEL - 1, LEVEL),
    )


def _predicted(num_codes: int, positions: int) -> torch.Tensor:
    """log p(x_0 | x_t) of random scores, (1, positions, num_codes)."""
    generator = random_stream("bench", "predicted")
    return log_normalise(torch.randn(1, positions, num_codes, generator=generator))


RELEASED = {"num_codes": 4096, "positions": 1024}
CASES = {
    "truncation": Case(
        "truncation at .86, 4,096 codes, 1,024 tokens", DIFFUSERS, paired(truncate, **RELEASED)
    ),
    "posterior": Case(
        "one reverse step, 4,097 classes, 1,024 tokens", DIFFUSERS, paired(reverse_step, **RELEASED)
    ),
}
