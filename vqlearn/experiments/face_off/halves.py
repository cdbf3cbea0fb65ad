"""Half a sequence to complete: what a model has lost, what is wrong in it, what must stay."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Int
from torch import Tensor

from vqlearn.autoregressive import AutoregressiveModel, ImageBART
from vqlearn.diffusion import Process, draw_prior, levels_to_visit
from vqlearn.experiments.face_off.data import Examples
from vqlearn.experiments.face_off.system_run import Trained
from vqlearn.experiments.tokens import AT_ONCE
from vqlearn.probability import Conditioning, Given, Sampling, TokenModel, random_stream

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

    def split(self) -> Iterator["Half"]:
        """In the parts that a model sees at once."""
        for x, known in zip(self.x.split(AT_ONCE), self.known.split(AT_ONCE), strict=True):
            yield replace(self, x=x, known=known)


def lose_half(model: TokenModel, x: Int[Tensor, "b n"], generator: torch.Generator) -> Half:
    """Half of the tokens are lost in the way that the model is used to.

    An autoregressive model loses the lower half. A process corrupts to the level where it keeps
    about half; known are the tokens that are still the true ones.
    """
    if isinstance(model, AutoregressiveModel):
        known = torch.arange(x.shape[1], device=x.device) < x.shape[1] // 2
        return Half(x, known.expand_as(x), held=False)
    level = half_level(model.process, x)
    x_t = model.process.corrupt(x, level, generator=generator)
    return Half(x_t, x_t == x, held=False, level=level)


def hide_rest(
    model: TokenModel, x: Int[Tensor, "b n"], known: Bool[Tensor, "b n"], generator: torch.Generator
) -> Half:
    """All but the known tokens are lost, and the known ones stay.

    In place of the rest stands noise of the process at the level where it keeps about half.
    """
    if isinstance(model, AutoregressiveModel):
        return Half(x, known, held=True)
    noise = draw_prior(model.process, x.shape, device=x.device, generator=generator)
    level = half_level(model.process, x)
    return Half(torch.where(known, x, noise), known, held=True, level=level)


def half_level(process: Process, x: Int[Tensor, "b n"]) -> int:
    """At which level are nearest to half of these tokens still what they were? The first of equals.

    Nearest, not half at most: level 1 of two scales keeps a little more than half, level 2 nothing.
    """

    def distance(t: int) -> float:
        kept = process.log_marginal(x, t).gather(-1, x[..., None]).exp().mean()
        return round(abs(kept.item() - 0.5), 6)

    return min(range(1, process.num_timesteps + 1), key=distance)


def complete(
    trained: Trained, half: Half, examples: Examples, sampling: Sampling
) -> Int[Tensor, "b n"]:
    """What the model samples from here, each sequence after its own caption.

    Always from the same generator, so that runs that differ in a few tokens can be compared.
    """
    generator = random_stream("face-off", "going on")
    conditions = examples.conditions(trained.null)
    parts = zip(half.split(), conditions, strict=True)
    return torch.cat([complete_part(trained.model, *part, sampling, generator) for part in parts])


def complete_part(
    model: TokenModel,
    half: Half,
    condition: Conditioning | None,
    sampling: Sampling,
    generator: torch.Generator,
) -> Int[Tensor, "b n"]:
    """The same of the sequences that a model sees at once."""
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


def half(side: str, n: int) -> Bool[Tensor, "1 n"]:
    """Which positions of a square grid of n lie in this half?"""
    edge = math.isqrt(n)
    rows, columns = torch.meshgrid(torch.arange(edge), torch.arange(edge), indexing="ij")
    halves = {
        "upper": rows < edge // 2,
        "lower": rows >= edge // 2,
        "left": columns < edge // 2,
        "right": columns >= edge // 2,
    }
    return rearrange(halves[side], "r c -> 1 (r c)")


def choose(
    known: Bool[Tensor, "b n"], amount: str, generator: torch.Generator
) -> Bool[Tensor, "b n"]:
    """Some of the known tokens: one of each sequence, or this share of them all."""
    score = torch.rand(known.shape, generator=generator).to(known.device).masked_fill(~known, 2.0)
    if amount == ONE:
        first = torch.zeros_like(known).scatter_(1, score.argmin(dim=1, keepdim=True), True)
        return first & known
    return score < float(amount)


def make_wrong(
    x: Int[Tensor, "b n"], wrong: Bool[Tensor, "b n"], num_codes: int, generator: torch.Generator
) -> Int[Tensor, "b n"]:
    """Each wrong token becomes any other code."""
    shift = torch.randint(1, num_codes, x.shape, generator=generator).to(x.device)
    return torch.where(wrong, (x + shift) % num_codes, x)
