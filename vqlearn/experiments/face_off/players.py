"""A trained system as the measurements see it: how surprised is it, and what does it draw?

All take the same `Drawing` and the same `Heard`, and none knows which measurement asks.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from einops import repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.raster_transformer import RasterTransformer
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.objective import variational_bound
from vqlearn.diffusion.process import Process
from vqlearn.diffusion.sampler import Denoise, levels_to_visit, step
from vqlearn.experiments.face_off.starts import Start, corrupted, hidden, noise
from vqlearn.probability.filters import guide, top_p
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.model import Conditioning, Given, Sampling, TokenModel

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
    def sampling(self) -> Sampling:
        """The same for a `TokenModel`."""
        return Sampling(self.guidance, self.truncation, self.calls)


@dataclass(frozen=True, eq=False)
class Heard:
    """The states of the captions, one for each row, and of "no caption", once."""

    text: Text
    null: Text

    @property
    def condition(self) -> Conditioning:
        """The same for a `TokenModel`."""
        return Conditioning(self.text, self.null)


@runtime_checkable
class Player(Protocol):
    """What every system can do, rows of n tokens each."""

    def nats(self, x: Int[Tensor, "b n"], text: Text, generator: torch.Generator) -> Tensor:
        """How surprising is each row after its caption? Exactly, or at most: (b,)."""

    def draw(self, heard: Heard, n: int, drawing: Drawing, generator: torch.Generator) -> Tensor:
        """One row for each caption."""

    def lose_half(self, x: Int[Tensor, "b n"], generator: torch.Generator) -> Start:
        """Half of the tokens are lost, as the system is used to; it may draw the rest anew."""

    def hide(
        self, x: Int[Tensor, "b n"], given: Bool[Tensor, "b n"], generator: torch.Generator
    ) -> Start:
        """All but the given tokens are lost, and the given ones stay."""

    def go_on(
        self, start: Start, heard: Heard, drawing: Drawing, generator: torch.Generator
    ) -> Int[Tensor, "b n"]:
        """Draw what is lost."""


class RasterPlayer:
    """A raster transformer: exact bits, one call for each token, and what is written stays."""

    def __init__(self, network: RasterTransformer) -> None:
        self.network = network

    @torch.no_grad()
    def nats(self, x: Int[Tensor, "b n"], text: Text, generator: torch.Generator) -> Tensor:
        return self.network.nll(x, Conditioning(text))

    def draw(self, heard: Heard, n: int, drawing: Drawing, generator: torch.Generator) -> Tensor:
        return self.network.sample(
            len(heard.text), heard.condition, sampling=drawing.sampling, generator=generator
        )

    def lose_half(self, x: Int[Tensor, "b n"], generator: torch.Generator) -> Start:
        """The lower half."""
        left = torch.zeros_like(x, dtype=torch.bool)
        left[:, : x.shape[1] // 2] = True
        return Start(x, left, fixed=False)

    def hide(
        self, x: Int[Tensor, "b n"], given: Bool[Tensor, "b n"], generator: torch.Generator
    ) -> Start:
        """What is not given is written over before anything looks at it."""
        return Start(x, given, fixed=True)

    def go_on(
        self, start: Start, heard: Heard, drawing: Drawing, generator: torch.Generator
    ) -> Int[Tensor, "b n"]:
        return self.network.sample(
            len(start.x),
            heard.condition,
            given=Given(start.x, start.given),
            sampling=drawing.sampling,
            generator=generator,
        )


class ImageBARTPlayer:
    """An ImageBART: a bound, and one call of each scale for each token."""

    def __init__(self, network: ImageBART) -> None:
        self.network = network

    @torch.no_grad()
    def nats(self, x: Int[Tensor, "b n"], text: Text, generator: torch.Generator) -> Tensor:
        return self.network.nll(x, Conditioning(text), generator=generator)

    def draw(self, heard: Heard, n: int, drawing: Drawing, generator: torch.Generator) -> Tensor:
        return self.network.sample(
            len(heard.text), heard.condition, sampling=drawing.sampling, generator=generator
        )

    def lose_half(self, x: Int[Tensor, "b n"], generator: torch.Generator) -> Start:
        """Any half."""
        return corrupted(self.network.process, x, generator)

    def hide(
        self, x: Int[Tensor, "b n"], given: Bool[Tensor, "b n"], generator: torch.Generator
    ) -> Start:
        """Noise in place of the rest."""
        return hidden(self.network.process, x, given, generator)

    def go_on(
        self, start: Start, heard: Heard, drawing: Drawing, generator: torch.Generator
    ) -> Int[Tensor, "b n"]:
        return self.network.sample_from(
            start.x,
            start.level,
            heard.condition,
            given=Given(start.x, start.given) if start.fixed else None,
            sampling=drawing.sampling,
            generator=generator,
        )


class DiffusionPlayer:
    """A denoiser and its process: a bound, and as many calls as one likes."""

    def __init__(self, denoiser: nn.Module, process: Process) -> None:
        self.denoiser, self.process = denoiser, process

    @torch.no_grad()
    def nats(self, x: Int[Tensor, "b n"], text: Text, generator: torch.Generator) -> Tensor:
        p_x0 = self._p_x0(Heard(text, text[:1]), Drawing())
        return variational_bound(self.process, p_x0, x, generator=generator)

    def draw(self, heard: Heard, n: int, drawing: Drawing, generator: torch.Generator) -> Tensor:
        x_t = noise(self.process, (len(heard.text), n), generator, heard.text.device)
        levels = levels_to_visit(self.process.num_timesteps, drawing.calls)
        return self._walk(x_t, levels, self._p_x0(heard, drawing), generator)

    def lose_half(self, x: Int[Tensor, "b n"], generator: torch.Generator) -> Start:
        """Any half."""
        return corrupted(self.process, x, generator)

    def hide(
        self, x: Int[Tensor, "b n"], given: Bool[Tensor, "b n"], generator: torch.Generator
    ) -> Start:
        """Noise in place of the rest."""
        return hidden(self.process, x, given, generator)

    def go_on(
        self, start: Start, heard: Heard, drawing: Drawing, generator: torch.Generator
    ) -> Int[Tensor, "b n"]:
        levels = levels_to_visit(start.level, min(drawing.calls, start.level))
        p_x0 = self._p_x0(heard, drawing)
        return self._walk(start.x, levels, p_x0, generator, start if start.fixed else None)

    @torch.no_grad()
    def p_x0(self, start: Start, heard: Heard) -> Float[Tensor, "b n k"]:
        """How likely is each code behind each token? Probabilities."""
        return self._p_x0(heard, Drawing())(start.x, start.level).exp()

    def _p_x0(self, heard: Heard, drawing: Drawing) -> Denoise:
        guided = drawing.guidance > 1
        nulls = repeat(heard.null, "1 l c -> b l c", b=len(heard.text))
        text = torch.cat([nulls, heard.text]) if guided else heard.text

        def p_x0(x_t: Int[Tensor, "b n"], t: int) -> Float[Tensor, "b n k"]:
            rows = torch.cat([x_t, x_t]) if guided else x_t
            levels = torch.full((len(rows),), t, device=rows.device)
            log_p = log_normalise(self.denoiser(rows, levels, text))
            if guided:
                unsaid, said = log_p.chunk(2)
                log_p = guide(said, unsaid, drawing.guidance)
            return top_p(log_p, drawing.truncation)

        return p_x0

    @torch.no_grad()
    def _walk(
        self,
        x_t: Int[Tensor, "b n"],
        levels: list[int],
        p_x0: Denoise,
        generator: torch.Generator,
        fixed: Start | None = None,
    ) -> Int[Tensor, "b n"]:
        for t, s in pairwise(levels):
            x_t = step(self.process, p_x0(x_t, t), x_t, (t, s), generator=generator)
            if fixed is not None:
                x_t = torch.where(fixed.given, fixed.x, x_t)
        return x_t


def player_of(model: TokenModel) -> Player:
    """The player for what was trained."""
    if isinstance(model, DiffusionModel):
        return DiffusionPlayer(model.network, model.process)
    if isinstance(model, RasterTransformer):
        return RasterPlayer(model)
    return ImageBARTPlayer(model)
