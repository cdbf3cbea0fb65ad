"""accelerate keeps the precision of its first user for the whole process."""

from accelerate.state import AcceleratorState, GradientState


def forget_accelerate():
    """The next user of accelerate is the first again."""
    AcceleratorState._reset_state()
    GradientState._reset_state()
