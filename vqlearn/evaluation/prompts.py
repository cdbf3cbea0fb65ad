"""The measures of a model of scenes: prompt accuracy, its ceiling and floor, bits per token.

    vqlearn evaluate --steps 25 --prompts 300

Captions and seeds follow from one number, so a second run on the same kind of machine gives the
same numbers (but for the seconds). Choose settings with `--seed 1`; seed 0 is for the figures that
are reported.
"""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPModel
from transformers.models.clip.modeling_clip import CLIPOutput

from vqlearn.data.scenes import Composition, SceneBatch, scene_batch
from vqlearn.diffusion import DiffusionModel
from vqlearn.evaluation.scene_reader import Accuracy, Share, prompt_accuracy
from vqlearn.evaluation.scene_words import check_scene_words
from vqlearn.evaluation.text_probe import text_probe
from vqlearn.pipeline import TextToImagePipeline
from vqlearn.probability import random_stream
from vqlearn.probability.checks import check_sizes
from vqlearn.text import pixel_values

COMPOSITIONS = ("seen", "held_out")
IMAGES_AT_ONCE = 50
BOUND_SCENES = 50


@dataclass(frozen=True)
class Evaluation:
    """How many prompts are counted, and how their images are sampled.

    Raises `ValueError` for fewer than one prompt.
    """

    num_inference_steps: int = 25
    guidance_scale: float = 1.5
    truncation_rate: float = 0.9
    prompts: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes({"prompts": self.prompts})

    def call_options(self) -> dict[str, float]:
        """The keyword arguments of the pipeline's call."""
        names = ("num_inference_steps", "guidance_scale", "truncation_rate")
        return {name: getattr(self, name) for name in names}

    def settings(self) -> dict[str, float]:
        """All of it, in the words of the command line and of stored runs."""
        names = ("steps", "guidance", "truncation", "prompts", "seed")
        return dict(zip(names, astuple(self), strict=True))


@dataclass(frozen=True)
class Score(Accuracy):
    """What the scene reader and the small CLIP say of images and their captions.

    There is no `clip_score` without a CLIP. Of images that were generated also the seconds of each,
    and the calls of the denoiser, if there is one.
    """

    clip_score: float | None = None
    calls_per_image: float | None = None
    seconds_per_image: float | None = None


@dataclass(frozen=True)
class CompositionScores:
    """All figures of a model for one kind of captions.

    `model`: the images that it generates; `ceiling`: true scenes after a round trip through their
    tokens; `floor`: the same network untrained; `text_probe`: the share of right answers that a
    linear map reads off the text states, by question.
    """

    model: Score
    ceiling: Score
    floor: Score
    bound_bits_per_token: float
    token_bits_given_pixels: float
    text_probe: dict[str, float]


def evaluate(
    pipeline: TextToImagePipeline, clip: CLIPModel | None, evaluation: Evaluation
) -> dict[str, CompositionScores]:
    """All figures of a model, for "seen" and "held_out" compositions.

    Raises `ValueError` for a model of other images, as `check_scene_words` does.
    """
    check_scene_words(pipeline.text_encoder.tokenizer)
    text, found = text_probe(pipeline.text_encoder), {}
    for composition in COMPOSITIONS:
        batch = evaluated_scenes(composition, evaluation, pipeline.image_size)
        found[composition] = CompositionScores(
            model=_generated(pipeline, clip, batch, evaluation),
            ceiling=score(pipeline, clip, round_trip(pipeline, batch.images), batch.captions),
            floor=_generated(untrained(pipeline), clip, batch, evaluation),
            bound_bits_per_token=bound_bits_per_token(pipeline, batch),
            token_bits_given_pixels=token_bits_given_pixels(pipeline, batch.images),
            text_probe=text[composition],
        )
    return found


def evaluate_model(
    pipeline: TextToImagePipeline, clip: CLIPModel | None, evaluation: Evaluation
) -> dict[str, Score]:
    """The part `model` of `evaluate` alone, for both compositions."""
    found = {}
    for composition in COMPOSITIONS:
        batch = evaluated_scenes(composition, evaluation, pipeline.image_size)
        found[composition] = _generated(pipeline, clip, batch, evaluation)
    return found


def as_json(evaluation: Evaluation, found: dict[str, CompositionScores]) -> dict[str, Any]:
    """What `vqlearn evaluate` prints: the settings, then every count with share and interval."""
    report = evaluation.settings()
    for composition, scores in found.items():
        part = asdict(scores, dict_factory=with_shares)
        part["chance_bits_per_token"] = part.pop("token_bits_given_pixels")
        part["text"] = part.pop("text_probe")
        report[composition] = part
    return report


