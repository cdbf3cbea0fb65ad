"""A fourth stage: learn to write the tokens of a picture one by one, given a caption.

    trained = train_raster(run)
    reader = CachedReader(trained.transformer, encoder(["a small red circle"]))

It learns from the same tokens and the same text states as the denoiser of `diffusion.py`, in the
same loop, so that the two can be compared. Tests: tests/test_raster_training.py.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.raster import log_likelihood
from vqlearn.autoregressive.transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.checkpoints import folder as files
from vqlearn.data.batches import Batch
from vqlearn.diffusion.logmath import log_normalise
from vqlearn.training.diffusion import CAPTION_DROPOUT
from vqlearn.training.loop import Run, fit
from vqlearn.training.optimisers import hidden_matrices
from vqlearn.transformer.text import NullText, NullTextConfig, TextEncoder, drop_captions


def raster_config(
    *, num_codes: int, num_positions: int, encoder: TextEncoder
) -> RasterTransformerConfig:
    """A transformer that fits these tokens and this text encoder, as large as the denoiser."""
    return RasterTransformerConfig(
        num_codes=num_codes,
        num_positions=num_positions,
        text_width=encoder.width,
        text_length=encoder.length,
        width=128,
        num_layers=6,
        num_heads=4,
    )


class ConditionalRaster(nn.Module):
    """What this stage trains: the transformer, and the states of "no sentence"."""

    def __init__(self, transformer: RasterTransformer, null_text: NullText) -> None:
        super().__init__()
        self.transformer, self.null_text = transformer, null_text

    def forward(
        self, x: Int[Tensor, "b n"], text: Float[Tensor, "b l c"], generator: torch.Generator
    ) -> Float[Tensor, "b n k"]:
        """Scores of the tokens; one caption in ten is replaced by "no sentence"."""
        null = self.null_text(len(text))
        text = drop_captions(text, null, CAPTION_DROPOUT, generator=generator)
        return self.transformer(x, text)


class RasterTrainee:
    r"""The mean surprise of a token in nats, $-\log p(x_i \mid \text{text}, x_1 \ldots x_{i-1})$.

    Every token is asked for after the true tokens before it, whatever the network would have
    written there ("teacher forcing"): one call gives the loss of all n places. Tokens and text are
    frozen. Raises `ValueError` for a `run.start_from`: this network always begins fresh.
    """

    def __init__(self, run: Run) -> None:
        if run.start_from is not None:
            raise ValueError(f"start_from is {str(run.start_from)!r}; allowed: None")
        self.run = run
        device = run.accelerator.device
        self.vqvae = files.load_vqvae(run.folder).requires_grad_(False).to(device)
        self.encoder = files.load_text_encoder(run.folder).to(device)
        side = run.source.image_size // self.vqvae.config.downsampling_factor
        config = raster_config(
            num_codes=self.vqvae.config.num_vq_embeddings,
            num_positions=side**2,
            encoder=self.encoder,
        )
        null_text = NullText(NullTextConfig(True, self.encoder.width, self.encoder.length))
        self.network = ConditionalRaster(RasterTransformer(config), null_text).to(device)
        self.matrices = hidden_matrices(self.network)
        self.choices = {}
        self.remembered = []

    def losses(self, network: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        x = self.vqvae.encode((2 * batch.images - 1).to(self.run.accelerator.device))
        text, noise = self.encoder(batch.captions), self.run.noise(step)
        nats = -log_likelihood(lambda x: log_normalise(network(x, text, noise)), x)
        return {"loss": nats.mean() / x.shape[1]}

    def after_step(self, step: int) -> None:
        """Nothing learns without the gradient."""


def train_raster(run: Run) -> ConditionalRaster:
    """Learn to write tokens; reads the tokens and the text encoder of `run.folder`.

    Returns the running mean of the weights, on the CPU, and saves nothing: no folder of a
    released model has a place for it. A training that was stopped goes on from the state that lies
    in `<folder>/.training/raster`, as in the other stages. Raises as `RasterTrainee` does, and
    `CheckpointError` if the folder lacks a part.
    """
    return fit("raster", RasterTrainee(run), run)
