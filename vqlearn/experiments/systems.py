"""The registry: networks by id, and the systems that learn scenes as tokens: "vq-diffusion", ….

All systems have the text encoder and the VQ-VAE of the shipped model, as many weights but for 2 %,
the same batches in the same order, and the same optimizer. What differs is how a sequence of tokens
is made.
"""

from dataclasses import dataclass
from typing import Any

from vqlearn.autoregressive import (
    GatedPixelCNN,
    ImageBART,
    ImageBARTConfig,
    ImageTransformer,
    ImageTransformerConfig,
    PixelCNN,
    PixelCNNConfig,
    PixelCNNPlusPlus,
    PixelCNNPlusPlusConfig,
    PixelRNN,
    PixelRNNConfig,
    RasterTransformer,
    RasterTransformerConfig,
)
from vqlearn.diffusion import DiffusionModel
from vqlearn.experiments.identity import Named, size_settings
from vqlearn.experiments.processes import PROCESSES, Codes
from vqlearn.training import NUM_TIMESTEPS, Run, Size, Task, denoiser_config
from vqlearn.training.stages import (
    CaptionedDiffusion,
    DiffusionTask,
    Frozen,
    ImageBARTOptions,
    RasterOptions,
    imagebart_task,
    raster_task,
)
from vqlearn.transformer import (
    CausalDenoiser,
    Denoiser,
    DirectDenoiser,
    OrdinalDenoiser,
    SequenceDenoiser,
)

DENOISERS = {
    id: Named(id, make)
    for id, make in {
        **{"Denoiser": Denoiser, "CausalDenoiser": CausalDenoiser},
        **{"DirectDenoiser": DirectDenoiser, "SequenceDenoiser": SequenceDenoiser},
        "OrdinalDenoiser": OrdinalDenoiser,
    }.items()
}
AUTOREGRESSIVE = {
    id: Named(id, make)
    for id, make in {
        **{"PixelRNN": PixelRNN, "PixelCNN": PixelCNN, "GatedPixelCNN": GatedPixelCNN},
        **{"PixelCNNPlusPlus": PixelCNNPlusPlus, "ImageTransformer": ImageTransformer},
        **{"RasterTransformer": RasterTransformer, "ImageBART": ImageBART},
    }.items()
}
"""By the id that stored settings have."""
CONFIGS = {
    **{"PixelRNN": PixelRNNConfig, "PixelCNN": PixelCNNConfig, "GatedPixelCNN": PixelCNNConfig},
    **{"PixelCNNPlusPlus": PixelCNNPlusPlusConfig, "ImageTransformer": ImageTransformerConfig},
    **{"RasterTransformer": RasterTransformerConfig, "ImageBART": ImageBARTConfig},
}
WITHOUT_TEXT = {"text_width": None, "text_length": 0}

DENOISER_SIZE = Size(96, 5, 4)
RASTER_SIZE = Size(128, 5, 4)
IMAGEBART_SIZE = Size(76, 3, 4)
LABELS = {
    "vq-diffusion": "VQ-Diffusion, released schedule",
    "vq-diffusion-paper": "VQ-Diffusion, paper's schedule",
    "absorbing": "absorbing (masks only)",
    "multinomial": "multinomial",
    "nearest-neighbour": "D3PM, nearest neighbour",
    "raster": "raster transformer",
    "imagebart": "ImageBART, 2 scales",
    "causal": "VQ-Diffusion, causal attention",
    "direct": "VQ-Diffusion, predicting x_{t-1}",
    "no-auxiliary": "VQ-Diffusion, no auxiliary loss",
}
"""What tables and plots call the systems, in their order."""


@dataclass(frozen=True)
class Diffusion:
    """A process, and the denoiser that learns its reverse."""

    process: Named
    denoiser: Named = DENOISERS["Denoiser"]
    auxiliary_weight: float = 5e-4
    size: Size = DENOISER_SIZE
    num_timesteps: int = NUM_TIMESTEPS

    def task(self, run: Run) -> Task:
        """A fresh network with its loss, for the training loop."""
        frozen = Frozen(run)
        config = denoiser_config(
            num_codes=frozen.num_codes,
            side=frozen.side,
            text_width=frozen.encoder.width,
            num_timesteps=self.num_timesteps,
            size=self.size,
        )
        denoiser, null_text = self.denoiser(config), frozen.fresh_null_text()
        vectors = frozen.vqvae.quantizer.codebook.weight
        process = self.process(Codes(frozen.num_codes, self.num_timesteps, vectors))
        model = DiffusionModel(process, denoiser, auxiliary_weight=self.auxiliary_weight)
        network = CaptionedDiffusion(model, null_text)
        return DiffusionTask(run, frozen, network, self.settings())

    def settings(self) -> dict[str, Any]:
        """All that decides the result beside the recipe."""
        names = {"process": self.process.id, "network": self.denoiser.id}
        levels = {"num_timesteps": self.num_timesteps}
        levels = {} if self.num_timesteps == NUM_TIMESTEPS else levels  # not told before
        sizes = size_settings(self.size)
        return {**names, "auxiliary_weight": self.auxiliary_weight, **sizes, **levels}


@dataclass(frozen=True)
class Raster:
    """One token after the other, in the order of reading."""

    size: Size = RASTER_SIZE

    def task(self, run: Run) -> Task:
        """A fresh network with its loss, for the training loop."""
        return raster_task(run, RasterOptions(self.size))

    def settings(self) -> dict[str, Any]:
        """All that decides the result beside the recipe."""
        return {"network": "RasterTransformer", **size_settings(self.size)}


@dataclass(frozen=True)
class FewScales:
    """An ImageBART: a short diffusion whose steps write one token after the other."""

    num_scales: int = 2
    size: Size = IMAGEBART_SIZE

    def task(self, run: Run) -> Task:
        """A fresh network with its loss, for the training loop."""
        return imagebart_task(run, ImageBARTOptions(self.num_scales, self.size))

    def settings(self) -> dict[str, Any]:
        """All that decides the result beside the recipe."""
        return {"network": "ImageBART", "num_scales": self.num_scales, **size_settings(self.size)}


System = Diffusion | Raster | FewScales
SYSTEMS: dict[str, System] = {
    "vq-diffusion": Diffusion(PROCESSES["released"]),
    "vq-diffusion-paper": Diffusion(PROCESSES["paper"]),
    "absorbing": Diffusion(PROCESSES["absorbing"]),
    "multinomial": Diffusion(PROCESSES["multinomial"]),
    "nearest-neighbour": Diffusion(PROCESSES["nearest_neighbour"]),
    "raster": Raster(),
    "imagebart": FewScales(),
}
VARIANTS: dict[str, System] = {
    "causal": Diffusion(PROCESSES["released"], DENOISERS["CausalDenoiser"]),
    "direct": Diffusion(PROCESSES["direct"], DENOISERS["DirectDenoiser"], auxiliary_weight=0.0),
    "no-auxiliary": Diffusion(PROCESSES["released"], auxiliary_weight=0.0),
}
"""Each is "vq-diffusion" but for one thing; "direct" is "no-auxiliary" but for one thing."""
ALL = {**SYSTEMS, **VARIANTS}
