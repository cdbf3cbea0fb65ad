"""From a caption to the states that a model attends to."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    clip="build_clip build_text_model contrastive_loss pixel_values",
    encoder="TextEncoder",
    null_text="drop_captions negative_states null_states NullText NullTextConfig",
    tokenizer="build_tokenizer clean_caption",
)
