"""Networks by the id that stored settings have, and the systems that learn scenes as tokens.

All systems have the text encoder and the VQ-VAE of the shipped model, as many weights but for 2 %,
the same batches in the same order, and the same optimizer. What differs is how a sequence of tokens
is made.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed

import vqlearn.autoregressive as networks
import vqlearn.transformer as denoisers
from vqlearn.checkpoints import resolve
from vqlearn.data import Scenes
from vqlearn.diffusion import DiffusionModel
from vqlearn.experiments.processes import PROCESSES, Codes
from vqlearn.training import NUM_TIMESTEPS, Recipe, Run, Size, Task, denoiser_config, tasks
from vqlearn.training.stages import copy_frozen_parts

DENOISERS = {
    "Denoiser": denoisers.Denoiser,
    "CausalDenoiser": denoisers.CausalDenoiser,
    "DirectDenoiser": denoisers.DirectDenoiser,
    "SequenceDenoiser": denoisers.SequenceDenoiser,
    "OrdinalDenoiser": denoisers.OrdinalDenoiser,
}
AUTOREGRESSIVE = {
    "PixelRNN": (networks.PixelRNN, networks.PixelRNNConfig),
    "PixelCNN": (networks.PixelCNN, networks.PixelCNNConfig),
    "GatedPixelCNN": (networks.GatedPixelCNN, networks.PixelCNNConfig),
    "PixelCNNPlusPlus": (networks.PixelCNNPlusPlus, networks.PixelCNNPlusPlusConfig),
    "ImageTransformer": (networks.ImageTransformer, networks.ImageTransformerConfig),
    "RasterTransformer": (networks.RasterTransformer, networks.RasterTransformerConfig),
    "ImageBART": (networks.ImageBART, networks.ImageBARTConfig),
}
"""Networks with their configs. Keys are the ids of stored settings, whatever the classes become."""
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

    process: str
    denoiser: str = "Denoiser"
    auxiliary_weight: float = 5e-4
    size: Size = DENOISER_SIZE
    num_timesteps: int = NUM_TIMESTEPS

    def task(self, run: Run) -> Task:
        """A fresh network with its loss, for the training loop."""
        frozen = tasks.Frozen(run)
        config = denoiser_config(
            num_codes=frozen.num_codes,
            side=frozen.side,
            text_width=frozen.encoder.width,
            num_timesteps=self.num_timesteps,
            size=self.size,
        )
        denoiser, null_text = DENOISERS[self.denoiser](config), frozen.fresh_null_text()
        vectors = frozen.vqvae.quantizer.codebook.weight
        process = PROCESSES[self.process](Codes(frozen.num_codes, self.num_timesteps, vectors))
        model = DiffusionModel(process, denoiser, auxiliary_weight=self.auxiliary_weight)
        network = tasks.CaptionedDiffusion(model, null_text)
        return tasks.DiffusionTask(run, frozen, network, self.settings())

    def settings(self) -> dict[str, Any]:
        """All that decides the result beside the recipe."""
        settings = asdict(self)
        settings |= {"network": settings.pop("denoiser"), **settings.pop("size")}
        if self.num_timesteps == NUM_TIMESTEPS:
            del settings["num_timesteps"]  # not told before
        return settings


@dataclass(frozen=True)
class Autoregressive:
    """One token after the other: a raster transformer, or with scales an ImageBART."""

    size: Size
    num_scales: int | None = None

    def task(self, run: Run) -> Task:
        """A fresh network with its loss, for the training loop."""
        if self.num_scales is None:
            return tasks.raster_task(run, self.size)
        return tasks.imagebart_task(run, self.num_scales, self.size)

    def settings(self) -> dict[str, Any]:
        """All that decides the result beside the recipe."""
        if self.num_scales is None:
            return {"network": "RasterTransformer", **asdict(self.size)}
        return {"network": "ImageBART", "num_scales": self.num_scales, **asdict(self.size)}


System = Diffusion | Autoregressive
SYSTEMS: dict[str, System] = {
    "vq-diffusion": Diffusion("released"),
    "vq-diffusion-paper": Diffusion("paper"),
    "absorbing": Diffusion("absorbing"),
    "multinomial": Diffusion("multinomial"),
    "nearest-neighbour": Diffusion("nearest_neighbour"),
    "raster": Autoregressive(RASTER_SIZE),
    "imagebart": Autoregressive(IMAGEBART_SIZE, num_scales=2),
}
VARIANTS: dict[str, System] = {
    "causal": Diffusion("released", "CausalDenoiser"),
    "direct": Diffusion("direct", "DirectDenoiser", auxiliary_weight=0.0),
    "no-auxiliary": Diffusion("released", auxiliary_weight=0.0),
}
"""Each is "vq-diffusion" but for one thing; "direct" is "no-auxiliary" but for one thing."""
ALL = {**SYSTEMS, **VARIANTS}


def fresh_task(system: System, folder: Path, recipe: Recipe, *, cpu: bool) -> Task:
    """A system that learns captioned scenes, on the frozen parts of the shipped model.

    The seed of the recipe decides its first weights. Networks learn in bfloat16.
    """
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16")
    copy_frozen_parts(resolve("scenes"), folder)
    set_seed(recipe.seed)
    return system.task(Run(folder, Scenes(32, "seen"), recipe, accelerator))
