r"""Two more stages: learn to predict the tokens of an image one by one, given a caption.

    trained = train_raster(run)
    condition = Conditioning(encoder(["a small red circle"]), trained.null_text(1))
    tokens = trained.model.sample(1, condition, sampling=Sampling(guidance_scale=1.5))

They learn from the same tokens and the same text states as the denoiser of `diffusion.py`, in the
same loop, so that the three can be compared.
"""

from dataclasses import asdict, dataclass

from vqlearn.autoregressive import ImageBART, RasterTransformer, RasterTransformerConfig
from vqlearn.autoregressive.imagebart import ImageBARTConfig
from vqlearn.training.loop import Run
from vqlearn.training.recipes import DEFAULT_SIZE, Size
from vqlearn.training.stages.captioned import Captioned, CaptionedTask, train_captioned
from vqlearn.training.stages.frozen import Frozen


@dataclass(frozen=True)
class RasterOptions:
    """How large the transformer is."""

    size: Size = DEFAULT_SIZE


@dataclass(frozen=True)
class ImageBARTOptions:
    """How many scales there are, and how large each is.

    Encoder and decoder of every scale have `size.num_layers` blocks. One scale has about 7/3 times
    the weights of a raster transformer of the same size: a block of the encoder 12 d² as there, one
    of the decoder 16 d².
    """

    num_scales: int = 3
    size: Size = DEFAULT_SIZE


def raster_task(run: Run, options: RasterOptions = RasterOptions()) -> CaptionedTask:
    """A fresh raster transformer that fits the tokens and the text encoder of `run.folder`."""
    frozen = Frozen(run)
    null_text = frozen.fresh_null_text()  # before the model: both draw their first weights
    config = RasterTransformerConfig(**_sizes(frozen, options.size))
    network = Captioned(RasterTransformer(config), null_text)
    return CaptionedTask(run, frozen, network, asdict(options))


def imagebart_task(run: Run, options: ImageBARTOptions = ImageBARTOptions()) -> CaptionedTask:
    """A fresh ImageBART that fits them."""
    frozen = Frozen(run)
    null_text = frozen.fresh_null_text()
    config = ImageBARTConfig(num_scales=options.num_scales, **_sizes(frozen, options.size))
    network = Captioned(ImageBART(config), null_text)
    return CaptionedTask(run, frozen, network, asdict(options))


def _sizes(frozen: Frozen, size: Size) -> dict[str, int]:
    return {
        "num_codes": frozen.num_codes,
        "num_positions": frozen.side**2,
        "text_width": frozen.encoder.width,
        "text_length": frozen.encoder.length,
        **asdict(size),
    }


def train_raster(run: Run, options: RasterOptions = RasterOptions()) -> Captioned:
    """Learn to predict tokens in raster order; reads tokens and text, completes the checkpoint.

    Returns the running mean of the weights, on the CPU. Raises as `RasterTransformerConfig` does,
    and `CheckpointError` if the folder lacks a part.
    """
    return train_captioned("raster", raster_task(run, options), run)


def train_imagebart(run: Run, options: ImageBARTOptions = ImageBARTOptions()) -> Captioned:
    """Learn to reverse a few large steps of noise; all else is as in `train_raster`.

    **Why all scales in each step?** They have no weights in common, so one call of each costs
    about as much as one call of a transformer with as many weights as all of them. A single scale
    t, drawn at random, with T times its term as the loss, has the same gradient on average and
    costs one T-th; but then a scale learns in one step of T only. The same number of updates of
    every scale takes T times as many steps: the same work in the networks, and T times as many
    images to make, tokenise and describe. Nothing would be saved, and how often each scale learns
    would be random.
    """
    return train_captioned("imagebart", imagebart_task(run, options), run)
