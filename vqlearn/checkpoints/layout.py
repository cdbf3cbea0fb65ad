"""The names of files, folders and classes in a checkpoint: of the released models, and of ours."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VQVAE_FOLDER = "vqvae"
DENOISER_FOLDER = "transformer"
NULL_TEXT_FOLDER = "learned_classifier_free_sampling_embeddings"
SCHEDULE_FOLDER = "scheduler"
CLASS_FOLDER = "class_transformer"
UNCONDITIONAL_FOLDER = "unconditional_transformer"
CONVOLUTIONAL_TEXT_FOLDER = "convolutional_transformer"
RASTER_FOLDER = "raster_transformer"
IMAGEBART_FOLDER = "imagebart"
TEXT_FOLDER = "text_encoder"
TOKENIZER_FOLDER = "tokenizer"
CLIP_FOLDER = "clip"

DIFFUSERS_STEMS = ("diffusion_pytorch_model",)
TRANSFORMERS_STEMS = ("model", "pytorch_model")
STEMS = DIFFUSERS_STEMS + TRANSFORMERS_STEMS

INDEX_FILE = "model_index.json"
RECOMMENDED = "recommended_sampling"
"""The key of our own in it."""
CLASS_NAMES_FILE = "class_names.json"
VQVAE = {VQVAE_FOLDER: ["diffusers", "VQModel"]}
SCHEDULE = {SCHEDULE_FOLDER: ["diffusers", "VQDiffusionScheduler"]}
SHARED = {
    **VQVAE,
    TEXT_FOLDER: ["transformers", "CLIPTextModel"],
    TOKENIZER_FOLDER: ["transformers", "CLIPTokenizer"],
    NULL_TEXT_FOLDER: ["diffusers", "LearnedClassifierFreeSamplingEmbeddings"],
}
OURS = {"_class_name": "TextToImagePipeline", **SHARED}
INDICES = {
    DENOISER_FOLDER: {
        "_class_name": "VQDiffusionPipeline",
        DENOISER_FOLDER: ["diffusers", "Transformer2DModel"],
        **SCHEDULE,
        **SHARED,
    },
    CONVOLUTIONAL_TEXT_FOLDER: {
        "_class_name": "VQDiffusionPipeline",
        CONVOLUTIONAL_TEXT_FOLDER: ["vqlearn", "ConvolutionalTextDenoiser"],
        **SCHEDULE,
        **SHARED,
    },
    CLASS_FOLDER: {
        "_class_name": "ClassToImagePipeline",
        CLASS_FOLDER: ["vqlearn", "ClassDenoiser"],
        **SCHEDULE,
        **VQVAE,
    },
    UNCONDITIONAL_FOLDER: {
        "_class_name": "UnconditionalPipeline",
        UNCONDITIONAL_FOLDER: ["vqlearn", "UnconditionalDenoiser"],
        **SCHEDULE,
        **VQVAE,
    },
    RASTER_FOLDER: {RASTER_FOLDER: ["vqlearn", "RasterTransformer"], **OURS},
    IMAGEBART_FOLDER: {IMAGEBART_FOLDER: ["vqlearn", "ImageBART"], **OURS},
}
"""What `model_index.json` says of each kind of checkpoint, by the folder of its token model."""
DENOISER_FOLDERS = tuple(name for name, index in INDICES.items() if SCHEDULE_FOLDER in index)
"""The folders of the token models that are VQ-Diffusion."""

OTHER_CLASSES = {
    TOKENIZER_FOLDER: ("CLIPTokenizerFast",),
    NULL_TEXT_FOLDER: (None,),  # older files lack it
}

PARTS = (
    INDEX_FILE,
    CLASS_NAMES_FILE,
    CLIP_FOLDER,
    *dict.fromkeys(name for index in INDICES.values() for name in index if name[0] != "_"),
)


CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_FILES = (
    *(TOKENIZER_FILE, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt"),
)

LONGEST_MESSAGE = 400  # characters
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def is_read(name: str) -> bool:
    """May a loader open a file of this name? All others may lie in a checkpoint, and are let be."""
    stem, _, rest = name.partition(".")
    named = (INDEX_FILE, CLASS_NAMES_FILE, CONFIG_FILE, "scheduler_config.json", *TOKENIZER_FILES)
    if name in named:
        return True
    return stem in STEMS and f".{rest}".endswith((".safetensors", ".bin"))


class CheckpointError(ValueError):
    """The files of a checkpoint cannot be used. Says which file, what was seen, what is allowed.

    Of a message of more than 400 characters the middle is left out.
    """

    def __init__(self, message: str) -> None:
        half = LONGEST_MESSAGE // 2 - 2
        is_long = len(message) > LONGEST_MESSAGE
        super().__init__(f"{message[:half]}...{message[-half:]}" if is_long else message)


@contextmanager
def naming(what: object, *kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into a `CheckpointError` that says what cannot be used, and why.

    The reason is the first line of the error, without colours.
    """
    try:
        yield
    except CheckpointError:
        raise
    except kinds as error:
        lines = COLOURS.sub("", str(error)).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{what} cannot be used: {lines[0]}") from error


def model_folder(folder: Path) -> str:
    """The name of the folder with the token model. Raises `CheckpointError` for none or several."""
    there = [name for name in INDICES if (folder / name).is_dir()]
    if not there:
        raise CheckpointError(f"{folder} is no checkpoint; allowed: a folder with {INDEX_FILE}")
    if len(there) > 1:
        raise CheckpointError(f"{folder} holds the models {there}; allowed: one of {list(INDICES)}")
    return there[0]
