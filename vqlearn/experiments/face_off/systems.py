"""Who meets: systems that learn the same tokens after the same captions, with one budget.

All have the text encoder and the VQ-VAE of the shipped model, as many weights but for 2 %, the
same batches in the same order, and the same optimizer. What differs is how a row of tokens is made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from vqlearn.diffusion import kernels
from vqlearn.diffusion import schedule as schedules
from vqlearn.diffusion.parameterisations import DirectPrediction
from vqlearn.diffusion.process import MaskAndReplace, Process
from vqlearn.diffusion.schedule import Schedule, build_schedule
from vqlearn.experiments.identity import Named, size_settings
from vqlearn.tokens.vqvae import VQVAE
from vqlearn.training.loop import Run, Task
from vqlearn.training.recipes import NUM_TIMESTEPS
from vqlearn.training.stages.autoregressive import ImageBARTTask, RasterTask, Size
from vqlearn.training.stages.diffusion import ConditionalDenoiser, DenoiserTask
from vqlearn.training.stages.frozen import Frozen
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig
from vqlearn.transformer.variants import CausalDenoiser, DirectDenoiser

NEIGHBOURS = 10
DENOISER_SIZE = Size(96, 5, 4)
RASTER_SIZE = Size(128, 5, 4)
IMAGEBART_SIZE = Size(76, 3, 4)


def released(vqvae: VQVAE) -> Process:
    """VQ-Diffusion with the schedule of its released checkpoints: masks almost only."""
    return _by_lines(schedules.released, vqvae)


def paper(vqvae: VQVAE) -> Process:
    """VQ-Diffusion with the schedule of the paper: nine masks for one replacement."""
    return _by_lines(schedules.paper, vqvae)


def absorbing(vqvae: VQVAE) -> Process:
    """Masks only."""
    return _by_lines(schedules.absorbing, vqvae)


def multinomial(vqvae: VQVAE) -> Process:
    """Replacements only, with the cosine schedule of Hoogeboom et al. 2021."""
    num_codes, alpha_bar = vqvae.config.num_vq_embeddings, kernels.cosine(NUM_TIMESTEPS)
    beta_bar = (1 - alpha_bar) / num_codes
    return MaskAndReplace(Schedule(num_codes, alpha_bar, beta_bar, torch.zeros_like(alpha_bar)))


def nearest_neighbour(vqvae: VQVAE) -> Process:
    """D3PM: a token becomes one whose code vector is near. Keeps 200 matrices, 240 MB."""
    codes = vqvae.quantizer.codebook.weight
    process = kernels.nearest_neighbour(codes, NUM_TIMESTEPS, num_neighbours=NEIGHBOURS)
    process.products.keep_all(codes.device)
    return process


def direct(vqvae: VQVAE) -> Process:
    """The released schedule; the network names x_{t-1} in place of x_0."""
    return DirectPrediction(released(vqvae))


def _by_lines(lines: Callable[..., schedules.ScheduleConfig], vqvae: VQVAE) -> Process:
    return MaskAndReplace(build_schedule(lines(vqvae.config.num_vq_embeddings, NUM_TIMESTEPS)))


def denoiser_config(size: Size, *, num_codes: int, side: int, text_width: int) -> DenoiserConfig:
    """A denoiser of this size for a square grid of `side` x `side` tokens."""
    return DenoiserConfig(
        num_attention_heads=size.num_heads,
        attention_head_dim=size.width // size.num_heads,
        num_layers=size.num_layers,
        cross_attention_dim=text_width,
        attention_bias=True,
        num_vector_embeds=num_codes + 1,
        sample_size=side,
        num_embeds_ada_norm=NUM_TIMESTEPS,
    )


DENOISER = Named("Denoiser", Denoiser)


@dataclass(frozen=True)
class Diffusion:
    """A process, and the denoiser that learns its way back."""

    process: Named
    denoiser: Named = DENOISER
    auxiliary_weight: float = 5e-4
    size: Size = DENOISER_SIZE

    def task(self, run: Run) -> Task:
        """What `loop.fit` trains, fresh."""
        frozen = Frozen(run)
        config = denoiser_config(
            self.size,
            num_codes=frozen.num_codes,
            side=frozen.side,
            text_width=frozen.encoder.width,
        )
        network = ConditionalDenoiser(self.denoiser(config), frozen.fresh_null_text())
        task = DenoiserTask(
            run,
            frozen,
            network,
            self.process(frozen.vqvae),
            auxiliary_weight=self.auxiliary_weight,
        )
        task.config = self.settings()
        return task

    def settings(self) -> dict[str, Any]:
        """All that decides the result beside the run, as JSON gives it back."""
        names = {"process": self.process.id, "network": self.denoiser.id}
        sizes = size_settings(self.size)
        return {**names, "auxiliary_weight": self.auxiliary_weight, **sizes}


@dataclass(frozen=True)
class Raster:
    """One token after the other, in the order of reading."""

    size: Size = RASTER_SIZE

    def task(self, run: Run) -> Task:
        """What `loop.fit` trains, fresh."""
        return RasterTask(run, self.size)

    def settings(self) -> dict[str, Any]:
        """All that decides the result beside the run, as JSON gives it back."""
        return {"network": "RasterTransformer", **size_settings(self.size)}


@dataclass(frozen=True)
class FewScales:
    """An ImageBART: a short diffusion whose steps write one token after the other."""

    num_scales: int = 2
    size: Size = IMAGEBART_SIZE

    def task(self, run: Run) -> Task:
        """What `loop.fit` trains, fresh."""
        return ImageBARTTask(run, self.num_scales, self.size)

    def settings(self) -> dict[str, Any]:
        """All that decides the result beside the run, as JSON gives it back."""
        return {"network": "ImageBART", "num_scales": self.num_scales, **size_settings(self.size)}


System = Diffusion | Raster | FewScales
RELEASED = Named("released", released)
SYSTEMS: dict[str, System] = {
    "vq-diffusion": Diffusion(RELEASED),
    "vq-diffusion-paper": Diffusion(Named("paper", paper)),
    "absorbing": Diffusion(Named("absorbing", absorbing)),
    "multinomial": Diffusion(Named("multinomial", multinomial)),
    "nearest-neighbour": Diffusion(Named("nearest_neighbour", nearest_neighbour)),
    "raster": Raster(),
    "imagebart": FewScales(),
}
VARIANTS: dict[str, System] = {
    "causal": Diffusion(RELEASED, Named("CausalDenoiser", CausalDenoiser)),
    "direct": Diffusion(
        Named("direct", direct), Named("DirectDenoiser", DirectDenoiser), auxiliary_weight=0.0
    ),
    "no-auxiliary": Diffusion(RELEASED, auxiliary_weight=0.0),
}
"""Each is "vq-diffusion" but for one thing; "direct" is "no-auxiliary" but for one thing."""
