"""The names of files, folders and classes in a checkpoint: of the released models, and of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VQVAE_FOLDER = "vqvae"
DENOISER_FOLDER = "transformer"
NULL_TEXT_FOLDER = "learned_classifier_free_sampling_embeddings"
SCHEDULE_FOLDER = "scheduler"
RASTER_FOLDER = "raster_transformer"
IMAGEBART_FOLDER = "imagebart"
TEXT_FOLDER = "text_encoder"
TOKENIZER_FOLDER = "tokenizer"
CLIP_FOLDER = "clip"

DIFFUSERS_STEMS = ("diffusion_pytorch_model",)
TRANSFORMERS_STEMS = ("model", "pytorch_model")
STEMS = DIFFUSERS_STEMS + TRANSFORMERS_STEMS

INDEX_FILE = "model_index.json"
SHARED = {
    VQVAE_FOLDER: ["diffusers", "VQModel"],
    TEXT_FOLDER: ["transformers", "CLIPTextModel"],
    TOKENIZER_FOLDER: ["transformers", "CLIPTokenizer"],
    NULL_TEXT_FOLDER: ["diffusers", "LearnedClassifierFreeSamplingEmbeddings"],
}
OURS = {"_class_name": "TextToImagePipeline", **SHARED}
INDICES = {
    DENOISER_FOLDER: {
        "_class_name": "VQDiffusionPipeline",
        DENOISER_FOLDER: ["diffusers", "Transformer2DModel"],
        SCHEDULE_FOLDER: ["diffusers", "VQDiffusionScheduler"],
        **SHARED,
    },
    RASTER_FOLDER: {RASTER_FOLDER: ["vqlearn", "RasterTransformer"], **OURS},
    IMAGEBART_FOLDER: {IMAGEBART_FOLDER: ["vqlearn", "ImageBART"], **OURS},
}
"""What `model_index.json` says of each kind of checkpoint, by the folder of its token model."""

OTHER_CLASSES = {
    TOKENIZER_FOLDER: ("CLIPTokenizerFast",),
    NULL_TEXT_FOLDER: (None,),  # older files lack it
}

PARTS = (
    INDEX_FILE,
    CLIP_FOLDER,
    *dict.fromkeys(name for index in INDICES.values() for name in index if name[0] != "_"),
)


class CheckpointError(ValueError):
    """The files of a checkpoint cannot be used. Says which file, what was seen, what is allowed."""


@contextmanager
def naming(what: object, *kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into a `CheckpointError` that says what cannot be used."""
    try:
        yield
    except CheckpointError:
        raise
    except kinds as error:
        raise CheckpointError(f"{what} cannot be used: {error}") from error


def model_folder(folder: Path) -> str:
    """The name of the folder with the token model. Raises `CheckpointError` for none or several."""
    there = [name for name in INDICES if (folder / name).is_dir()]
    if not there:
        raise CheckpointError(f"{folder} is no checkpoint; allowed: a folder with {INDEX_FILE}")
    if len(there) > 1:
        raise CheckpointError(f"{folder} holds the models {there}; allowed: one of {list(INDICES)}")
    return there[0]