def with_shares(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """A `dict_factory` for `asdict`: counts also as shares, and nothing of what is None."""
    found = {name: value for name, value in fields if value is not None}
    if "total" in found:
        share = Share(found["right"], found["total"])
        found |= {"share": share.share, "interval_95": share.interval_95}
    return found


def evaluated_scenes(
    composition: Composition, evaluation: Evaluation, image_size: int = 32
) -> SceneBatch:
    """The scenes whose captions are prompts: every model is asked for the same ones."""
    return scene_batch(
        evaluation.prompts,
        generator=random_stream("evaluated scenes", composition, evaluation.seed),
        composition=composition,
        image_size=image_size,
    )


def generate(
    pipeline: TextToImagePipeline, captions: Sequence[str], evaluation: Evaluation
) -> Tensor:
    """One image a caption, RGB in 0 to 1, (b, 3, h, w), each with a random stream of its own."""
    parts = []
    for first in range(0, len(captions), IMAGES_AT_ONCE):
        some = list(captions[first : first + IMAGES_AT_ONCE])
        positions = range(first, first + len(some))
        images = pipeline(
            some,
            **evaluation.call_options(),
            generator=[random_stream("evaluated picture", evaluation.seed, i) for i in positions],
            output_type="np",
        ).images
        parts.append(rearrange(torch.from_numpy(images), "b h w c -> b c h w"))
    return torch.cat(parts)


def score(
    pipeline: TextToImagePipeline,
    clip: CLIPModel | None,
    images: Float[Tensor, "b 3 h w"],
    captions: list[str],
) -> Score:
    """The scene reader's counts, of whole captions and by attribute, and the CLIP score."""
    cosine = None if clip is None else round(clip_score(pipeline, clip, images, captions), 2)
    return Score(**vars(prompt_accuracy(images, captions)), clip_score=cosine)


@torch.no_grad()
def clip_score(
    pipeline: TextToImagePipeline,
    clip: CLIPModel,
    images: Float[Tensor, "b 3 h w"],
    captions: list[str],
) -> float:
    """100 times the mean cosine of each image with its own caption, in the small CLIP.

    It was trained on scenes alone, so its scores compare with each other and with no other CLIP.
    """
    found = read_by_clip(pipeline, clip, images, captions)
    return 100 * F.cosine_similarity(found.image_embeds, found.text_embeds).mean().item()


def read_by_clip(
    pipeline: TextToImagePipeline,
    clip: CLIPModel,
    images: Float[Tensor, "b 3 h w"],
    captions: list[str],
) -> CLIPOutput:
    """What CLIP makes of these images, in its own size, and of these captions."""
    side = clip.config.vision_config.image_size
    resized = F.interpolate(images.float(), (side, side), mode="bilinear", antialias=True)
    ids = pipeline.text_encoder.tokenize(captions, warn=False)
    return clip(input_ids=ids, pixel_values=pixel_values(resized))


@torch.no_grad()
def round_trip(pipeline: TextToImagePipeline, images: Float[Tensor, "b 3 h w"]) -> Tensor:
    """The images after encoding into tokens and decoding: what a perfect model could generate."""
    vqvae, parts = pipeline.vqvae, images.split(IMAGES_AT_ONCE)
    return torch.cat([vqvae.decode(vqvae.encode(part)).float().cpu() for part in parts])


def untrained(pipeline: TextToImagePipeline) -> TextToImagePipeline:
    """The same pipeline with fresh weights in its model: the floor of every measurement."""
    model = pipeline.model
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if isinstance(model, DiffusionModel):
            fresh = DiffusionModel(model.process, type(model.network)(model.network.config))
        else:
            fresh = type(model)(model.config)
    floor = copy.copy(pipeline)
    floor.model = fresh.to(pipeline.device, pipeline.dtype).eval()
    return floor


@torch.no_grad()
def bound_bits_per_token(pipeline: TextToImagePipeline, batch: SceneBatch) -> float:
    """The negative log-likelihood of the first 50 scenes given their captions, in bits per token.

    Of a diffusion model an upper bound, the negative ELBO, in T calls of the denoiser.
    """
    count = min(BOUND_SCENES, len(batch.captions))
    x_0 = pipeline.vqvae.encode(batch.images[:count])
    condition = pipeline.conditioning(batch.captions[:count], guided=False)
    nll = pipeline.model.nll(x_0, condition, generator=torch.Generator().manual_seed(0))
    return round((nll.mean() / x_0.shape[1] / math.log(2)).item(), 4)


@torch.no_grad()
def token_bits_given_pixels(
    pipeline: TextToImagePipeline, images: Float[Tensor, "b 3 h w"]
) -> float:
    r"""The bits of a token that the pixels of its own square leave open.

    $H(\text{token} \mid \text{square})$, by counting: 0 if equal squares always get equal tokens.
    What is above 0 depends on the rest of the image, and a denoiser must guess it.
    """
    size = pipeline.vqvae.config.downsampling_factor
    parts = images.split(IMAGES_AT_ONCE)
    tokens = torch.cat([pipeline.vqvae.encode(part).cpu() for part in parts])
    squares = rearrange(images, "b c (h p) (w q) -> (b h w) (c p q)", p=size, q=size)
    square = (255 * squares).round().unique(dim=0, return_inverse=True)[1]
    both = torch.stack([square, tokens.flatten()], dim=1)
    return round(_entropy_bits(both) - _entropy_bits(square[:, None]), 4)


def _entropy_bits(rows: Tensor) -> float:
    counts = rows.unique(dim=0, return_counts=True)[1]
    return torch.special.entr(counts.double() / len(rows)).sum().item() / math.log(2)


def _generated(
    pipeline: TextToImagePipeline, clip: CLIPModel | None, batch: SceneBatch, evaluation: Evaluation
) -> Score:
    """The score of one sample for each caption, and what it costs."""
    calls, counted = [], isinstance(pipeline.model, DiffusionModel)
    head = pipeline.denoiser.to_logits if counted else pipeline.model
    hook = head.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    begin = time.perf_counter()
    images = generate(pipeline, batch.captions, evaluation)
    seconds = time.perf_counter() - begin
    hook.remove()
    return replace(
        score(pipeline, clip, images, batch.captions),
        calls_per_image=sum(calls) / len(images) if counted else None,
        seconds_per_image=round(seconds / len(images), 4),
    )
