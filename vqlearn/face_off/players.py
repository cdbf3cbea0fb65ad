"""A trained contender as the measurements see it: how surprised is it, and what does it draw?

All take the same `Drawing` and the same `Heard`, and none knows which measurement asks.
Tests: tests/test_players.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive import filters, raster
from vqlearn.autoregressive.cache import CachedReader
from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.raster import NextLaw, Sharpen
from vqlearn.autoregressive.transformer import RasterTransformer, conditionals
from vqlearn.diffusion.guidance import guide, truncate
from vqlearn.diffusion.logmath import log_normalise
from vqlearn.diffusion.objective import variational_bound
from vqlearn.diffusion.process import Process
from vqlearn.diffusion.sampler import Denoise, levels_to_visit, step
from vqlearn.face_off.starts import Start, corrupted, hidden, noise, obeying
from vqlearn.training.diffusion import DenoiserTrainee
from vqlearn.training.loop import Trainee
from vqlearn.training.raster import RasterTrainee

Text = Float[Tensor, "_ l c"]


@dataclass(frozen=True)
class Drawing:
    """How is drawn? The names are those of the pipeline.

    A guidance of 1 is none, a truncation of 1 cuts nothing. `calls` of the network count for
    diffusion only: a raster network needs one for each token.
    """

    guidance: float = 1.0
    truncation: float = 1.0
    calls: int = 25

    @property
    def sharpen(self) -> Sharpen | None:
        """The truncation as a filter of next laws."""
        return None if self.truncation == 1 else partial(filters.top_p, mass=self.truncation)


@dataclass(frozen=True, eq=False)
class Heard:
    """The states of the sentences, one for each row, and of "no sentence", once."""

    text: Text
    null: Text

    def next_law(self, law_of: Callable[[Text], NextLaw], guidance: float) -> NextLaw:
        """The law after the sentences, guided if `guidance` is above 1."""
        said = law_of(self.text)
        return filters.guided(said, law_of(self.null), guidance) if guidance > 1 else said


@runtime_checkable
class Player(Protocol):
    """What every contender can do, rows of n tokens each."""

    def nats(self, x: Int[Tensor, "b n"], text: Text, chance: torch.Generator) -> Tensor:
        """How surprising is each row after its sentence? Exactly, or at most: (b,)."""

    def draw(self, heard: Heard, n: int, drawing: Drawing, chance: torch.Generator) -> Tensor:
        """One row for each sentence."""

    def lose_half(self, x: Int[Tensor, "b n"], chance: torch.Generator) -> Start:
        """Half of the tokens are lost, as the contender is used to; it may draw the rest anew."""

    def hide(
        self, x: Int[Tensor, "b n"], given: Bool[Tensor, "b n"], chance: torch.Generator
    ) -> Start:
        """All but the given tokens are lost, and the given ones stay."""

    def go_on(
        self, start: Start, heard: Heard, drawing: Drawing, chance: torch.Generator
    ) -> Int[Tensor, "b n"]:
        """Draw what is lost."""


class RasterPlayer:
    """A raster transformer: exact bits, one call for each token, and what is written stays."""

    def __init__(self, network: RasterTransformer) -> None:
        self.network = network

    @torch.no_grad()
    def nats(self, x: Int[Tensor, "b n"], text: Text, chance: torch.Generator) -> Tensor:
        return -raster.log_likelihood(conditionals(self.network, text), x)

    def draw(self, heard: Heard, n: int, drawing: Drawing, chance: torch.Generator) -> Tensor:
        nothing = heard.text.new_zeros(len(heard.text), 0, dtype=torch.long)
        law = self._law(heard, drawing)
        return raster.sample(law, nothing, n, sharpen=drawing.sharpen, generator=chance)

    def lose_half(self, x: Int[Tensor, "b n"], chance: torch.Generator) -> Start:
        """The lower half."""
        left = torch.zeros_like(x, dtype=torch.bool)
        left[:, : x.shape[1] // 2] = True
        return Start(x, left, fixed=False)

    def hide(
        self, x: Int[Tensor, "b n"], given: Bool[Tensor, "b n"], chance: torch.Generator
    ) -> Start:
        """What is not given is written over before anything looks at it."""
        return Start(x, given, fixed=True)

    def go_on(
        self, start: Start, heard: Heard, drawing: Drawing, chance: torch.Generator
    ) -> Int[Tensor, "b n"]:
        law = obeying(self._law(heard, drawing), start)
        return raster.sample(
            law, start.x[:, :0], start.x.shape[1], sharpen=drawing.sharpen, generator=chance
        )

    def _law(self, heard: Heard, drawing: Drawing) -> NextLaw:
        return heard.next_law(lambda text: CachedReader(self.network, text), drawing.guidance)


class ImageBARTPlayer:
    """An ImageBART: a bound, and one call of each scale for each token."""

    def __init__(self, network: ImageBART) -> None:
        self.network = network

    @torch.no_grad()
    def nats(self, x: Int[Tensor, "b n"], text: Text, chance: torch.Generator) -> Tensor:
        return self.network.bound(x, text=text, generator=chance)

    def draw(self, heard: Heard, n: int, drawing: Drawing, chance: torch.Generator) -> Tensor:
        def step_back(x_t: Int[Tensor, "b n"], t: int) -> NextLaw:
            return self._law(heard, drawing, x_t, t)

        shape = (len(heard.text), n)
        return self.network.sample_by(step_back, shape, sharpen=drawing.sharpen, generator=chance)

    def lose_half(self, x: Int[Tensor, "b n"], chance: torch.Generator) -> Start:
        """Any half."""
        return corrupted(self.network.process, x, chance)

    def hide(
        self, x: Int[Tensor, "b n"], given: Bool[Tensor, "b n"], chance: torch.Generator
    ) -> Start:
        """Noise in place of the rest."""
        return hidden(self.network.process, x, given, chance)

    def go_on(
        self, start: Start, heard: Heard, drawing: Drawing, chance: torch.Generator
    ) -> Int[Tensor, "b n"]:
        x = start.x
        for t in range(start.level, 0, -1):
            law = self._law(heard, drawing, x, t)
            law = obeying(law, start) if start.fixed else law
            x = raster.sample(law, x[:, :0], x.shape[1], sharpen=drawing.sharpen, generator=chance)
        return x

    def _law(self, heard: Heard, drawing: Drawing, x_t: Int[Tensor, "b n"], t: int) -> NextLaw:
        return heard.next_law(lambda text: self.network.next_law(x_t, t, text), drawing.guidance)


class DiffusionPlayer:
    """A denoiser and its process: a bound, and as many calls as one likes."""

    def __init__(self, denoiser: nn.Module, process: Process) -> None:
        self.denoiser, self.process = denoiser, process

    @torch.no_grad()
    def nats(self, x: Int[Tensor, "b n"], text: Text, chance: torch.Generator) -> Tensor:
        belief = self._belief(Heard(text, text[:1]), Drawing())
        return variational_bound(self.process, belief, x, generator=chance)

    def draw(self, heard: Heard, n: int, drawing: Drawing, chance: torch.Generator) -> Tensor:
        x_t = noise(self.process, (len(heard.text), n), chance, heard.text.device)
        levels = levels_to_visit(self.process.num_timesteps, drawing.calls)
        return self._walk(x_t, levels, self._belief(heard, drawing), chance)

    def lose_half(self, x: Int[Tensor, "b n"], chance: torch.Generator) -> Start:
        """Any half."""
        return corrupted(self.process, x, chance)

    def hide(
        self, x: Int[Tensor, "b n"], given: Bool[Tensor, "b n"], chance: torch.Generator
    ) -> Start:
        """Noise in place of the rest."""
        return hidden(self.process, x, given, chance)

    def go_on(
        self, start: Start, heard: Heard, drawing: Drawing, chance: torch.Generator
    ) -> Int[Tensor, "b n"]:
        levels = levels_to_visit(start.level, min(drawing.calls, start.level))
        belief = self._belief(heard, drawing)
        return self._walk(start.x, levels, belief, chance, start if start.fixed else None)

    @torch.no_grad()
    def belief(self, start: Start, heard: Heard) -> Float[Tensor, "b n k"]:
        """How likely is each code behind each token? Probabilities."""
        return self._belief(heard, Drawing())(start.x, start.level).exp()

    def _belief(self, heard: Heard, drawing: Drawing) -> Denoise:
        guided = drawing.guidance > 1
        nulls = repeat(heard.null, "1 l c -> b l c", b=len(heard.text))
        text = torch.cat([nulls, heard.text]) if guided else heard.text

        def belief(x_t: Int[Tensor, "b n"], t: int) -> Float[Tensor, "b n k"]:
            rows = torch.cat([x_t, x_t]) if guided else x_t
            levels = torch.full((len(rows),), t, device=rows.device)
            log_p = log_normalise(self.denoiser(rows, levels, text))
            if guided:
                unsaid, said = log_p.chunk(2)
                log_p = guide(said, unsaid, drawing.guidance)
            return truncate(log_p, drawing.truncation)

        return belief

    @torch.no_grad()
    def _walk(
        self,
        x_t: Int[Tensor, "b n"],
        levels: list[int],
        belief: Denoise,
        chance: torch.Generator,
        fixed: Start | None = None,
    ) -> Int[Tensor, "b n"]:
        for t, s in pairwise(levels):
            x_t = step(self.process, belief(x_t, t), x_t, (t, s), generator=chance)
            if fixed is not None:
                x_t = torch.where(fixed.given, fixed.x, x_t)
        return x_t


def player_of(trainee: Trainee) -> Player:
    """The player for what was trained."""
    if isinstance(trainee, DenoiserTrainee):
        return DiffusionPlayer(trainee.network.denoiser, trainee.process)
    if isinstance(trainee, RasterTrainee):
        return RasterPlayer(trainee.network.transformer)
    return ImageBARTPlayer(trainee.network.imagebart)
