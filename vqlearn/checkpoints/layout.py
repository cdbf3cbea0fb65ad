"""Where is what in the folder of a checkpoint? The names of the released models."""

VQVAE_FOLDER = "vqvae"
DENOISER_FOLDER = "transformer"
NULL_TEXT_FOLDER = "learned_classifier_free_sampling_embeddings"
SCHEDULE_FOLDER = "scheduler"
TEXT_FOLDER = "text_encoder"
TOKENIZER_FOLDER = "tokenizer"
CLIP_FOLDER = "clip"

DIFFUSERS_STEMS = ("diffusion_pytorch_model",)
TRANSFORMERS_STEMS = ("model", "pytorch_model")
STEMS = DIFFUSERS_STEMS + TRANSFORMERS_STEMS

INDEX_FILE = "model_index.json"
INDEX = {
    "_class_name": "VQDiffusionPipeline",
    VQVAE_FOLDER: ["diffusers", "VQModel"],
    DENOISER_FOLDER: ["diffusers", "Transformer2DModel"],
    SCHEDULE_FOLDER: ["diffusers", "VQDiffusionScheduler"],
    TEXT_FOLDER: ["transformers", "CLIPTextModel"],
    TOKENIZER_FOLDER: ["transformers", "CLIPTokenizer"],
    NULL_TEXT_FOLDER: ["diffusers", "LearnedClassifierFreeSamplingEmbeddings"],
}
ALLOWED_CLASSES = {
    "_class_name": ("VQDiffusionPipeline",),
    VQVAE_FOLDER: ("VQModel",),
    DENOISER_FOLDER: ("Transformer2DModel",),
    SCHEDULE_FOLDER: ("VQDiffusionScheduler",),
    TEXT_FOLDER: ("CLIPTextModel",),
    TOKENIZER_FOLDER: ("CLIPTokenizer", "CLIPTokenizerFast"),
    NULL_TEXT_FOLDER: ("LearnedClassifierFreeSamplingEmbeddings", None),
}

PARTS = (INDEX_FILE, CLIP_FOLDER, *(name for name in INDEX if not name.startswith("_")))


class CheckpointError(ValueError):
    """The files of a checkpoint cannot be used. Says which file, what was seen, what is allowed."""
