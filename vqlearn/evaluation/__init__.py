"""How good is a model? Prompt accuracy, the scene reader, entropies and counting baselines."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "evaluate": "prompts",
        "prompt_accuracy": "scene_reader",
    },
)
