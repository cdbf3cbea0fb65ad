"""What does an image cost, from 16 to 1,024 tokens? Seconds, and operations by counting.

The networks are those of the face-off, fresh: how long sampling takes does not depend on what was
learnt. Each samples with the very code that samples elsewhere. Operations are multiplications and
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
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, ClassVar

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vqlearn.autoregressive import ImageBART, RasterTransformer, RasterTransformerConfig
from vqlearn.autoregressive.decoding import NextTokenLogProbs, sample, without_cache
from vqlearn.autoregressive.imagebart import ImageBARTConfig
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, build_schedule, released
from vqlearn.experiments.face_off.quality import CALLS, GUIDED
from vqlearn.experiments.face_off.system_run import run_id
from vqlearn.experiments.identity import size_settings
from vqlearn.experiments.systems import DENOISER_SIZE, IMAGEBART_SIZE, RASTER_SIZE
from vqlearn.probability import (
    PLAIN,
    Conditioning,
    Sampling,
    TokenModel,
    log_normalise,
    sample_categorical,
)
from vqlearn.training import NUM_TIMESTEPS, Size, denoiser_config
from vqlearn.transformer import Denoiser

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


class Way(ABC):
    """One way to sample; for long sequences it may sample a part, which stands for all."""

    @abstractmethod
    def sample(self, n: int, count: int, device: str = "cpu") -> Tensor:
        """`count` sequences of n tokens, or a part of them."""

    def part(self, n: int) -> float:
        """Which part of all the work is done? 1 is all."""
        return 1.0


@dataclass(frozen=True)
class WholeSequences(Way):
    """What the model does on its own: with a cache, each token is read once."""

    model: Callable[[int, str], TokenModel]
    sampling: Sampling = PLAIN

    def sample(self, n: int, count: int, device: str = "cpu") -> Tensor:
        return _sample(self.model(n, device), count, device, self.sampling)


@dataclass(frozen=True)
class DiffusionSteps(Way):
    """So many steps of a diffusion; of a long sequence a few of them, which all cost the same."""

    sampling: Sampling

    def steps(self, n: int) -> int:
        """The steps that are taken."""
        steps = self.sampling.num_inference_steps
        return steps if n <= SHORT else min(steps, CALLS_OF_LONG)

    def sample(self, n: int, count: int, device: str = "cpu") -> Tensor:
        sampling = replace(self.sampling, num_inference_steps=self.steps(n))
        return _sample(diffusion_model(n, device), count, device, sampling)

    def part(self, n: int) -> float:
        return self.steps(n) / self.sampling.num_inference_steps


class WithoutCache(Way):
    """The raster transformer reads the whole sequence, empty positions too, for each token.

    Of a long sequence the first tokens are sampled.
    """

    def sample(self, n: int, count: int, device: str = "cpu") -> Tensor:
        model, condition = raster_model(n, device), conditioning(count, device)
        distribution = without_cache(lambda x: model.log_probs(x, condition), n)
        nothing = torch.zeros(count, 0, dtype=torch.long, device=device)
        generator = torch.Generator().manual_seed(0)
        return sample(distribution, nothing, round(n * self.part(n)), generator=generator)

    def part(self, n: int) -> float:
        return 1.0 if n <= SHORT else PART / n


class PrefixOnly(WithoutCache):
    """The same without the empty positions.

    Of a long sequence some prefixes of evenly spaced lengths stand for all.
    """

    def sample(self, n: int, count: int, device: str = "cpu") -> Tensor:
        distribution = read_prefix(raster_model(n, device), conditioning(count, device).text)
        generator, sampled = torch.Generator().manual_seed(0), []
        apart = n // round(n * self.part(n))
        for length in range(apart // 2, n, apart):
            prefix = torch.zeros(count, length, dtype=torch.long, device=device)
            sampled.append(sample_categorical(distribution(prefix)[:, None], generator=generator))
        return torch.cat(sampled, dim=1)


def read_prefix(network: RasterTransformer, text: Tensor) -> NextTokenLogProbs:
    """The next distribution by reading caption, start and prefix: all of them, each time."""

    @torch.no_grad()
    def next_token_log_probs(prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        inputs = torch.cat([network.start(len(prefix)), network.token_embedding(prefix)], dim=1)
        caches = network.prefill(len(prefix), text)
        return log_normalise(network.decode(inputs, caches)[:, -1])

    return next_token_log_probs


@cache
def raster_model(n: int, device: str) -> RasterTransformer:
    """The raster transformer of the face-off for n tokens."""
    return _fresh(RasterTransformer(RasterTransformerConfig(**_sizes(n, RASTER_SIZE))), device)


@cache
def imagebart_model(n: int, device: str) -> ImageBART:
    """The ImageBART of the face-off, two scales."""
    return _fresh(ImageBART(ImageBARTConfig(**_sizes(n, IMAGEBART_SIZE), num_scales=2)), device)


@cache
def diffusion_model(n: int, device: str) -> DiffusionModel:
    """The released schedule, which other schedules cost as much as; a square grid of n tokens."""
    side = math.isqrt(n)
    config = denoiser_config(
        num_codes=NUM_CODES, side=side, text_width=TEXT_WIDTH, size=DENOISER_SIZE
    )
    process = MaskAndReplace(build_schedule(released(NUM_CODES, NUM_TIMESTEPS)))
    return _fresh(DiffusionModel(process, Denoiser(config)), device)


def conditioning(count: int, device: str) -> Conditioning:
    """Any captions: the cost does not depend on them."""
    null = torch.zeros(1, TEXT_LENGTH, TEXT_WIDTH, device=device)
    return Conditioning(repeat(null, "1 l c -> b l c", b=count), null)


COSTS: dict[str, Way] = {
    "raster without cache": WithoutCache(),
    "raster, prefix only": PrefixOnly(),
    "raster": WholeSequences(raster_model),
    "raster guided": WholeSequences(raster_model, GUIDED),
    "imagebart": WholeSequences(imagebart_model),
    **{f"diffusion {n}": DiffusionSteps(replace(PLAIN, num_inference_steps=n)) for n in CALLS},
    **{
        f"diffusion {n} guided": DiffusionSteps(replace(GUIDED, num_inference_steps=n))
        for n in CALLS
    },
}


def measure_cost(way: str, n: int, batches: Sequence[int], device: str = "cpu") -> Cost:
    """The median of three times sampling for short sequences."""
    taken = {str(count): _seconds(COSTS[way], n, count, device) / count for count in batches}
    seconds = {count: float(f"{value:.3g}") for count, value in taken.items()}
    return Cost(seconds, None if device == "cuda" else round(operations(COSTS[way], n)))


def operations(way: Way, n: int) -> float:
    """Multiplications and additions for one image, counted while it is sampled."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        way.sample(n, 1)
    return counter.get_total_flops() / way.part(n)


