r"""Two more stages: learn to write the tokens of an image one by one, given a caption.

    trained = train_raster(run)
    condition = Conditioning(encoder(["a small red circle"]), trained.null_text(1))
    tokens = trained.transformer.sample(1, condition, sampling=Sampling(guidance_scale=1.5))

    trained = train_imagebart(run, num_scales=3)
    tokens = trained.imagebart.sample(1, condition)

They learn from the same tokens and the same text states as the denoiser of `diffusion.py`, in the
same loop, so that the three can be compared.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive.imagebart import ImageBART, ImageBARTConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.data.batches import Batch
from vqlearn.probability.model import Conditioning
from vqlearn.text.encoder import TextEncoder
from vqlearn.text.null_text import NullText, drop_captions
from vqlearn.training.loop import Run, fit
from vqlearn.training.optimizers import muon_weights
from vqlearn.training.stages.diffusion import CAPTION_DROPOUT
from vqlearn.training.stages.frozen import Frozen


@dataclass(frozen=True)
class Size:
    """How large is a network? As the denoiser, if nothing is said; its config checks the rest."""

    width: int = 128
    num_layers: int = 6
    num_heads: int = 4


AS_DENOISER = Size()


def raster_config(
    *, num_codes: int, num_positions: int, encoder: TextEncoder, size: Size = AS_DENOISER
) -> RasterTransformerConfig:
    """A transformer that fits these tokens and this text encoder."""
    return RasterTransformerConfig(
        num_codes=num_codes,
        num_positions=num_positions,
        text_width=encoder.width,
        text_length=encoder.length,
        **asdict(size),
    )


def imagebart_config(
    num_scales: int,
    *,
    num_codes: int,
    num_positions: int,
    encoder: TextEncoder,
    size: Size = AS_DENOISER,
) -> ImageBARTConfig:
    """The same for an ImageBART. Encoder and decoder of every scale have `size.num_layers` blocks.

    One scale has about 7/3 times the weights of a raster transformer of the same size: a block of
    the encoder 12 d² as there, one of the decoder 16 d².
    """
    return ImageBARTConfig(
        num_codes=num_codes,
        num_positions=num_positions,
        num_scales=num_scales,
        text_width=encoder.width,
        text_length=encoder.length,
        **asdict(size),
    )


class Conditional(nn.Module):
    """The states of "no caption" learn together with a network."""

    def __init__(self, null_text: NullText) -> None:
        super().__init__()
        self.null_text = null_text

    def heard(
        self, text: Float[Tensor, "b l c"], generator: torch.Generator
    ) -> Float[Tensor, "b l c"]:
        """The text, but one caption in ten is replaced by "no caption"."""
        null = self.null_text(len(text))
        return drop_captions(text, null, CAPTION_DROPOUT, generator=generator)


class ConditionalRaster(Conditional):
    r"""What `train_raster` trains: how surprising is each row to the transformer?

    Nats for each row, $-\log p(x \mid \text{text})$, exactly. Every token is asked for after the
    true tokens before it, whatever the network would have written there ("teacher forcing"): one
    call gives the loss of all n positions.
    """

    def __init__(self, transformer: RasterTransformer, null_text: NullText) -> None:
        super().__init__(null_text)
        self.transformer = transformer

    def forward(
        self, x: Int[Tensor, "b n"], text: Float[Tensor, "b l c"], generator: torch.Generator
    ) -> Float[Tensor, " b"]:
        condition = Conditioning(self.heard(text, generator))
        return -self.transformer.log_likelihood(x, condition)


class ConditionalImageBART(Conditional):
    r"""What `train_imagebart` trains: at most how surprising is each row to the ImageBART?

    The bound in nats for each row, an unbiased estimate. All T scales hear the same caption, or
    all hear none.

    **Why all scales in each step?** They have no weights in common, so one call of each costs
    about as much as one call of a transformer with as many weights as all of them. A single scale
    t, drawn at random, with T times its term as the loss, has the same gradient on average and
    costs one T-th; but then a scale learns in one step of T only. The same number of updates of
    every scale takes T times as many steps: the same work in the networks, and T times as many
    images to draw, tokenise and describe. Nothing would be saved, and chance would decide how
    often each scale learns.
    """

    def __init__(self, imagebart: ImageBART, null_text: NullText) -> None:
        super().__init__(null_text)
        self.imagebart = imagebart

    def forward(
        self, x: Int[Tensor, "b n"], text: Float[Tensor, "b l c"], generator: torch.Generator
    ) -> Float[Tensor, " b"]:
        condition = Conditioning(self.heard(text, generator))
        return x.shape[1] * self.imagebart.loss(x, condition, generator=generator)


class AutoregressiveTask:
    """The mean negative log-likelihood of a token in nats. Tokens and text are frozen.

    A subclass makes `network` from `sizes`, and its config. Raises `ValueError` for a
    `run.start_from`: these networks always begin fresh.
    """

    network: Conditional
    config: dict[str, Any]

    def __init__(self, run: Run) -> None:
        if run.start_from is not None:
            raise ValueError(f"start_from is {str(run.start_from)!r}; allowed: None")
        self.run, self.frozen = run, Frozen(run)
        self.sizes = {
            "num_codes": self.frozen.num_codes,
            "num_positions": self.frozen.side**2,
            "encoder": self.frozen.encoder,
        }
        self.null_text = self.frozen.fresh_null_text()
        self.extra_state = []

    def begin(self, network: Conditional, size: Size, **config: Any) -> None:
        """What the loop asks for, from a fresh network."""
        self.network = network.to(self.frozen.device)
        self.muon_weights = muon_weights(self.network)
        self.config = {"size": asdict(size), **config}

    def losses(self, network: nn.Module, batch: Batch, step: int) -> tuple[dict[str, Tensor], None]:
        x, text = self.frozen.read(batch)
        nats = network(x, text, self.run.noise(step))
        return {"loss": nats.mean() / x.shape[1]}, None

    def after_step(self, step: int, seen: None) -> None:
        """Nothing learns without the gradient."""


class RasterTask(AutoregressiveTask):
    """A raster transformer of this size."""

    def __init__(self, run: Run, size: Size = AS_DENOISER) -> None:
        super().__init__(run)
        config = raster_config(**self.sizes, size=size)
        self.begin(ConditionalRaster(RasterTransformer(config), self.null_text), size)


class ImageBARTTask(AutoregressiveTask):
    """An ImageBART with so many scales, each of this size."""

    def __init__(self, run: Run, num_scales: int = 3, size: Size = AS_DENOISER) -> None:
        super().__init__(run)
        config = imagebart_config(num_scales, **self.sizes, size=size)
        network = ConditionalImageBART(ImageBART(config), self.null_text)
        self.begin(network, size, num_scales=num_scales)


def train_raster(run: Run, size: Size = AS_DENOISER) -> ConditionalRaster:
    """Learn to write tokens; reads the tokens and the text encoder of `run.folder`.

    Returns the running mean of the weights, on the CPU, and saves nothing: no folder of a
    released model has a position for it. A training that was stopped goes on from the state that
    lies in `<folder>/.training/raster`, as in the other stages. Raises as `RasterTransformerConfig`
    and `WriterTrainee` do, and `CheckpointError` if the folder lacks a part.
    """
    return fit("raster", RasterTask(run, size), run)


def train_imagebart(
    run: Run, num_scales: int = 3, size: Size = AS_DENOISER
) -> ConditionalImageBART:
    """Learn to walk back from noise in `num_scales` steps; all else is as in `train_raster`.

    The state lies in `<folder>/.training/imagebart`.
    """
    return fit("imagebart", ImageBARTTask(run, num_scales, size), run)
