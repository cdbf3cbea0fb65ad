"""Small scenes with captions: the world, its drawing, its grammar, random samples of it."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    captions="describe_all parse",
    drawing="render",
    hard_negatives="sample_with_hard_negatives",
    sampling="Composition sample_scenes scene_batch SceneBatch",
    world="Scene SceneObject",
)
