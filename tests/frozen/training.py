"""How each trainer is run today, for a few steps: what a new API has to adapt.

`TRAINERS` has one small function for each; it takes a seed and an empty folder. `trace` says what
came out in a few numbers that depend neither on the names of the weights nor on their order. One
random number more, less, or drawn at another time changes them.

Rows and sequences learn in float64. The stages learn in float32, and Muon rounds to half that: see
`test_training.py` for what that means on other processors.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from support.accelerate_state import forget_accelerate
from torch import Generator, Tensor, nn

from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.imagebart_scale import ImageBARTConfig
from vqlearn.autoregressive.pixelcnn import GatedPixelCNN, PixelCNNConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve
from vqlearn.continuous import schedule as continuous
from vqlearn.continuous.gaussian import GaussianProcess
from vqlearn.continuous.sampler import Model
from vqlearn.continuous.unet import UNet, UNetConfig
from vqlearn.data.batches import Scenes
from vqlearn.diffusion import kernels, schedule
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace, Process
from vqlearn.training.loop import Run, Task, fit
from vqlearn.training.recipes import Recipe
from vqlearn.training.simple import Validation, train
from vqlearn.training.sizes import Size
from vqlearn.training.stages import order
from vqlearn.training.tasks.autoregressive import imagebart_task, raster_task
from vqlearn.training.unet import train_unet
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser

CODES, SIDE = 3, 3
LEVELS = 2  # so few that each is soon seen ten times, and the levels are drawn by importance
SHORT = Recipe(steps=3, batch_size=10, learning_rate=1e-2, ema_decay=0.9, warmup_steps=1)
STAGE = replace(SHORT, batch_size=4, learning_rate=2e-3)
LONG = replace(SHORT, steps=110, learning_rate=2e-2)  # held-back rows are asked after 100 steps
JOINED = replace(STAGE, steps=5)  # the discriminator does so in step 3
DRAWN = replace(STAGE, learning_rate=1e-2)  # the draws of codes shall be seen
REVIVED = replace(STAGE, steps=26, learning_rate=1e-5)  # useless codes are, in step 19
PICTURE = 16  # pixels of a side
PIXELCNN = PixelCNNConfig(SIDE, 1, CODES, width=6, num_layers=2, kernel_size=3)
RASTER = RasterTransformerConfig(CODES, SIDE**2, None, 0, width=8, num_layers=2, num_heads=2)
IMAGEBART = ImageBARTConfig(CODES, SIDE**2, num_scales=2, width=8, num_layers=1, num_heads=2)
SEQUENCE = SequenceConfig(
    num_codes=CODES,
    num_classes=CODES + 1,
    num_positions=SIDE**2,
    num_timesteps=LEVELS,
    width=8,
    num_layers=2,
    num_heads=2,
)
UNET = UNetConfig(channels=1, widths=(8, 16), groups=4)
SIZE = Size(width=16, num_layers=1, num_heads=2)


class Trained(NamedTuple):
    """The networks that a trainer kept, and the losses, if it tells."""

    networks: list[nn.Module]
    losses: list[float]


def random_rows(count: int, *, generator: torch.Generator) -> Tensor:
    """Rows whose tokens are often 0, so that there is something to learn."""
    size = (count, SIDE**2)
    both = (torch.randint(CODES, size, generator=generator) for _ in range(2))
    return torch.minimum(*both)


def few_rows(count: int, *, generator: torch.Generator) -> Tensor:
    """Six rows, again and again: a network overfits, and an earlier mean is the better one."""
    six = random_rows(6, generator=torch.Generator().manual_seed(2))
    return six[torch.randint(len(six), (count,), generator=generator)]


def fresh(kind: Callable[..., nn.Module], config: object) -> nn.Module:
    """The same weights for every seed, in float64: only the draws of the training differ."""
    torch.manual_seed(0)
    return kind(config).double()


def telling(kind: type[nn.Module], losses: list[float]) -> type[nn.Module]:
    """A kind of model that tells its losses: nats of a whole row, without the prior's term."""

    class Telling(kind):
        def loss(self, x: Tensor, condition: None = None, *, generator: Generator) -> Tensor:
            found = super().loss(x, condition, generator=generator)
            losses.append(found.mean().item() * self.num_positions)
            return found

        def nll(self, x: Tensor, condition: None = None, *, generator: Generator) -> Tensor:
            found = super().nll(x, condition, generator=generator)
            losses.append(found.mean().item())
            return found

    return Telling


def rows(
    kind: type[nn.Module],
    config: object,
    held_back: int,
    seed: int,
    folder: Path,
    *,
    source: Callable[..., Tensor] = random_rows,
    recipe: Recipe = SHORT,
) -> Trained:
    """The losses are the nats that were asked for: of every step, and of the rows held back."""
    losses = []
    others = random_rows(held_back, generator=torch.Generator().manual_seed(1))
    kept = train(
        fresh(telling(kind, losses), config),
        source,
        replace(recipe, seed=seed),
        validation=Validation(others) if held_back else None,
        stream="rows",
    )
    return Trained([kept.model], losses)


