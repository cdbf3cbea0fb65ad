"""Which folder does a checkpoint's name stand for?"""

from pathlib import Path

from vqlearn.checkpoints.folder import CheckpointError

WEIGHTS = Path(__file__).parent.parent / "weights"


def shipped_names() -> list[str]:
    """The checkpoints that come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/model_index.json"))


def resolve(name_or_dir: str | Path) -> Path:
    """The folder of a shipped checkpoint, or the folder that was named.

    A shipped name comes first: write "./scenes" for your own folder of that name. Raises
    `CheckpointError` if it is neither.
    """
    if str(name_or_dir) in shipped_names():
        return WEIGHTS / str(name_or_dir)
    folder = Path(name_or_dir).expanduser()
    if not folder.is_dir():
        shipped = ", ".join(map(repr, shipped_names()))
        raise CheckpointError(
            f"there is no folder {str(name_or_dir)!r}, and no shipped checkpoint of that name; "
            f"shipped: {shipped}"
        )
    return folder
