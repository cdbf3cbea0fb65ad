"""What does an image cost, from 16 to 1,024 tokens? Seconds, and operations by counting.

The networks are those of the face-off, fresh: how long sampling takes does not depend on what was
learnt. Each samples with the very code that samples elsewhere. Operations are multiplications and
additions in matrix products, both counted.

Seconds on the CPU are processor time on one thread. On CUDA they are seconds of the clock: there
the processor hands out one small job after the other, and the device often waits for it.

A few calls stand for all: of more than 64 tokens 16 are sampled without a cache, and a diffusion
makes 4 calls. Both are counted as often as they would be made. With a cache all tokens are sampled.

Without a cache the raster transformer reads all positions for each token, the empty ones too, as a
plain sampler does; "prefix only" leaves these out. The 16 prefixes of a long sequence are of evenly
spaced lengths, because the longer ones cost more.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import vqlearn.autoregressive as networks
from vqlearn.autoregressive.decoding import NextTokenLogProbs
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, build_schedule, released
from vqlearn.experiments.face_off.quality import CALLS, GUIDED
from vqlearn.experiments.face_off.training import run_id
from vqlearn.experiments.report import Run
from vqlearn.experiments.systems import DENOISER_SIZE, IMAGEBART_SIZE, RASTER_SIZE
from vqlearn.probability import PLAIN, Conditioning, Sampling, log_normalise, sample_categorical
from vqlearn.training import NUM_TIMESTEPS, denoiser_config
from vqlearn.transformer import Denoiser

LENGTHS = (16, 64, 256, 1024)
BATCHES = (1, 8, 32)
NUM_CODES, TEXT = 384, {"text_length": 32, "text_width": 128}
SIZES = {"raster": RASTER_SIZE, "imagebart": IMAGEBART_SIZE, "denoiser": DENOISER_SIZE}
REPEATS = 3
SHORT = 64  # tokens: of a longer sequence a part of the work stands for all
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
class CostRun(Run):
    """What sampling n tokens in one way costs on a device."""

    way: str
    num_tokens: int
    device: str = "cpu"
    data: ClassVar[None] = None

    @property
    def id(self) -> str:
        """Such as "cost/raster/64", or "cuda-cost/raster/64"."""
        return run_id("cost" if self.device == "cpu" else "cuda-cost", self.way, self.num_tokens)

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        sizes = {kind: asdict(size) for kind, size in SIZES.items()}
        return {"way": self.way, "tokens": self.num_tokens, **sizes, "batches": list(BATCHES)}

    def measure(self, data: None) -> Cost:
        """Seconds and operations."""
        return measure_cost(self.way, self.num_tokens, BATCHES, self.device)


@dataclass(frozen=True)
class Way:
    """One way to sample: the kind of model with its sampling, with a cache where there is one.

    With a `reader` a raster transformer has no cache, and reads caption and sequence anew for each
    token. Of long sequences a part is sampled: 16 tokens without a cache, 4 steps of a diffusion.
    """

    kind: str
    sampling: Sampling = PLAIN
    reader: Callable[[networks.RasterTransformer, Tensor], NextTokenLogProbs] | None = None

    def sample(self, n: int, count: int, device: str = "cpu") -> Tensor:
        """`count` sequences of n tokens, or a part of the work for them."""
        model, condition = fresh(self.kind, n, device), conditioning(count, device)
        generator = torch.Generator().manual_seed(0)
        if self.reader is None:
            steps = self.sampling.num_inference_steps
            steps = None if steps is None else round(steps * self.part(n))
            how = replace(self.sampling, num_inference_steps=steps)
            return model.sample(count, condition, sampling=how, generator=generator)
        next_token_log_probs = self.reader(model, condition.text)
        sampled, apart = [], round(1 / self.part(n))
        for length in range(apart // 2, n, apart):
            # the cost does not depend on the codes: the prefixes are zeros
            prefix = torch.zeros(count, length, dtype=torch.long, device=device)
            log_p = next_token_log_probs(prefix)  # (b, k)
            sampled.append(sample_categorical(log_p[:, None], generator=generator))
        return torch.cat(sampled, dim=1)

    def part(self, n: int) -> float:
        """Which part of all the work is done? 1 is all."""
        steps = self.sampling.num_inference_steps
        done, of = (PART, n) if self.reader else (CALLS_OF_LONG, steps)
        return 1.0 if of is None or n <= SHORT else min(1.0, done / of)


def read_prefix(network: networks.RasterTransformer, text: Tensor) -> NextTokenLogProbs:
    """The next distribution by reading caption, start and prefix: all of them, each time."""

    def next_token_log_probs(prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        h = functional.pad(network.token_embedding(prefix), (0, 0, 0, 1))  # the next position
        return log_normalise(network.from_embedding(h, text)[:, -1])

    return next_token_log_probs


@cache
def fresh(kind: str, n: int, device: str) -> Any:
    """A model for n tokens, a square grid. Other schedules cost as much as the released one."""
    sizes = {"num_positions": n, **TEXT, **asdict(SIZES[kind])}
    if kind == "raster":
        model = networks.RasterTransformer(networks.RasterTransformerConfig(NUM_CODES, **sizes))
    elif kind == "imagebart":
        model = networks.ImageBART(networks.ImageBARTConfig(NUM_CODES, num_scales=2, **sizes))
    else:
        side, width = math.isqrt(n), TEXT["text_width"]
        config = denoiser_config(num_codes=NUM_CODES, side=side, text_width=width, size=SIZES[kind])
        process = MaskAndReplace(build_schedule(released(NUM_CODES, NUM_TIMESTEPS)))
        model = DiffusionModel(process, Denoiser(config))
    return model.eval().requires_grad_(False).to(device)


def conditioning(count: int, device: str) -> Conditioning:
    """Any captions: the cost does not depend on them."""
    text = torch.zeros(count, *TEXT.values(), device=device)  # (b, l, c)
    return Conditioning(text, text[:1])


COSTS: dict[str, Way] = {
    "raster without cache": Way("raster", reader=networks.AutoregressiveModel.plain_decoder),
    "raster, prefix only": Way("raster", reader=read_prefix),
    "raster": Way("raster"),
    "raster guided": Way("raster", GUIDED),
    "imagebart": Way("imagebart"),
    **{
        f"diffusion {steps}{name}": Way("denoiser", replace(how, num_inference_steps=steps))
        for name, how in (("", PLAIN), (" guided", GUIDED))
        for steps in CALLS
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
    clock = time.process_time if device == "cpu" else time.perf_counter
    # the first call makes the network; and CUDA plans each size anew
    way.sample(n, 1 if device == "cpu" else count, device)
    threads, taken = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(REPEATS if n <= SHORT else 1):
        begin = clock()
        way.sample(n, count, device).cpu()  # waits for the last token
        taken.append(clock() - begin)
    torch.set_num_threads(threads)
    return statistics.median(taken) / way.part(n)
