"""Train the three networks on scenes, one after the other: tokens, text, diffusion.

Each stage reads from one folder what the stages before it wrote, and adds its own part; after the
last the folder is a checkpoint. Everything runs through `accelerate`: on one CPU or GPU, and, with
`accelerate launch`, on several.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm.auto import tqdm

from vqlearn.checkpoints import folder as files
from vqlearn.data.scenes import SceneBatch, scene_batch
from vqlearn.diffusion.logmath import log_normalise
from vqlearn.diffusion.objective import training_loss
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import build_schedule, released
from vqlearn.tokens.quantizer import CodebookEMA, Quantized
from vqlearn.tokens.vqvae import VQVAE, VQVAEConfig
from vqlearn.transformer.contrastive import ContrastivePair
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig
from vqlearn.transformer.text import (
    NullText,
    NullTextConfig,
    TextEncoder,
    build_text_model,
    build_tokenizer,
    drop_captions,
)

IMAGE_SIZE = 32
NUM_TIMESTEPS = 100
CAPTION_DROPOUT = 0.1
COMMITMENT_WEIGHT = 0.25
VQVAE_CONFIG = VQVAEConfig(
    block_out_channels=(24, 32, 32),
    layers_per_block=1,
    latent_channels=32,
    vq_embed_dim=16,
    num_vq_embeddings=64,
    norm_num_groups=8,
    encoder_attention_resolutions=(),
    decoder_attention_resolutions=(),
)
DENOISER_CONFIG = DenoiserConfig(
    num_attention_heads=6,
    attention_head_dim=16,
    num_layers=4,
    cross_attention_dim=48,
    attention_bias=True,
    num_vector_embeds=VQVAE_CONFIG.num_vq_embeddings + 1,
    sample_size=IMAGE_SIZE // VQVAE_CONFIG.downsampling_factor,
    num_embeds_ada_norm=NUM_TIMESTEPS,
)


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a stage learns. `batch_size` is that of one process.

    Raises `ValueError` for fewer than one step or picture.
    """

    steps: int
    batch_size: int
    learning_rate: float
    seed: int = 0
    warmup_steps: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "warmup_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1, 2, …")


RECIPES = {
    "tokens": Recipe(steps=1200, batch_size=32, learning_rate=2e-3),
    "text": Recipe(steps=600, batch_size=64, learning_rate=1e-3),
    "diffusion": Recipe(steps=5500, batch_size=64, learning_rate=1.5e-3),
}


def train_tokens(folder: Path, recipe: Recipe, accelerator: Accelerator) -> None:
    """Learn to write pictures as tokens; writes `vqvae/`.

    Reconstruction (mean absolute plus mean squared error) and commitment; the codebook follows by
    moving averages, and dead codes are revived in the first 80 % of the training. All
    colour-shape pairs are shown, held-out ones too: a tokeniser is not a generator.
    """
    set_seed(recipe.seed)
    model = VQVAE(VQVAE_CONFIG).to(accelerator.device)
    codebook = CodebookEMA(model.quantizer, reduce=lambda x: accelerator.reduce(x, "sum"))

    def loss_of(network: nn.Module, batch: SceneBatch, index: int) -> Tensor:
        pictures = (2 * batch.images - 1).to(accelerator.device)
        reconstruction, quantized = network(pictures)
        update_codebook(quantized, index)
        error = reconstruction - pictures
        pixels = error.abs().mean() + error.square().mean()
        return pixels + COMMITMENT_WEIGHT * quantized.commitment_loss

    def update_codebook(quantized: Quantized, index: int) -> None:
        codebook.update(model.quantizer, quantized)
        if index % 20 == 19 and index < 0.8 * recipe.steps:
            is_main = accelerator.is_main_process
            codebook.revive_dead_codes(model.quantizer, quantized, contribute=is_main)

    _fit(accelerator, model, recipe, "any", loss_of)
    if accelerator.is_main_process:
        files.save_vqvae(model.cpu(), folder)
    accelerator.wait_for_everyone()


def train_text(folder: Path, recipe: Recipe, accelerator: Accelerator) -> None:
    """Learn to read captions; writes `tokenizer/` and `text_encoder/`.

    The vocabulary and the encoder see training pairs only.
    """
    set_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    captions = scene_batch(2000, generator=generator, composition="seen").captions
    tokenizer = build_tokenizer(captions, vocab_size=620, max_length=32)
    text_model = build_text_model(
        tokenizer, width=DENOISER_CONFIG.cross_attention_dim, layers=2, heads=4
    )
    encoder = TextEncoder(tokenizer, text_model)
    model = ContrastivePair(text_model, IMAGE_SIZE).to(accelerator.device)

    def loss_of(network: nn.Module, batch: SceneBatch, index: int) -> Tensor:
        pictures = (2 * batch.images - 1).to(accelerator.device)
        return network(pictures, encoder.tokenize(batch.captions).to(accelerator.device))

    _fit(accelerator, model, recipe, "seen", loss_of)
    if accelerator.is_main_process:
        files.save_text_encoder(encoder.cpu(), folder)
    accelerator.wait_for_everyone()