def sequences(process: Callable[[], Process], seed: int, folder: Path) -> Trained:
    """More steps than elsewhere: the last levels are drawn by importance."""
    recipe = replace(SHORT, steps=5, seed=seed)
    made = process()
    network = fresh(SequenceDenoiser, replace(SEQUENCE, num_classes=made.num_classes))
    return Trained([train(DiffusionModel(made, network), random_rows, recipe).model], [])


def mask_and_replace() -> Process:
    return MaskAndReplace(schedule.build_schedule(schedule.paper(CODES, LEVELS)))


def unet(seed: int, folder: Path) -> Trained:
    generator = torch.Generator().manual_seed(0)
    batches = [2 * torch.rand(4, 1, 4, 4, generator=generator) - 1 for _ in range(3)]
    process = GaussianProcess(continuous.cosine(10))
    torch.manual_seed(seed)
    trained = train_unet(Model(UNet(UNET), "epsilon"), batches, process, seed=seed)
    return Trained([trained.model.predict], trained.losses)


def stage(
    name: str,
    results: list[Callable[[Path], nn.Module]],
    seed: int,
    folder: Path,
    *,
    recipe: Recipe = STAGE,
    **options: Any,
) -> Trained:
    """One of the stages of a checkpoint, at full size, on small scenes; it draws fresh weights."""
    if name == "diffusion":
        order.copy_frozen_parts(resolve("scenes"), folder)
    run = Run(folder, Scenes(PICTURE, "seen"), replace(recipe, seed=seed))
    assert order.train(name, run, **options)
    return Trained([result(folder) for result in results], [])


def writer(make: Callable[..., Task], seed: int, folder: Path, **options: Any) -> Trained:
    """A network that writes the tokens of the shipped checkpoint."""
    order.copy_frozen_parts(resolve("scenes"), folder)
    torch.manual_seed(0)
    recipe = replace(STAGE, seed=seed)
    run = Run(folder, Scenes(PICTURE, "seen"), recipe, Accelerator(cpu=True))
    return Trained([fit("writer", make(run, **options))], [])


tokens = partial(stage, "tokens", [files.load_vqvae])
diffusion = partial(
    stage,
    "diffusion",
    [lambda folder: files.load_token_model(folder).network, files.load_null_text],
)

TRAINERS: dict[str, Callable[[int, Path], Trained]] = {
    "rows pixelcnn": partial(rows, GatedPixelCNN, PIXELCNN, 0),
    "rows pixelcnn held back": partial(rows, GatedPixelCNN, PIXELCNN, 7),
    "rows pixelcnn overfit": partial(
        rows,
        GatedPixelCNN,
        PIXELCNN,
        30,
        source=few_rows,
        recipe=LONG,
    ),
    "rows raster": partial(rows, RasterTransformer, RASTER, 0),
    "rows imagebart": partial(rows, ImageBART, IMAGEBART, 0),
    "rows imagebart held back": partial(rows, ImageBART, IMAGEBART, 7),
    "sequences mask and replace": partial(sequences, mask_and_replace),
    "sequences dense": partial(sequences, partial(kernels.uniform, CODES, LEVELS)),
    "unet": unet,
    "tokens": tokens,
    "tokens revived": partial(tokens, recipe=REVIVED),
    "tokens discriminator": partial(tokens, recipe=JOINED, discriminator=True),
    "tokens gumbel": partial(tokens, recipe=DRAWN, quantizer="gumbel"),
    "text": partial(stage, "text", [files.load_clip]),
    "diffusion": partial(diffusion, schedule="released"),
    "raster": partial(writer, raster_task, size=SIZE),
    "imagebart": partial(writer, imagebart_task, num_scales=2, size=SIZE),
}


class Trace(NamedTuple):
    """Each loss; how many weights there are, and the sums of their powers 1, 2 and 4."""

    losses: list[float]
    weights: int
    sums: dict[str, float]


def trace(name: str, seed: int = 0) -> Trace:
    """Train in an empty folder. The global generator is left as it was, accelerate as new."""
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        forget_accelerate()
        try:
            trained = TRAINERS[name](seed, Path(folder))
        finally:
            forget_accelerate()
    weights = flat(weight for network in trained.networks for weight in network.parameters())
    sums = {str(power): weights.pow(power).sum().item() for power in (1, 2, 4)}
    return Trace(trained.losses, len(weights), sums)


def flat(weights: Iterable[Tensor]) -> Tensor:
    return torch.cat([weight.detach().double().flatten() for weight in weights])
