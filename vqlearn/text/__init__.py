"""From a caption to the states that a model attends to."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "build_clip": "clip",
        "build_text_model": "clip",
        "build_tokenizer": "tokenizer",
        "clean_caption": "tokenizer",
        "contrastive_loss": "clip",
        "drop_captions": "null_text",
        "null_states": "null_text",
        "NullText": "null_text",
        "NullTextConfig": "null_text",
        "TextEncoder": "encoder",
    },
)