class ConditionalDenoiser(nn.Module):
    """What the diffusion stage trains: the denoiser, and the states of "no sentence"."""

    def __init__(self, denoiser: Denoiser, null_text: NullText) -> None:
        super().__init__()
        self.denoiser, self.null_text = denoiser, null_text

    def forward(
        self,
        x_t: Int[Tensor, "b n"],
        t: Int[Tensor, " b"],
        text: Float[Tensor, "b l c"],
        generator: torch.Generator,
    ) -> Float[Tensor, "b n k"]:
        """Logits of the clean tokens; one caption in ten is replaced by "no sentence"."""
        null = self.null_text(len(text))
        text = drop_captions(text, null, CAPTION_DROPOUT, generator=generator)
        return self.denoiser(x_t, t, text)


def train_diffusion(folder: Path, recipe: Recipe, accelerator: Accelerator) -> None:
    """Learn to denoise; reads what the other two stages wrote and completes the checkpoint.

    VQ network and text encoder are frozen, and held-out colour-shape pairs never shown.
    """
    set_seed(recipe.seed)
    vqvae = files.load_vqvae(folder).requires_grad_(False).to(accelerator.device)
    encoder = files.load_text_encoder(folder).to(accelerator.device)
    null_text = NullText(NullTextConfig(True, encoder.width, encoder.length))
    denoiser = Denoiser(DENOISER_CONFIG)
    schedule = released(vqvae.config.num_vq_embeddings, NUM_TIMESTEPS)
    process = MaskAndReplace(build_schedule(schedule))
    model = ConditionalDenoiser(denoiser, null_text).to(accelerator.device)
    noise = _generator(recipe, accelerator, 1)

    def loss_of(network: nn.Module, batch: SceneBatch, index: int) -> Tensor:
        x_0 = vqvae.encode((2 * batch.images - 1).to(accelerator.device))
        t = torch.randint(1, NUM_TIMESTEPS + 1, (len(x_0),), generator=noise)
        x_t = process.corrupt(x_0, t, generator=noise)
        logits = network(x_t, t.to(x_t.device), encoder(batch.captions), noise)
        return training_loss(process, log_normalise(logits), (x_0, x_t), t).total.mean()

    _fit(accelerator, model, recipe, "seen", loss_of)
    if accelerator.is_main_process:
        files.save_null_text(null_text.cpu(), folder)
        files.save_schedule(schedule, folder)
        files.save_denoiser(denoiser.cpu(), folder)
        files.write_index(folder)
    accelerator.wait_for_everyone()


STAGES = {"tokens": train_tokens, "text": train_text, "diffusion": train_diffusion}
LossOf = Callable[[nn.Module, SceneBatch, int], Tensor]


def _fit(
    accelerator: Accelerator, model: nn.Module, recipe: Recipe, composition: str, loss_of: LossOf
) -> None:
    """Adam, warm-up and cosine, clipped gradients: the loop that all stages share."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, recipe.learning_rate, betas=(0.9, 0.96))
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: _warm_up_and_cosine(i, recipe))
    network, optimizer = accelerator.prepare(model.train(), optimizer)
    stream = _batches(recipe, _generator(recipe, accelerator, 0), composition)
    is_main = accelerator.is_main_process
    bar = tqdm(islice(stream, recipe.steps), total=recipe.steps, disable=not is_main)
    for index, batch in enumerate(bar):
        loss = loss_of(network, batch, index)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rate.step()
        if index % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")


def _generator(recipe: Recipe, accelerator: Accelerator, stream: int) -> torch.Generator:
    """The chance of one process: stream 0 draws its scenes, stream 1 its noise."""
    seed = 1_000_003 * recipe.seed + 2 * accelerator.process_index + stream
    return torch.Generator().manual_seed(seed)


def _batches(recipe: Recipe, generator: torch.Generator, composition: str) -> Iterator[SceneBatch]:
    """New scenes for ever."""
    while True:
        yield scene_batch(
            recipe.batch_size,
            generator=generator,
            composition=composition,
            image_size=IMAGE_SIZE,
        )


def _warm_up_and_cosine(index: int, recipe: Recipe) -> float:
    """From 0 up to 1, then down to one twentieth, as a factor of the learning rate."""
    cosine = (1 + math.cos(math.pi * index / recipe.steps)) / 2
    return min(1.0, (index + 1) / recipe.warmup_steps) * (0.05 + 0.95 * cosine)


WRITES = {  # the file that each stage writes last, and those of the stages built on it
    "tokens": ("vqvae/config.json", "model_index.json"),
    "text": ("tokenizer/tokenizer.json", "model_index.json"),
    "diffusion": ("model_index.json",),
}


def refuse_to_overwrite(folder: Path, stages: list[str]) -> None:
    """Make the folder; refuse it if it holds a result of these stages or one built on them.

    Raises `FileExistsError`, or another `OSError` if the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to; choose another folder with --out")
    for stage in stages:
        for result in WRITES[stage]:
            if (folder / result).exists():
                raise FileExistsError(
                    f"{folder / result} is there already; choose another folder with --out"
                )
