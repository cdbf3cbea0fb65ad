"""Discrete diffusion: schedules, processes, posterior, objective, sampler, likelihood."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    d3pm="DenseProcess",
    level_sampling="ImportanceSampler",
    model="DiffusionModel",
    objective="prior_term training_loss variational_bound",
    parameterisations="DirectPrediction",
    process="MaskAndReplace Process",
    sampler="all_masked draw_prior levels_to_visit sample",
    schedule="absorbing build_schedule multinomial paper released Schedule ScheduleConfig",
)
