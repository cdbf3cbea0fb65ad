"""Two more stages: learn to predict the tokens of an image one by one, given a caption.

    trained = fit("raster", raster_task(run))
    condition = Conditioning(encoder(["a small red circle"]), trained.null_text(1))
    tokens = trained.model.sample(1, condition, sampling=Sampling(guidance_scale=1.5))

They learn from the same tokens and the same text states as the denoiser of `diffusion.py`, in the
same loop, so that the three can be compared.
"""

from dataclasses import asdict
from typing import Any

from torch import nn

from vqlearn.autoregressive import (
    ImageBART,
    ImageBARTConfig,
    RasterTransformer,
    RasterTransformerConfig,
)
from vqlearn.training.loop import Run
from vqlearn.training.sizes import DEFAULT_SIZE, Size
from vqlearn.training.tasks.captioned import Captioned, CaptionedTask, Frozen


def raster_task(run: Run, size: Size = DEFAULT_SIZE) -> CaptionedTask:
    """A fresh raster transformer, which learns to predict tokens in raster order.

    It fits the tokens and the text encoder of `run.folder`. Raises as `RasterTransformerConfig`
    does, and `CheckpointError` if the folder lacks a part.
    """
    return _task(run, RasterTransformer, RasterTransformerConfig, size)


def imagebart_task(run: Run, num_scales: int = 3, size: Size = DEFAULT_SIZE) -> CaptionedTask:
    """A fresh ImageBART, which learns to reverse a few large steps of noise.

    Encoder and decoder of every scale have `size.num_layers` blocks. One scale has about 7/3 times
    the weights of a raster transformer of the same size: a block of the encoder 12 d² as there, one
    of the decoder 16 d².

    **Why all scales in each step?** They have no weights in common, so one call of each costs
    about as much as one call of a transformer with as many weights as all of them. A single scale
    t, drawn at random, with T times its term as the loss, has the same gradient on average and
    costs one T-th; but then a scale learns in one step of T only. The same number of updates of
    every scale takes T times as many steps: the same work in the networks, and T times as many
    images to make, tokenise and describe. Nothing would be saved, and how often each scale learns
    would be random.
    """
    return _task(run, ImageBART, ImageBARTConfig, size, num_scales=num_scales)


def _task(
    run: Run, network: type[nn.Module], config: type[Any], size: Size, **scales: int
) -> CaptionedTask:
    frozen = Frozen(run)
    null_text = frozen.fresh_null_text()  # before the model: both draw their first weights
    fitted = config(
        num_codes=frozen.num_codes,
        num_positions=frozen.side**2,
        text_width=frozen.encoder.width,
        text_length=frozen.encoder.length,
        **asdict(size),
        **scales,
    )
    captioned = Captioned(network(fitted), null_text)
    return CaptionedTask(run, frozen, captioned, {**scales, "size": asdict(size)})
