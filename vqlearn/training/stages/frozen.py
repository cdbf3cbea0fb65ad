"""What the last stages read and never change: tokens, and states of captions."""

from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.checkpoints import folder as files
from vqlearn.data import Batch
from vqlearn.text import NullText, NullTextConfig
from vqlearn.training.loop import Run


class Frozen:
    """The VQ-VAE and the text encoder of `run.folder`, on its device.

    Raises `CheckpointError` if the folder lacks one of them.
    """

    def __init__(self, run: Run) -> None:
        self.device = run.accelerator.device
        self.vqvae = files.load_vqvae(run.folder).requires_grad_(False).to(self.device)
        self.encoder = files.load_text_encoder(run.folder).to(self.device)
        self.num_codes = self.vqvae.config.num_vq_embeddings
        self.side = run.source.image_size // self.vqvae.config.downsampling_factor

    def read(self, batch: Batch) -> tuple[Int[Tensor, "b n"], Float[Tensor, "b l c"]]:
        """The tokens of the images and the states of the captions."""
        return self.vqvae.encode(batch.images), self.encoder(batch.captions)

    def fresh_null_text(self) -> NullText:
        """States of "no caption" that still have to be learnt."""
        return NullText(NullTextConfig(True, self.encoder.width, self.encoder.length))
