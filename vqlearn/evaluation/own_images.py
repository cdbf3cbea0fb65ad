"""The measures of a model on images of any kind: what tokens keep, bits, and captions told apart.

    vqlearn evaluate --model runs/cats --data my_images --prompts 100

The model must be one of images of the same kind. Images that it has learned from flatter it: hold
some out when you train (`--hold-out`), and both kinds are measured.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import CLIPModel

from vqlearn.data import Batch, ImageFolder
from vqlearn.evaluation.prompts import (
    IMAGES_AT_ONCE,
    Evaluation,
    generate,
    read_by_clip,
    round_trip,
    with_shares,
)
from vqlearn.evaluation.scene_reader import DIGITS, Share
from vqlearn.pipeline import TextToImagePipeline
from vqlearn.probability import random_stream
from vqlearn.probability.checks import check_integer

MOST_BOUNDS = 50  # images whose likelihood is measured: each takes T calls of the denoiser
MOST_SAMPLES = 16
HALF_A_VALUE = 1 / 510  # an error below it cannot be seen in 8 bits


@dataclass(frozen=True)
class Measured:
    """A mean over images, and its standard error."""

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: Float[Tensor, " b"]) -> "Measured":
        """Raises `ValueError` for fewer than two values."""
        check_integer("the number of images", len(values), 2)
        values = values.double()
        error = values.std() / len(values) ** 0.5
        return cls(round(values.mean().item(), DIGITS), round(error.item(), DIGITS))


@dataclass(frozen=True)
class ImageScores:
    """All figures of a model on the images and captions of a folder.

    - `images`: how many were measured.
    - `round_trip_psnr`, `round_trip_ssim`: of an image after encoding into tokens and decoding, in
      dB, and up to 1 (Wang et al. 2004).
    - `codes_in_use`: how many of the `num_codes` codes stand in the tokens of these images.
    - `bits_per_token`: the negative log-likelihood of the tokens given the caption, of the first
      50 images; of a diffusion model an upper bound, the negative ELBO.
    - `captions`: how many distinct ones CLIP has to choose from.
    - `matched`: how often CLIP finds the caption of an image that the model has generated, and
      `matched_truth` that of the true image. None without a CLIP.
    """

    images: int
    round_trip_psnr: Measured
    round_trip_ssim: Measured
    codes_in_use: int
    num_codes: int
    bits_per_token: Measured
    captions: int
    matched: Share | None
    matched_truth: Share | None


def evaluated_images(
    source: ImageFolder, lines: Int[Tensor, " lines"], evaluation: Evaluation
) -> Batch:
    """At most `evaluation.prompts` images of these lines at random, each with its first caption.

    Raises `ValueError` for fewer than two images: there would be no standard error.
    """
    first = dict(zip(reversed(source.rows[lines].tolist()), reversed(lines.tolist()), strict=True))
    chosen = torch.tensor(list(reversed(first.values())))
    order = torch.randperm(
        len(chosen), generator=random_stream("evaluated images", evaluation.seed)
    )
    some = chosen[order[: evaluation.prompts]]
    check_integer("the number of images to measure", len(some), 2)
    return source.numbered(some)


def evaluate_images(
    pipeline: TextToImagePipeline, clip: CLIPModel | None, batch: Batch, evaluation: Evaluation
) -> ImageScores:
    """All figures of a model on these images. Raises `ValueError` for fewer than two."""
    generated = None if clip is None else generate(pipeline, batch.captions, evaluation)
    return score_images(pipeline, clip, batch, generated)


def score_images(
    pipeline: TextToImagePipeline,
    clip: CLIPModel | None,
    batch: Batch,
    generated: Float[Tensor, "b 3 h w"] | None,
) -> ImageScores:
    """As `evaluate_images`, where the samples to the captions are there; only a CLIP needs them."""
    matched = matched_truth = None
    if clip is not None:
        matched = caption_matching(pipeline, clip, generated, batch.captions)
        matched_truth = caption_matching(pipeline, clip, batch.images, batch.captions)
    restored = round_trip(pipeline, batch.images)
    return ImageScores(
        images=len(batch.captions),
        round_trip_psnr=psnr(restored, batch.images),
        round_trip_ssim=ssim(restored, batch.images),
        codes_in_use=codes_in_use(pipeline, batch.images),
        num_codes=pipeline.model.num_codes,
        bits_per_token=_bits(pipeline, batch),
        captions=len(set(batch.captions)),
        matched=matched,
        matched_truth=matched_truth,
    )


def psnr(restored: Float[Tensor, "b 3 h w"], images: Float[Tensor, "b 3 h w"]) -> Measured:
    r"""$10 \log_{10}(1 / \mathrm{MSE})$ of each image, in dB; RGB in 0 to 1.

    An error below half a grey value counts as half of one, 54 dB.
    """
    error = (restored - images).square().mean((1, 2, 3))
    return Measured.of(-10 * error.clamp_min(HALF_A_VALUE**2).log10())


def ssim(restored: Float[Tensor, "b 3 h w"], images: Float[Tensor, "b 3 h w"]) -> Measured:
    """The structural similarity of each image, up to 1; RGB in 0 to 1.

    Gaussian windows of 11 pixels, standard deviation 1.5 (Wang et al. 2004), around every pixel,
    the image mirrored at its border; the mean over windows and colours.
    """
    # Here, because importing it takes seconds.
    from torchmetrics.functional.image import structural_similarity_index_measure

    values = structural_similarity_index_measure(restored, images, data_range=1.0, reduction="none")
    return Measured.of(values)


def codes_in_use(pipeline: TextToImagePipeline, images: Float[Tensor, "b 3 h w"]) -> int:
    """How many codes the tokens of these images use."""
    used = [pipeline.vqvae.encode(part).unique().cpu() for part in images.split(IMAGES_AT_ONCE)]
    return len(torch.cat(used).unique())


@torch.no_grad()
def caption_matching(
    pipeline: TextToImagePipeline,
    clip: CLIPModel,
    images: Float[Tensor, "b 3 h w"],
    captions: list[str],
) -> Share:
    """How many images are nearer to their own caption than to every other one of the list."""
    distinct = list(dict.fromkeys(captions))
    nearest = read_by_clip(pipeline, clip, images, distinct).logits_per_image.argmax(1).tolist()
    right = sum(distinct[i] == own for i, own in zip(nearest, captions, strict=True))
    return Share(right, len(captions))


@torch.no_grad()
def _bits(pipeline: TextToImagePipeline, batch: Batch) -> Measured:
    x_0 = pipeline.vqvae.encode(batch.images[:MOST_BOUNDS])  # (b, n)
    condition = pipeline.conditioning(batch.captions[:MOST_BOUNDS], guided=False)
    nll = pipeline.model.nll(x_0, condition, generator=torch.Generator().manual_seed(0))
    return Measured.of(nll.cpu() / x_0.shape[1] / math.log(2))


def as_json(evaluation: Evaluation, scores: Mapping[str, ImageScores]) -> dict[str, Any]:
    """What `vqlearn evaluate --data FOLDER` prints: the settings, then the figures of each part."""
    told = evaluation.settings()
    for part, each in scores.items():
        chance = {} if each.matched is None else {"matched_by_chance": 1 / each.captions}
        told[part] = asdict(each, dict_factory=with_shares) | chance
    return told


def samples(
    pipeline: TextToImagePipeline, batch: Batch, evaluation: Evaluation
) -> Float[Tensor, "2 images 3 h w"]:
    """The first 16 images, and below each what the model generates to its caption.

    Where there are fewer, white ones follow.
    """
    captions = batch.captions[:MOST_SAMPLES]
    rows = [batch.images[: len(captions)], generate(pipeline, captions, evaluation)]
    missing = MOST_SAMPLES - len(captions)
    return F.pad(torch.stack(rows), (0, 0, 0, 0, 0, 0, 0, missing), value=1.0)  # white
