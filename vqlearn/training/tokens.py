"""Stage 1: learn to write pictures as tokens."""

from dataclasses import replace

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from einops import repeat
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vqlearn.checkpoints import folder as files
from vqlearn.data.batches import Batch, random_stream
from vqlearn.tokens.discriminator import (
    PatchDiscriminator,
    adaptive_weight,
    deception_loss,
    discriminator_loss,
)
from vqlearn.tokens.merging import PICTURES_AT_ONCE, merge_codes
from vqlearn.tokens.quantizer import CodebookEMA, Quantized
from vqlearn.tokens.vqvae import VQVAE
from vqlearn.training.loop import Run, fit
from vqlearn.training.recipes import vqvae_config

COMMITMENT_WEIGHT = 1.0
REVIVE_EVERY = 20
REVIVE_UNTIL = 0.8  # of all steps: at the end every code gets time to settle
DISCRIMINATOR_FROM = 0.5  # of all steps: first the pixels
COLLAGE_SHARE = 0.5  # of the pictures of a batch
KEPT_CODES = 5 / 8  # of the codes, after those that look alike are merged
MERGE_BATCHES = 16  # pictures on which codes are compared, in batches of 128
SECOND_PART = 0.25  # how long the second part is, measured by the first


class TokenStage(nn.Module):
    """The network of the stage: encode, glue tokens of two pictures together, decode."""

    def __init__(self, vqvae: VQVAE) -> None:
        super().__init__()
        self.vqvae = vqvae

    def forward(
        self, pictures: Float[Tensor, "b 3 H W"], glued: Bool[Tensor, "b h w"]
    ) -> tuple[Float[Tensor, "b 3 H W"], Quantized]:
        """The decoded collage; where `glued` is true the tokens are those of the next picture."""
        quantized = self.vqvae.quantizer(self.vqvae.encode_features(pictures))
        return self.vqvae.decode_vectors(_glue(quantized.vectors, glued)), quantized


