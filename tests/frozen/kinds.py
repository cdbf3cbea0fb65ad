"""How each kind of model is asked for its numbers and its tokens: what a new API has to adapt.

`KINDS` has one small model of every kind. `ask(network, given)` computes, out of inputs that are
stored (`given`), what the record holds: likelihoods or bounds in nats for each row, the training
loss of each row, and drawn tokens. Nothing here knows the record, and no other file here but
`scenes.py` and `training.py` knows the names of vqlearn.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from vqlearn.autoregressive.decoding import sample as sample_tokens
from vqlearn.autoregressive.decoding import sequential_log_likelihood, without_cache
from vqlearn.autoregressive.image_transformer import ImageTransformer, ImageTransformerConfig
from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.imagebart_scale import ImageBARTConfig
from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.autoregressive.pixelcnn import GatedPixelCNN, PixelCNN, PixelCNNConfig
from vqlearn.autoregressive.pixelcnnpp import PixelCNNPlusPlus, PixelCNNPlusPlusConfig
from vqlearn.autoregressive.pixelrnn import PixelRNN, PixelRNNConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.diffusion import kernels, schedule
from vqlearn.diffusion.likelihood import masked_bound
from vqlearn.diffusion.objective import training_loss, variational_bound
from vqlearn.diffusion.parameterisations import DirectPrediction, PluggedIntoBayes
from vqlearn.diffusion.process import MaskAndReplace, Process
from vqlearn.diffusion.sampler import levels_to_visit, sample
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.model import Conditioning, Sampling
from vqlearn.probability.random import sample_categorical
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig
from vqlearn.transformer.ordinal import OrdinalDenoiser
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser
from vqlearn.transformer.variants import CausalDenoiser, DirectDenoiser

Numbers = dict[str, Tensor]

LEVELS = 8
GUIDANCE, TOP_P = 2.5, 0.8
CODES = 6
TEXT_LENGTH, TEXT_WIDTH = 4, 3

DENOISER = DenoiserConfig(
    num_attention_heads=2,
    attention_head_dim=4,
    num_layers=2,
    cross_attention_dim=TEXT_WIDTH,
    attention_bias=True,
    num_vector_embeds=CODES + 1,
    sample_size=3,
    num_embeds_ada_norm=LEVELS,
)
CLEAN = SequenceConfig(
    num_codes=CODES,
    num_classes=CODES,
    num_positions=7,
    num_timesteps=LEVELS,
    width=8,
    num_layers=2,
    num_heads=2,
)
MASKED = replace(CLEAN, num_classes=CODES + 1)
BITS = replace(CLEAN, num_codes=2, num_classes=3)
RASTER = RasterTransformerConfig(
    num_codes=CODES,
    num_positions=9,
    text_width=None,
    text_length=0,
    width=8,
    num_layers=2,
    num_heads=2,
)
IMAGEBART = ImageBARTConfig(
    num_codes=CODES, num_positions=7, num_scales=3, width=8, num_layers=1, num_heads=2
)
TOLD = {"text_width": TEXT_WIDTH, "text_length": TEXT_LENGTH}
PIXELS = {"side": 3, "channels": 3, "num_codes": 3}
PIXELCNN = PixelCNNConfig(**PIXELS, width=6, num_layers=2, kernel_size=3)
PIXELCNNPP = PixelCNNPlusPlusConfig(**PIXELS, width=4, num_blocks=1, num_mixtures=2)
PIXELRNN = PixelRNNConfig(**PIXELS, width=6, num_layers=2)
IMAGE_TRANSFORMER = ImageTransformerConfig(
    **PIXELS, width=8, num_layers=2, num_heads=2, block_length=9, memory_length=6
)
SIMILAR = torch.tensor([[0.0], [1.0], [2.5], [2.7], [4.0], [5.5]])  # which codes are alike


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def diffusion(
    network: nn.Module,
    given: Numbers,
    process: Process,
    *,
    auxiliary_weight: float = 5e-4,
    calls: tuple[int, ...] = (LEVELS, 3),
) -> Numbers:
    """The bound, the loss, and tokens drawn from the prior on, with all levels and with few."""
    x_0, x_t, t, text = (given.get(name) for name in ("x_0", "x_t", "t", "text"))

    def p_x0(x_t: Tensor, t: Tensor) -> Tensor:
        scores = network(x_t, t) if text is None else network(x_t, t, text)
        return log_normalise(scores)

    def denoise(x_t: Tensor, t: int) -> Tensor:
        return p_x0(x_t, torch.full((len(x_t),), t))

    def drawn(calls: int) -> Tensor:
        prior = process.log_prior().expand(*x_0.shape, -1)
        noise = sample_categorical(prior, generator=seeded(2))
        levels = levels_to_visit(LEVELS, calls)
        *_, (_, x) = sample(process, denoise, noise, levels, generator=seeded(3))
        return x

    loss = training_loss(
        process, p_x0(x_t, t), (x_0, x_t), t, auxiliary_weight=auxiliary_weight
    ).total
    bound = variational_bound(process, denoise, x_0, generator=seeded(1))
    tokens = {f"tokens in {count} calls": drawn(count) for count in calls}
    return {"bound": bound, "loss": loss, **tokens}


def absorbing(network: nn.Module, given: Numbers, process: Process) -> Numbers:
    """The same, and the bound with infinitely many levels: the network is always told the last."""
    level = torch.full((len(given["x_0"]),), LEVELS)

    def unmask(x_t: Tensor) -> Tensor:
        return log_normalise(network(x_t, level, given["text"]))

    bound = masked_bound(unmask, given["x_0"], CODES, generator=seeded(1), draws=4)
    return {**diffusion(network, given, process), "masked bound": bound}


bound_alone = partial(diffusion, auxiliary_weight=0.0)
one_level_at_a_time = partial(bound_alone, calls=(LEVELS,))


GUIDED = Sampling(GUIDANCE)
GUIDED_TOP_P = Sampling(GUIDANCE, TOP_P)


def condition(given: Numbers) -> Conditioning | None:
    return Conditioning(given["text"], given["null"]) if "text" in given else None


def raster_transformer(network: RasterTransformer, given: Numbers) -> Numbers:
    """The likelihood; tokens with and without a cache, and with text guided and cut to top-p."""
    x, y = given["x_0"], condition(given)
    count, n = x.shape
    slow = without_cache(lambda x: network.log_probs(x, y), n)
    found = {
        "nats": network.nll(x, y),
        "tokens with a cache": network.sample(count, y, generator=seeded(3)),
        "tokens without a cache": sample_tokens(slow, x[:, :0], n, generator=seeded(3)),
    }
    if y is not None:
        found["nats guided"] = -sequential_log_likelihood(network.decoder(y, GUIDED), x)
        found["tokens guided"] = network.sample(
            count, y, sampling=GUIDED_TOP_P, generator=seeded(3)
        )
    return found


def imagebart(network: ImageBART, given: Numbers) -> Numbers:
    """The bound, and tokens; with text also guided (the last step after x itself) and top-p."""
    x, y = given["x_0"], condition(given)
    found = {
        "bound": network.nll(x, y, generator=seeded(1)),
        "tokens": network.sample(len(x), y, generator=seeded(3)),
    }
    if y is not None:
        found["nats guided"] = -sequential_log_likelihood(network.decoder(x, 1, y, GUIDED), x)
        found["tokens guided"] = network.sample(
            len(x), y, sampling=GUIDED_TOP_P, generator=seeded(3)
        )
    return found


def pixels(network: AutoregressiveModel, given: Numbers) -> Numbers:
    """The likelihood, and tokens."""
    x = given["x_0"]
    return {"nats": network.nll(x), "tokens": network.sample(len(x), generator=seeded(3))}


@dataclass(frozen=True)
class Kind:
    """A fresh network, and how it is asked; `process` only for diffusion."""

    fresh: Callable[[], nn.Module]
    how: Callable[..., Numbers]
    process: Callable[[], Process] | None = None
    hears_text: bool = False

    @torch.no_grad()
    def ask(self, network: nn.Module, given: Numbers) -> Numbers:
        """All that is recorded of this kind."""
        if self.process is None:
            return self.how(network, given)
        return self.how(network, given, self.process())


def with_text(
    make: Callable[..., schedule.ScheduleConfig],
    how: Callable[..., Numbers] = diffusion,
    network: type[Denoiser] = Denoiser,
    view: Callable[[Process], Process] = lambda process: process,
) -> Kind:
    """A denoiser that hears a caption, with mask-and-replace."""

    def process() -> Process:
        return view(MaskAndReplace(schedule.build_schedule(make(CODES, LEVELS))))

    return Kind(lambda: network(DENOISER), how, process, hears_text=True)


def rows(
    config: SequenceConfig,
    process: Callable[[], Process],
    how: Callable[..., Numbers] = diffusion,
    network: Callable[[SequenceConfig], nn.Module] = SequenceDenoiser,
) -> Kind:
    """A denoiser of rows without text."""
    return Kind(lambda: network(config), how, process)


uniform = partial(kernels.uniform, CODES, LEVELS, alpha_bar=kernels.cosine)
gaussian = partial(kernels.discretised_gaussian, CODES, LEVELS)
similar = partial(kernels.nearest_neighbour, SIMILAR, LEVELS, num_neighbours=2)
paper = schedule.build_schedule(schedule.paper(CODES, LEVELS))

KINDS = {
    "denoiser-released": with_text(schedule.released),
    "denoiser-paper": with_text(schedule.paper),
    "denoiser-absorbing": with_text(schedule.absorbing, absorbing),
    "denoiser-multinomial": with_text(schedule.multinomial),
    "denoiser-plugged": with_text(schedule.paper, bound_alone, view=PluggedIntoBayes),
    "denoiser-direct": with_text(
        schedule.paper, one_level_at_a_time, DirectDenoiser, DirectPrediction
    ),
    "denoiser-causal": with_text(schedule.paper, network=CausalDenoiser),
    "rows-uniform": rows(CLEAN, uniform),
    "rows-uniform-plugged": rows(CLEAN, lambda: PluggedIntoBayes(uniform()), bound_alone),
    "rows-nearest-neighbour": rows(CLEAN, similar),
    "rows-gaussian": rows(CLEAN, gaussian),
    "rows-gaussian-ordinal": rows(CLEAN, gaussian, network=OrdinalDenoiser),
    "rows-absorbing": rows(MASKED, partial(kernels.absorbing, CODES, LEVELS)),
    "rows-mask-and-replace": rows(MASKED, partial(kernels.mask_and_replace, paper)),
    "rows-binomial": rows(BITS, partial(kernels.binomial, LEVELS)),
    "raster": Kind(lambda: RasterTransformer(RASTER), raster_transformer),
    "raster-text": Kind(
        lambda: RasterTransformer(replace(RASTER, **TOLD)), raster_transformer, hears_text=True
    ),
    "imagebart": Kind(lambda: ImageBART(IMAGEBART), imagebart),
    "imagebart-text": Kind(
        lambda: ImageBART(replace(IMAGEBART, **TOLD)), imagebart, hears_text=True
    ),
    "pixelcnn": Kind(lambda: PixelCNN(PIXELCNN), pixels),
    "pixelcnn-gated": Kind(lambda: GatedPixelCNN(PIXELCNN), pixels),
    "pixelcnn-plus-plus": Kind(lambda: PixelCNNPlusPlus(PIXELCNNPP), pixels),
    "pixelrnn": Kind(lambda: PixelRNN(PIXELRNN), pixels),
    "image-transformer": Kind(lambda: ImageTransformer(IMAGE_TRANSFORMER), pixels),
}
