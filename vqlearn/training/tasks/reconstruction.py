"""What both ways of learning tokens share: the image must come back from its tokens."""

from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vqlearn.checkpoints.folder import load_vqvae, save_network
from vqlearn.data import Batch
from vqlearn.tokens import (
    VQVAE,
    PatchDiscriminator,
    adaptive_weight,
    adversarial_loss,
    discriminator_loss,
    to_network_range,
)
from vqlearn.tokens.gumbel import GumbelQuantized
from vqlearn.tokens.quantizer import Quantized
from vqlearn.training.descent import Descent
from vqlearn.training.loop import Losses, Run, Task
from vqlearn.training.preview import preview_batch

OWN_SQUARE_WEIGHT = 10.0
DISCRIMINATOR_FROM = 0.5  # of all steps: first the pixels


class TokenStage(nn.Module):
    """The network of the stage. Unlike `VQVAE` alone it also gives the encoder's vectors.

    `options` go to the quantizer: what it takes besides vectors.
    """

    def __init__(self, vqvae: VQVAE) -> None:
        super().__init__()
        self.vqvae = vqvae

    def forward(
        self, images: Float[Tensor, "b 3 H W"], **options: Any
    ) -> tuple[Float[Tensor, "b 3 H W"], Quantized | GumbelQuantized, Float[Tensor, "b h w d"]]:
        features = self.vqvae.encode_features(images)
        quantized = self.vqvae.quantizer(features, **options)
        return self.vqvae.decode_vectors(quantized.vectors), quantized, features


class Seen(NamedTuple):
    """One batch: the images and what was decoded, both in -1 to 1, and the tokens between them."""

    target: Float[Tensor, "b 3 H W"]
    decoded: Float[Tensor, "b 3 H W"]
    quantized: Quantized | GumbelQuantized


class TokenTask(Task):
    """Pixel errors and own squares; a discriminator learns beside them.

    **Own squares**: a code vector has as many numbers as the square of pixels that a token stands
    for, and the encoder's vector is pulled towards those very pixels. A code then stands for a
    small image. Without it an encoder that sees the whole image lets every token depend on
    things far away, as if at random: plain background alone gets dozens of codes, and a model that
    generates tokens would have to guess which.

    How codes are chosen, and what is added to the loss for them, each kind of quantizer says for
    itself: `quantizer_options`, `code_losses`, and `after_step` for what learns without a gradient.
    """

    def __init__(self, run: Run, vqvae: VQVAE, *, discriminator: bool) -> None:
        self.run = run
        self.network = TokenStage(vqvae).to(run.accelerator.device)
        self.vqvae = self.network.vqvae
        self.adversary = Adversary(run.accelerator) if discriminator else None
        self.muon_weights = []
        self.extra_state = [] if self.adversary is None else self.adversary.parts
        self.config = {"discriminator": discriminator, "quantizer": vqvae.config.quantizer}

    def quantizer_options(self, step: int) -> dict[str, Any]:
        """What the quantizer is given besides vectors."""
        return {}

    def code_losses(
        self, quantized: Quantized | GumbelQuantized, step: int
    ) -> dict[str, tuple[float, Tensor]]:
        """What is added to the pixel errors: under each name a weight and a loss."""
        raise NotImplementedError

    def code_counts(self, quantized: Quantized | GumbelQuantized) -> dict[str, Tensor]:
        """Numbers to show: how many codes this batch uses."""
        return {"codes": torch.tensor(len(quantized.indices.unique()))}

    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        images = batch.images.to(self.run.accelerator.device)
        decoded, quantized, features = network(images, **self.quantizer_options(step))
        target = to_network_range(images)
        error = decoded - target  # (b, 3, H, W)
        pixels = error.abs().mean() + error.square().mean()
        added = self.code_losses(quantized, step)
        added["own_square"] = (OWN_SQUARE_WEIGHT, own_square_loss(features, target))
        if self._discriminator_joins(step):
            adversarial = adversarial_loss(self.adversary.scores(decoded))
            # As strong as the pixel errors where both meet, in the last layer of the decoder.
            weight = adaptive_weight(pixels, adversarial, self.vqvae.decoder.output.weight)
            added["adversarial"] = (weight, adversarial)
        loss = sum((weight * part for weight, part in added.values()), start=pixels)
        shown = {name: part for name, (_, part) in added.items()}
        shown |= self.code_counts(quantized)
        shown = {"loss": loss, "perplexity": quantized.perplexity, **shown}
        return shown, Seen(target, decoded.detach(), quantized)

    def after_step(self, step: int, seen: Seen) -> None:
        if self._discriminator_joins(step):
            self.adversary.learn(seen.target, seen.decoded, step + 1)

    def load(self) -> None:
        """Raises `ValueError` with a discriminator, which would begin from nothing."""
        if self.adversary is not None:
            raise ValueError("lengthen is True; allowed: not with a discriminator, it is not kept")
        self.vqvae.load_state_dict(load_vqvae(self.run.folder).state_dict())

    def preview(self, trained: TokenStage) -> Float[Tensor, "2 images 3 H W"]:
        """Images, and the same after a round trip through their tokens."""
        images = preview_batch(self.run.source).images
        tokens = trained.vqvae.encode(images.to(self.run.accelerator.device))
        return torch.stack([images, trained.vqvae.decode(tokens).cpu()])

    def save(self, trained: TokenStage) -> None:
        save_network(trained.vqvae, self.run.folder)

    def _discriminator_joins(self, step: int) -> bool:
        return self.adversary is not None and step >= DISCRIMINATOR_FROM * self.run.recipe.steps


class Adversary:
    """The discriminator and its optimizer; both are `parts` of a saved state."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        network = PatchDiscriminator().to(accelerator.device)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.9))
        self.parts = [network, optimizer]
        self.descent = Descent(network.parameters(), [optimizer], scaler=accelerator.scaler)
        self.network, _ = accelerator.prepare(network, optimizer)

    def scores(self, decoded: Tensor) -> Tensor:
        """Scores through which gradients reach the decoder, and not the discriminator."""
        frozen = self.accelerator.unwrap_model(self.network).requires_grad_(False)
        scores = frozen(decoded)
        frozen.requires_grad_(True)
        return scores

    def learn(self, real: Tensor, decoded: Tensor, number: int) -> None:
        """One step of telling them apart. Raises `NotFiniteError` as `Descent.step` does."""
        scores = self.network(torch.cat([real, decoded]))  # 2b images in one pass
        loss = discriminator_loss(*scores.chunk(2))
        self.descent.step(loss, number, {"discriminator's loss": loss})


def own_square_loss(
    features: Float[Tensor, "b h w d"], target: Float[Tensor, "b c H W"]
) -> Float[Tensor, ""]:
    """The mean squared difference between each vector and the pixels of its own square.

    `target` is an image in the network's range, -1 to 1.
    """
    size = target.shape[2] // features.shape[1]
    squares = rearrange(target, "b c (h p) (w q) -> b h w (c p q)", p=size, q=size)
    return (features - squares).square().mean()
