"""A challenge: the most right images of scenes in ten network evaluations, without training."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    leaderboard="Leaderboard",
    network="CountedNetwork",
    running="run_submission",
    task="PUBLIC score ScenesTask TaskScore",
)
