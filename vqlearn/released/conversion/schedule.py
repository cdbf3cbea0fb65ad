"""The schedule of an official model: its buffers must be those that our formula gives."""

from vqlearn.checkpoints.layout import CheckpointError
from vqlearn.diffusion.schedule import ScheduleConfig, build_schedule, released
from vqlearn.probability.checks import shown
from vqlearn.released.training_file import MappedTensors

BUFFERS = {
    "alpha_bar": "log_cumprod_at",
    "beta_bar": "log_cumprod_bt",
    "gamma_bar": "log_cumprod_ct",
}
"""Level t = 1..T has the index t - 1 there; index T is level 0."""
TOLERANCE = 1e-6  # of a probability, in float32; beta_bar is a difference of two of them


def schedule_of(
    label: str, weights: MappedTensors, num_codes: int, num_timesteps: int
) -> ScheduleConfig:
    """The schedule of the released models with so many codes and levels.

    `weights` are the raw ones: an average of constants has its rounding.

    Raises `CheckpointError` if the buffers of the file say something else; it may have none.
    """
    config = released(num_codes, num_timesteps)
    schedule = build_schedule(config)
    for name, buffer in BUFFERS.items():
        key = f"transformer.{buffer}"
        if key not in weights:
            continue
        expected = getattr(schedule, name).roll(-1)
        found = weights[key].double().exp()
        if found.shape != expected.shape or not (found - expected).abs().max() <= TOLERANCE:
            raise CheckpointError(
                f"{label}: {shown(key)} is another schedule; allowed: that of the released models "
                f"with {num_timesteps} levels"
            )
    return config
