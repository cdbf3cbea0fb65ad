"""Half a sequence to complete: what is corrupted in it, which errors it has, what must stay."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from vqlearn.autoregressive import AutoregressiveModel, ImageBART
from vqlearn.diffusion import Process, draw_prior, levels_to_visit
from vqlearn.probability import Conditioning, Given, Sampling, TokenModel

ONE = "one"


@dataclass(frozen=True, eq=False)
class Half:
    """Sequences of which about half is known: the tokens at `known`; elsewhere stands noise.

    `held` tokens stay as they are. Otherwise a model with levels may sample them anew, from this
    noise level on; an autoregressive model knows no levels, and always keeps them.
    """

    x: Int[Tensor, "b n"]
    known: Bool[Tensor, "b n"]
    held: bool
    level: int = 0


def corrupt_half(model: TokenModel, x: Int[Tensor, "b n"], generator: torch.Generator) -> Half:
    """Half of the tokens are corrupted in the way that the model is used to.

    For an autoregressive model that is the lower half. A process corrupts to the level where it
    keeps about half; known are the tokens that are still the true ones.
    """
    if isinstance(model, AutoregressiveModel):
        return Half(x, half("upper", x), held=False)
    level = half_level(model.process, x)
    x_t = model.process.corrupt(x, level, generator=generator)
    return Half(x_t, x_t == x, held=False, level=level)


def corrupt_rest(
    model: TokenModel, x: Int[Tensor, "b n"], known: Bool[Tensor, "b n"], generator: torch.Generator
) -> Half:
    """All but the known tokens are corrupted, and the known ones stay.

    In place of the rest stands noise of the process at the level where it keeps about half.
    """
    if isinstance(model, AutoregressiveModel):
        return Half(x, known, held=True)
    noise = draw_prior(model.process, x.shape, device=x.device, generator=generator)
    x_t = torch.where(known, x, noise)
    return Half(x_t, known, held=True, level=half_level(model.process, x))


def half_level(process: Process, x: Int[Tensor, "b n"]) -> int:
    """At which level are nearest to half of these tokens still what they were? The first of equals.

    Nearest, not half at most: level 1 of two scales keeps a little more than half, level 2 nothing.
    """

    def distance(t: int) -> float:
        kept = process.log_marginal(x, t).gather(-1, x[..., None]).exp().mean()
        return round(abs(kept.item() - 0.5), 6)

    return min(range(1, process.num_timesteps + 1), key=distance)


def complete_part(
    model: TokenModel,
    half: Half,
    condition: Conditioning | None,
    sampling: Sampling,
    generator: torch.Generator,
) -> Int[Tensor, "b n"]:
    """The whole sequences that a model samples from here, each after its own caption."""
    how = {"sampling": sampling, "generator": generator}
    given = Given(half.x, half.known)
    if isinstance(model, AutoregressiveModel):
        return model.sample(len(half.x), condition, given=given, **how)
    how["given"] = given if half.held else None
    if isinstance(model, ImageBART):
        return model.sample_from(half.x, half.level, condition, **how)
    steps = min(sampling.num_inference_steps or half.level, half.level)
    with torch.no_grad():
        *_, (_, x_0) = model.steps(half.x, levels_to_visit(half.level, steps), condition, **how)
    return x_0


def half(side: str, x: Int[Tensor, "b n"]) -> Bool[Tensor, "b n"]:
    """Which positions of these sequences lie in this half of their square grid?"""
    edge, position = math.isqrt(x.shape[1]), torch.arange(x.shape[1], device=x.device)
    row_or_column = position // edge if side in ("upper", "lower") else position % edge
    first = row_or_column < edge // 2
    return (first if side in ("upper", "left") else ~first).expand_as(x)


def choose(
    known: Bool[Tensor, "b n"], amount: str, generator: torch.Generator
) -> Bool[Tensor, "b n"]:
    """Some of the known tokens: one of each sequence, or this share of them all."""
    score = torch.rand(known.shape, generator=generator).to(known.device).masked_fill(~known, 2.0)
    if amount == ONE:
        first = torch.zeros_like(known).scatter_(1, score.argmin(dim=1, keepdim=True), True)
        return first & known
    return score < float(amount)


def with_errors(
    x: Int[Tensor, "b n"], errors: Bool[Tensor, "b n"], num_codes: int, generator: torch.Generator
) -> Int[Tensor, "b n"]:
    """The sequences in which each of these tokens is replaced by any other code."""
    shift = torch.randint(1, num_codes, x.shape, generator=generator).to(x.device)
    return torch.where(errors, (x + shift) % num_codes, x)
