"""Small scenes with captions: the world, its drawing, its grammar, random samples of it."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "describe_all": "captions",
        "hard_negative_batch": "hard_negatives",
        "parse": "captions",
        "render": "drawing",
        "sample_scenes": "sampling",
        "Scene": "world",
        "scene_batch": "sampling",
        "SceneBatch": "sampling",
        "SceneObject": "world",
    },
)
