"""What does an image cost, from 16 to 1,024 tokens? Seconds, and operations by counting.

The networks are those of the face-off, fresh: how long a drawing takes does not depend on what was
learnt. Each draws with the very code that draws elsewhere. Operations are multiplications and
additions in matrix products, both counted.

Seconds on the CPU are processor time on one thread. On CUDA they are seconds of the clock: there
the processor hands out one small job after the other, and the device often waits for it.

A few calls stand for all: of more than 64 tokens 16 are written without a cache, and a diffusion
makes 4 calls. Both are counted as often as they would be made. With a cache all tokens are written.

Without a cache the raster transformer reads all positions for each token, the empty ones too, as a
plain sampler does; "prefix only" leaves these out. Its 16 prefixes of a long row are of evenly
spaced lengths, because the longer ones cost more.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any, ClassVar

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vqlearn.autoregressive.decoding import NextTokenLogProbs, sample, without_cache
from vqlearn.autoregressive.imagebart import ImageBART, ImageBARTConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import build_schedule, released
from vqlearn.experiments.face_off.players import (
    DiffusionPlayer,
    Drawing,
    Heard,
    ImageBARTPlayer,
    Player,
    RasterPlayer,
)
from vqlearn.experiments.face_off.quality import CALLS, GUIDED
from vqlearn.experiments.face_off.system_run import run_id
from vqlearn.experiments.identity import size_settings
from vqlearn.experiments.systems import (
    DENOISER_SIZE,
    IMAGEBART_SIZE,
    RASTER_SIZE,
    denoiser_config,
)
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.model import Conditioning
from vqlearn.probability.random import sample_categorical
from vqlearn.training.recipes import NUM_TIMESTEPS
from vqlearn.transformer.denoiser import Denoiser

LENGTHS = (16, 64, 256, 1024)
BATCHES = (1, 8, 32)
NUM_CODES, TEXT_LENGTH, TEXT_WIDTH = 384, 32, 128
REPEATS = 3
SHORT = 64  # tokens: a longer row is read only in part
PART = 16  # tokens
CALLS_OF_LONG = 4


@dataclass(frozen=True)
class Cost:
    """Of one image: seconds in batches of each size, multiplications and additions.

    On CUDA operations are not counted: they are those of the CPU.
    """

    seconds_per_image: dict[str, float]
    operations_per_image: int | None = None


@dataclass(frozen=True)
class CostRun:
    """What sampling n tokens in one way costs on a device."""

    way: str
    num_tokens: int
    device: str = "cpu"
    data: ClassVar[None] = None
    result: ClassVar[type] = Cost

    @property
    def id(self) -> str:
        """Such as "cost/raster/64", or "cuda-cost/raster/64"."""
        return run_id("cost" if self.device == "cpu" else "cuda-cost", self.way, self.num_tokens)

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        sizes = {"raster": RASTER_SIZE, "imagebart": IMAGEBART_SIZE, "denoiser": DENOISER_SIZE}
        told = {name: size_settings(size) for name, size in sizes.items()}
        return {"way": self.way, "tokens": self.num_tokens, **told, "batches": list(BATCHES)}

    def measure(self, data: None) -> Cost:
        """Seconds and operations."""
        return measure_cost(self.way, self.num_tokens, BATCHES, self.device)


@dataclass(frozen=True)
class Way:
    """`draw(n, count, device)` draws `count` rows of n tokens; `part(n)` of it stands for all."""

    draw: Callable[..., Tensor]
    part: Callable[[int], float] = lambda n: 1.0


def text_config(n: int) -> dict[str, int]:
    """What the raster networks are told of their rows and their text."""
    sizes = {"num_codes": NUM_CODES, "num_positions": n}
    return {**sizes, "text_width": TEXT_WIDTH, "text_length": TEXT_LENGTH}


@cache
def raster_network(n: int, device: str) -> RasterTransformer:
    """The raster transformer of the face-off for rows of n tokens."""
    config = RasterTransformerConfig(**text_config(n), **asdict(RASTER_SIZE))
    return _fresh(RasterTransformer(config), device)


@cache
def imagebart_network(n: int, device: str) -> ImageBART:
    """The ImageBART of the face-off, two scales."""
    config = ImageBARTConfig(**text_config(n), num_scales=2, **asdict(IMAGEBART_SIZE))
    return _fresh(ImageBART(config), device)


@cache
def denoiser_network(n: int, device: str) -> Denoiser:
    """The denoiser of the face-off for a square grid of n tokens."""
    side = math.isqrt(n)
    config = denoiser_config(
        num_codes=NUM_CODES, side=side, text_width=TEXT_WIDTH, size=DENOISER_SIZE
    )
    return _fresh(Denoiser(config), device)


def heard(count: int, device: str) -> Heard:
    """Any captions: the cost does not depend on them."""
    null = torch.zeros(1, TEXT_LENGTH, TEXT_WIDTH, device=device)
    return Heard(repeat(null, "1 l c -> b l c", b=count), null)


def draw(
    player: Callable[[int, str], Player], drawing: Drawing, n: int, count: int, device: str = "cpu"
) -> Tensor:
    """`count` rows of n tokens."""
    generator = torch.Generator().manual_seed(0)
    return player(n, device).draw(heard(count, device), n, drawing, generator)


def draw_without_cache(n: int, count: int, device: str = "cpu") -> Tensor:
    """The first tokens of each row (`part_of_row`); the whole row is read again for each."""
    network, tokens = raster_network(n, device), round(n * part_of_row(n))
    condition = Conditioning(heard(count, device).text)
    distribution = without_cache(lambda x: network.log_probs(x, condition), n)
    nothing = torch.zeros(count, 0, dtype=torch.long, device=device)
    return sample(distribution, nothing, tokens, generator=torch.Generator().manual_seed(0))


def draw_from_prefixes(n: int, count: int, device: str = "cpu") -> Tensor:
    """One token after each of these prefixes, with nothing kept and no empty position read.

    Of a long row some prefixes of evenly spaced lengths stand for all.
    """
    network, tokens = raster_network(n, device), round(n * part_of_row(n))
    distribution, apart = read_prefix(network, heard(count, device).text), n // tokens
    generator, drawn = torch.Generator().manual_seed(0), []
    for length in range(apart // 2, n, apart):
        prefix = torch.zeros(count, length, dtype=torch.long, device=device)
        drawn.append(sample_categorical(distribution(prefix)[:, None], generator=generator))
    return torch.cat(drawn, dim=1)


def read_prefix(network: RasterTransformer, text: Tensor) -> NextTokenLogProbs:
    """The next distribution by reading the caption, the start and the prefix: all of them, each
    time."""

    @torch.no_grad()
    def next_token_log_probs(prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        inputs = torch.cat([network.start(len(prefix)), network.token_embedding(prefix)], dim=1)
        caches = network.prefill(len(prefix), text)
        return log_normalise(network.decode(inputs, caches)[:, -1])

    return next_token_log_probs


def part_of_row(n: int) -> float:
    """All of a short row; of a longer one as much as `PART` calls write."""
    return 1.0 if n <= SHORT else PART / n


def raster_player(n: int, device: str) -> Player:
    """One call for each token, each token read once."""
    return RasterPlayer(raster_network(n, device))


def imagebart_player(n: int, device: str) -> Player:
    """Two calls for each token, each token read once by each scale."""
    return ImageBARTPlayer(imagebart_network(n, device))


@cache
def diffusion_player(n: int, device: str) -> Player:
    """The released schedule, which other schedules cost as much as."""
    process = MaskAndReplace(build_schedule(released(NUM_CODES, NUM_TIMESTEPS)))
    return DiffusionPlayer(denoiser_network(n, device), process)


def of_diffusion(calls: int, guided: dict[str, float]) -> Way:
    """So many calls of the denoiser; for a long row a few of them."""

    def made(n: int) -> int:
        return calls if n <= SHORT else min(calls, CALLS_OF_LONG)

    def draw_some(n: int, count: int, device: str = "cpu") -> Tensor:
        return draw(diffusion_player, Drawing(**guided, calls=made(n)), n, count, device)

    return Way(draw_some, lambda n: made(n) / calls)


COSTS: dict[str, Way] = {
    "raster without cache": Way(draw_without_cache, part_of_row),
    "raster, prefix only": Way(draw_from_prefixes, part_of_row),
    "raster": Way(partial(draw, raster_player, Drawing())),
    "raster guided": Way(partial(draw, raster_player, Drawing(**GUIDED))),
    "imagebart": Way(partial(draw, imagebart_player, Drawing())),
    **{f"diffusion {calls}": of_diffusion(calls, {}) for calls in CALLS},
    **{f"diffusion {calls} guided": of_diffusion(calls, GUIDED) for calls in CALLS},
}


def measure_cost(way: str, n: int, batches: Sequence[int], device: str = "cpu") -> Cost:
    """The median of three times sampling for short sequences."""
    taken = {str(count): _seconds(COSTS[way], n, count, device) / count for count in batches}
    seconds = {count: float(f"{value:.3g}") for count, value in taken.items()}
    return Cost(seconds, None if device == "cuda" else round(operations(COSTS[way], n)))


def operations(way: Way, n: int) -> float:
    """Multiplications and additions for one image, counted while it is drawn."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        way.draw(n, 1)
    return counter.get_total_flops() / way.part(n)


def _seconds(way: Way, n: int, count: int, device: str) -> float:
    clock = _processor_time if device == "cpu" else _wall_time
    way.draw(n, 1 if device == "cpu" else count, device)  # makes the network; CUDA plans each size
    threads, taken = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(REPEATS if n <= SHORT else 1):
        taken.append(clock(way, n, count))
    torch.set_num_threads(threads)
    return statistics.median(taken) / way.part(n)


def _processor_time(way: Way, n: int, count: int) -> float:
    begin = time.process_time()
    way.draw(n, count)
    return time.process_time() - begin


def _wall_time(way: Way, n: int, count: int) -> float:
    begin = time.perf_counter()
    way.draw(n, count, "cuda").cpu()  # waits for the last token
    return time.perf_counter() - begin


def _fresh(network: nn.Module, device: str) -> Any:
    return network.eval().requires_grad_(False).to(device)
