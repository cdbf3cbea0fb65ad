"""Discrete diffusion: schedules, processes, posterior, objective, sampler, likelihood."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "absorbing": "schedule",
        "build_schedule": "schedule",
        "paper": "schedule",
        "DenseProcess": "d3pm",
        "DiffusionModel": "model",
        "ImportanceSampler": "level_sampling",
        "levels_to_visit": "sampler",
        "MaskAndReplace": "process",
        "sample": "sampler",
        "Schedule": "schedule",
        "ScheduleConfig": "schedule",
        "training_loss": "objective",
        "variational_bound": "objective",
    },
)
