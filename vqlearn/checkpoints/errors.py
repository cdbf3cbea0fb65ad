"""The one error of checkpoints."""


class CheckpointError(ValueError):
    """The files of a checkpoint cannot be used. Says which file, what was seen, what is allowed."""