def _seconds(way: Way, n: int, count: int, device: str) -> float:
    clock = _processor_time if device == "cpu" else _wall_time
    way.sample(
        n, 1 if device == "cpu" else count, device
    )  # makes the network; CUDA plans each size
    threads, taken = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(REPEATS if n <= SHORT else 1):
        taken.append(clock(way, n, count))
    torch.set_num_threads(threads)
    return statistics.median(taken) / way.part(n)


def _processor_time(way: Way, n: int, count: int) -> float:
    begin = time.process_time()
    way.sample(n, count)
    return time.process_time() - begin


def _wall_time(way: Way, n: int, count: int) -> float:
    begin = time.perf_counter()
    way.sample(n, count, "cuda").cpu()  # waits for the last token
    return time.perf_counter() - begin


def _sample(model: TokenModel, count: int, device: str, sampling: Sampling) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    condition = conditioning(count, device)
    return model.sample(count, condition, sampling=sampling, generator=generator)


def _sizes(n: int, size: Size) -> dict[str, int]:
    sizes = {"num_codes": NUM_CODES, "num_positions": n}
    return {**sizes, "text_width": TEXT_WIDTH, "text_length": TEXT_LENGTH, **asdict(size)}


def _fresh(model: nn.Module, device: str) -> Any:
    return model.eval().requires_grad_(False).to(device)