class TokenTrainee:
    """Pixel errors and commitment; codebook and discriminator learn beside them.

    Half of the pictures are decoded as **collages**: a rectangle of tokens comes from another
    picture, and the decoder must draw that rectangle from there and the rest from here. What a
    token says of far away places is then of no use to the decoder, and would be hard to guess for
    whoever must later generate tokens. The encoder may still be moved by such places.
    """

    def __init__(self, run: Run, vqvae: VQVAE, *, discriminator: bool, revive: bool) -> None:
        self.run, self.revive = run, revive
        device, accelerator = run.accelerator.device, run.accelerator
        self.network = TokenStage(vqvae).to(device)
        self.vqvae = self.network.vqvae
        self.codebook = CodebookEMA(
            self.vqvae.quantizer, reduce=lambda x: accelerator.reduce(x, "sum")
        )
        self.opponent = Opponent(accelerator) if discriminator else None
        self.matrices, self.choices = [], {"discriminator": discriminator}
        self.remembered = [self.codebook]

    def losses(self, network: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        pictures = (2 * batch.images - 1).to(self.run.accelerator.device)
        factor = self.vqvae.config.downsampling_factor
        grid = (pictures.shape[2] // factor, pictures.shape[3] // factor)
        glued = rectangles(len(pictures), grid, generator=self.run.noise(step))
        glued = glued.to(pictures.device)
        decoded, quantized = network(pictures, glued)
        target = _glue_pixels(pictures, glued, factor)
        error = decoded - target
        pixels = error.abs().mean() + error.square().mean()
        losses = {"loss": pixels + COMMITMENT_WEIGHT * quantized.commitment_loss}
        if self.opponent is not None and step >= DISCRIMINATOR_FROM * self.run.recipe.steps:
            deception = deception_loss(self.opponent.judge(decoded))
            last_layer = self.vqvae.decoder.output.weight
            losses["loss"] = losses["loss"] + deception * adaptive_weight(
                pixels, deception, last_layer
            )
            losses["deception"] = deception
        self.seen = (quantized, target, decoded.detach())
        return losses

    def after_step(self, step: int) -> None:
        quantized, target, decoded = self.seen
        self.codebook.update(self.vqvae.quantizer, quantized)
        steps = self.run.recipe.steps
        due = step % REVIVE_EVERY == REVIVE_EVERY - 1 and step < REVIVE_UNTIL * steps
        if self.revive and due:
            self.codebook.revive_dead_codes(
                self.vqvae.quantizer,
                quantized,
                contribute=self.run.accelerator.is_main_process,
                generator=self.run.noise(step),
            )
        if self.opponent is not None and step >= DISCRIMINATOR_FROM * steps:
            self.opponent.learn(target, decoded)


class Opponent:
    """The discriminator and its optimizer."""

    LEARNING_RATE = 1e-3

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        network = PatchDiscriminator().to(accelerator.device)
        optimizer = torch.optim.Adam(network.parameters(), self.LEARNING_RATE, betas=(0.5, 0.9))
        self.network, self.optimizer = accelerator.prepare(network, optimizer)

    def judge(self, decoded: Tensor) -> Tensor:
        """Scores through which gradients reach the decoder, and not the discriminator."""
        frozen = self.accelerator.unwrap_model(self.network).requires_grad_(False)
        scores = frozen(decoded)
        frozen.requires_grad_(True)
        return scores

    def learn(self, real: Tensor, decoded: Tensor) -> None:
        """One step of telling them apart."""
        scores = self.network(torch.cat([real, decoded]))
        loss = discriminator_loss(*scores.chunk(2))
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.optimizer.step()


def rectangles(
    count: int, grid: tuple[int, int], *, generator: torch.Generator
) -> Bool[Tensor, "count h w"]:
    """One random rectangle in every other picture's grid: at most all but one row and column."""
    glued = torch.zeros(count, *grid, dtype=torch.bool)
    height, width = grid
    corners = torch.rand(count, 4, generator=generator)
    for row in range(0, count, round(1 / COLLAGE_SHARE)):
        tall = 1 + int(corners[row, 0] * (height - 1))
        wide = 1 + int(corners[row, 1] * (width - 1))
        top = int(corners[row, 2] * (height - tall + 1))
        left = int(corners[row, 3] * (width - wide + 1))
        glued[row, top : top + tall, left : left + wide] = True
    return glued


def _glue(vectors: Float[Tensor, "b h w d"], glued: Bool[Tensor, "b h w"]) -> Tensor:
    return torch.where(glued[..., None], vectors.roll(1, dims=0), vectors)


def _glue_pixels(pictures: Tensor, glued: Tensor, factor: int) -> Tensor:
    pixels = repeat(glued, "b h w -> b 1 (h p) (w q)", p=factor, q=factor)
    return torch.where(pixels, pictures.roll(1, dims=0), pictures)


def train_merged(vqvae: VQVAE, run: Run, *, discriminator: bool) -> TokenStage:
    """The second part of the stage: fewer codes, and the networks that go with them."""
    set_seed(run.recipe.seed)  # a stopped training arrives here with other chance behind it
    generator = random_stream("merging", run.recipe.seed)
    batches = [
        run.source.batch(PICTURES_AT_ONCE, generator=generator) for _ in range(MERGE_BATCHES)
    ]
    images = 2 * torch.cat([batch.images for batch in batches]) - 1
    merged = merge_codes(vqvae, images, max(1, round(KEPT_CODES * vqvae.config.num_vq_embeddings)))
    shorter = replace(run.recipe, steps=max(1, round(SECOND_PART * run.recipe.steps)))
    run = replace(run, recipe=shorter)
    trainee = TokenTrainee(run, merged, discriminator=discriminator, revive=False)
    return fit("tokens/merged", trainee, run)


def train_tokens(run: Run, *, discriminator: bool = False) -> None:
    """Learn to write pictures as tokens; writes `vqvae/`.

    Two parts. In the first the codebook follows by moving averages, and dead codes are revived
    in the first 80 % of the batches. Then codes that look alike are merged, and a second part, a
    quarter as long, lets encoder and decoder get used to it. With `discriminator` a patch
    discriminator joins for the second half of each part. Give it pictures of all kinds, held-out
    pairs too: a tokeniser is not a generator.
    """
    first = TokenTrainee(run, VQVAE(vqvae_config()), discriminator=discriminator, revive=True)
    trained = fit("tokens", first, run)
    trained = train_merged(trained.vqvae, run, discriminator=discriminator)
    if run.accelerator.is_main_process:
        files.save_vqvae(trained.vqvae, run.folder)
    run.accelerator.wait_for_everyone()
