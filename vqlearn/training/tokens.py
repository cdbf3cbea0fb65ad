"""Stage 1: learn to write pictures as tokens."""

import torch
from accelerate import Accelerator
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vqlearn.checkpoints import folder as files
from vqlearn.data.batches import Batch
from vqlearn.tokens.discriminator import (
    PatchDiscriminator,
    adaptive_weight,
    deception_loss,
    discriminator_loss,
)
from vqlearn.tokens.quantizer import CodebookEMA, Quantized
from vqlearn.tokens.vqvae import VQVAE
from vqlearn.training.loop import Run, fit
from vqlearn.training.recipes import vqvae_config

COMMITMENT_WEIGHT = 0.25
OWN_SQUARE_WEIGHT = 10.0
REVIVE_EVERY = 20
REVIVE_UNTIL = 0.8  # of all steps: at the end every code gets time to settle
APART = 0.06  # two codes stand for the same if their squares differ by less, root mean square
DISCRIMINATOR_FROM = 0.5  # of all steps: first the pixels


class TokenStage(nn.Module):
    """The network of the stage. Unlike `VQVAE` alone it also gives the encoder's vectors."""

    def __init__(self, vqvae: VQVAE) -> None:
        super().__init__()
        self.vqvae = vqvae

    def forward(
        self, pictures: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b 3 H W"], Quantized, Float[Tensor, "b h w d"]]:
        features = self.vqvae.encode_features(pictures)
        quantized = self.vqvae.quantizer(features)
        return self.vqvae.decode_vectors(quantized.vectors), quantized, features


class TokenTrainee:
    """Pixel errors, commitment, own squares; codebook and discriminator learn beside them.

    **Own squares**: a code vector has as many numbers as the square of pixels that a token stands
    for, and the encoder's vector is pulled towards those very pixels. The codebook is then a
    dictionary of small pictures. Without it an encoder that sees the whole picture lets every token
    depend on things far away, as if by chance: plain background alone gets dozens of codes, and
    whoever must later generate tokens would have to guess which.
    """

    def __init__(self, run: Run, vqvae: VQVAE, *, discriminator: bool) -> None:
        self.run = run
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
        decoded, quantized, features = network(pictures)
        error = decoded - pictures
        pixels = error.abs().mean() + error.square().mean()
        own = own_square_loss(features, pictures)
        losses = {
            "loss": pixels
            + COMMITMENT_WEIGHT * quantized.commitment_loss
            + OWN_SQUARE_WEIGHT * own,
            "own_square": own,
        }
        if self._judged(step):
            deception = deception_loss(self.opponent.judge(decoded))
            last_layer = self.vqvae.decoder.output.weight
            losses["loss"] = losses["loss"] + deception * adaptive_weight(
                pixels, deception, last_layer
            )
            losses["deception"] = deception
        self.seen = (quantized, pictures, decoded.detach())
        return losses

    def after_step(self, step: int) -> None:
        quantized, pictures, decoded = self.seen
        self.codebook.update(self.vqvae.quantizer, quantized)
        if step % REVIVE_EVERY == REVIVE_EVERY - 1 and step < REVIVE_UNTIL * self.run.recipe.steps:
            self.codebook.revive_dead_codes(
                self.vqvae.quantizer,
                quantized,
                apart=APART * self.vqvae.config.vq_embed_dim**0.5,
                contribute=self.run.accelerator.is_main_process,
                generator=self.run.noise(step),
            )
        if self._judged(step):
            self.opponent.learn(pictures, decoded)

    def _judged(self, step: int) -> bool:
        return self.opponent is not None and step >= DISCRIMINATOR_FROM * self.run.recipe.steps


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


def own_square_loss(
    features: Float[Tensor, "b h w d"], pictures: Float[Tensor, "b c H W"]
) -> Float[Tensor, ""]:
    """The mean squared difference between each vector and the pixels of its own square."""
    size = pictures.shape[2] // features.shape[1]
    squares = rearrange(pictures, "b c (h p) (w q) -> b h w (c p q)", p=size, q=size)
    return (features - squares).square().mean()


def train_tokens(run: Run, *, discriminator: bool = False) -> None:
    """Learn to write pictures as tokens; writes `vqvae/`.

    The codebook follows by moving averages; codes that are of no use are moved in the first 80 %
    of the batches. With `discriminator` a patch discriminator joins for the second half. Give it
    pictures of all kinds, held-out pairs too: a tokeniser is not a generator.
    """
    trainee = TokenTrainee(run, VQVAE(vqvae_config()), discriminator=discriminator)
    trained = fit("tokens", trainee, run)
    if run.accelerator.is_main_process:
        files.save_vqvae(trained.vqvae, run.folder)
    run.accelerator.wait_for_everyone()
