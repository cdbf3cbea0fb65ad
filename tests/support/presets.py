"""A schedule that only tests need."""

from vqlearn.diffusion.schedule import ScheduleConfig


def remembering(num_codes, num_timesteps):
    """A schedule whose last level still knows 3 tokens in 10: its prior costs something."""
    return ScheduleConfig(num_codes + 1, num_timesteps, 0.9, 0.3, 0.05, 0.5)
