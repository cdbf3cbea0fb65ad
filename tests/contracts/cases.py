"""The token models that the contract is held against: a new model joins by one line in `CASES`,
and a new family by the enumeration of its distribution beside the `by_the_…` functions.

All are tiny (K = 3, n = 4: 81 sequences), in float64, with large random weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vqlearn.autoregressive.image_transformer import ImageTransformer, ImageTransformerConfig
from vqlearn.autoregressive.imagebart import ImageBART, ImageBARTConfig
from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.autoregressive.pixelcnn import GatedPixelCNN, PixelCNN, PixelCNNConfig
from vqlearn.autoregressive.pixelcnnpp import PixelCNNPlusPlus, PixelCNNPlusPlusConfig
from vqlearn.autoregressive.pixelrnn import PixelRNN, PixelRNNConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.diffusion import kernels
from vqlearn.diffusion.exact.world import all_states, prior_distribution, sampler_distribution
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.objective import prior_term
from vqlearn.diffusion.parameterisations import PluggedIntoBayes
from vqlearn.diffusion.process import MaskAndReplace, Process
from vqlearn.diffusion.sampler import levels_to_visit
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper, released
from vqlearn.probability.filters import guide, top_p
from vqlearn.probability.model import (
    ClassConditioning,
    Condition,
    Conditioning,
    Sampling,
    TokenModel,
)
from vqlearn.transformer.convolutional import (
    ClassDenoiser,
    ClassDenoiserConfig,
    UnconditionalDenoiser,
    UnconditionalDenoiserConfig,
)
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser

K, N, LEVELS = 3, 4, 4
STATES = all_states(K, N)  # (81, 4)
WORDS, WIDTH = 2, 5  # of the text states
CLASSES = 2


@dataclass(frozen=True)
class Case:
    """How to build a model, and its distribution by enumeration.

    - `exact(case, model, sampling)`: the probabilities of all 81 sequences, (81,).
    - `prior(model, x)`: what `nll` holds beside n times the loss, nats: (b,). None: `nll` is exact.
    - `reads_text`, `reads_classes`: its condition; at most one of them.
    """

    build: Callable[[], TokenModel]
    exact: Callable[["Case", TokenModel, Sampling], Tensor]
    prior: Callable[[TokenModel, Tensor], Tensor] | None = None
    reads_text: bool = False
    reads_classes: bool = False

    @property
    def is_conditional(self) -> bool:
        return self.reads_text or self.reads_classes

    def fresh(self) -> TokenModel:
        """The same weights every time, large enough that every term counts."""
        torch.manual_seed(0)
        model = self.build().double().eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
                weight.copy_(0.4 * noise)
        return model

    def condition(self, count: int) -> Condition | None:
        """One caption or class for all of `count` sequences, and the null embedding or class."""
        if self.reads_classes:
            return ClassConditioning(torch.full((count,), 1), null=CLASSES)
        if not self.reads_text:
            return None
        generator = torch.Generator().manual_seed(2)
        text, null = torch.randn(2, 1, WORDS, WIDTH, generator=generator, dtype=torch.float64)
        return Conditioning(text.expand(count, -1, -1), null)

    def null(self, count: int) -> Condition | None:
        """The null embedding in place of the caption, or the null class in place of the class."""
        condition = self.condition(count)
        if self.reads_classes:
            return ClassConditioning(condition.null_labels())
        return condition and Conditioning(condition.null_text())


def filtered(conditional: Tensor, unconditional: Tensor, sampling: Sampling) -> Tensor:
    """Guidance and top-p as the sampling says, from two log-distributions."""
    if sampling.is_guided:
        conditional = guide(conditional, unconditional, sampling.guidance_scale)
    return top_p(conditional, sampling.truncation_rate)


def by_the_chain(case: Case, model: DiffusionModel, sampling: Sampling) -> Tensor:
    """The prior, carried through every reverse step over all (K + 1)^4 states."""

    def denoise(x_t: Tensor, t: int) -> Tensor:
        count = len(x_t)
        both = (model.denoiser(each(count))(x_t, t) for each in (case.condition, case.null))
        return filtered(*both, sampling)

    process = model.process
    levels = levels_to_visit(LEVELS, sampling.num_inference_steps or LEVELS)
    final = sampler_distribution(process, denoise, prior_distribution(process, N), levels)
    powers = process.num_classes ** torch.arange(N - 1, -1, -1)
    return final[(STATES * powers).sum(dim=1)]


def by_the_product(case: Case, model: AutoregressiveModel, sampling: Sampling) -> Tensor:
    """The product of the conditional distributions along each sequence."""
    log_probs = (model.log_probs(STATES, each(len(STATES))) for each in (case.condition, case.null))
    log_p = filtered(*log_probs, sampling)  # (81, n, K)
    return log_p.gather(-1, STATES[..., None]).sum(dim=(1, 2)).exp()


def by_the_scales(case: Case, model: ImageBART, sampling: Sampling) -> Tensor:
    """Uniform noise, then the matrix of every scale: p(x_{t-1} | x_t) for all pairs."""
    p, count = torch.full((len(STATES),), 1 / len(STATES), dtype=torch.float64), len(STATES)
    for t in range(model.config.num_scales, 0, -1):
        rows = []
        for x_t in STATES:
            both = (
                model.log_probs(STATES, x_t.expand(count, -1), t, each(count))
                for each in (case.condition, case.null)
            )
            log_p = filtered(*both, sampling)
            rows.append(log_p.gather(-1, STATES[..., None]).sum(dim=(1, 2)).exp())
        p = p @ torch.stack(rows)
    return p


def cost_of_prior(model: DiffusionModel | ImageBART, x: Tensor) -> Tensor:
    """KL(q(x_T | x_0) || p(x_T)), nats per sequence: no weight is in it."""
    return prior_term(model.process, x).sum(dim=1)


def lines(schedule: Callable) -> MaskAndReplace:
    """Keep, replace, mask by the straight lines of this schedule."""
    return MaskAndReplace(build_schedule(schedule(K, LEVELS)))


def captioned(process: Process) -> DiffusionModel:
    return DiffusionModel(
        process,
        Denoiser(DenoiserConfig(2, 4, 1, WIDTH, True, K + 1, 2, LEVELS)),
        auxiliary_weight=0.0,
    )


def by_class(process: Process) -> DiffusionModel:
    config = ClassDenoiserConfig(2, 4, 1, K + 1, 2, LEVELS, 4, CLASSES)
    return DiffusionModel(process, ClassDenoiser(config), auxiliary_weight=0.0)


def convolutional(process: Process) -> DiffusionModel:
    config = UnconditionalDenoiserConfig(2, 4, 1, K + 1, 2, LEVELS, 4)
    return DiffusionModel(process, UnconditionalDenoiser(config), auxiliary_weight=0.0)


def plain(process: Process, kind: type = SequenceDenoiser) -> DiffusionModel:
    config = SequenceConfig(K, process.num_classes, N, LEVELS, width=8, num_layers=1, num_heads=2)
    return DiffusionModel(process, kind(config), auxiliary_weight=0.0)


def nearest_neighbour() -> Process:
    line = torch.arange(3, dtype=torch.float64)[:, None]
    return kernels.nearest_neighbour(line, LEVELS, num_neighbours=1)


def diffusion(build: Callable[[], DiffusionModel], **reads: bool) -> Case:
    return Case(build, by_the_chain, cost_of_prior, **reads)


def autoregressive(kind: type, config: object, *, reads_text: bool = False) -> Case:
    return Case(lambda: kind(config), by_the_product, reads_text=reads_text)


def raster(text_width: int | None, text_length: int) -> RasterTransformerConfig:
    return RasterTransformerConfig(
        K, N, text_width, text_length, width=8, num_layers=2, num_heads=2
    )


def bart(**text: int) -> Case:
    config = ImageBARTConfig(K, N, num_scales=2, width=8, num_layers=1, num_heads=2, **text)
    return Case(lambda: ImageBART(config), by_the_scales, cost_of_prior, bool(text))


PIXELS = {"side": 2, "channels": 1, "num_codes": K}
CASES: dict[str, Case] = {
    "vq-diffusion": diffusion(lambda: captioned(lines(released)), reads_text=True),
    "vq-diffusion, paper": diffusion(lambda: captioned(lines(paper)), reads_text=True),
    "vq-diffusion, classes": diffusion(lambda: by_class(lines(released)), reads_classes=True),
    "vq-diffusion, convolutional": diffusion(lambda: convolutional(lines(released))),
    "absorbing": diffusion(lambda: plain(lines(absorbing))),
    "multinomial": diffusion(lambda: plain(lines(multinomial))),
    "d3pm, nearest neighbour": diffusion(lambda: plain(nearest_neighbour())),
    "d3pm, plugged into Bayes": diffusion(lambda: plain(PluggedIntoBayes(lines(paper)))),
    "raster transformer": autoregressive(RasterTransformer, raster(WIDTH, WORDS), reads_text=True),
    "raster transformer, no text": autoregressive(RasterTransformer, raster(None, 0)),
    "pixelcnn": autoregressive(
        PixelCNN, PixelCNNConfig(**PIXELS, width=4, num_layers=2, kernel_size=3)
    ),
    "gated pixelcnn": autoregressive(
        GatedPixelCNN, PixelCNNConfig(**PIXELS, width=4, num_layers=2, kernel_size=3)
    ),
    "pixelcnn++": autoregressive(
        PixelCNNPlusPlus,
        PixelCNNPlusPlusConfig(**PIXELS, width=4, num_blocks=1, num_mixtures=2),
    ),
    "pixelrnn": autoregressive(PixelRNN, PixelRNNConfig(**PIXELS, width=4, num_layers=1)),
    "image transformer": autoregressive(
        ImageTransformer,
        ImageTransformerConfig(
            **PIXELS, width=8, num_layers=2, num_heads=2, block_length=2, memory_length=2
        ),
    ),
    "imagebart": bart(),
    "imagebart, text": bart(text_width=WIDTH, text_length=WORDS),
}
