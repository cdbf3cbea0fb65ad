"""The model that a command is asked for, ready to be used, or what is missing of it."""

from pathlib import Path

from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.layout import INDEX_FILE
from vqlearn.pipeline import TextToImagePipeline, best_device, load_pipeline


def open_model(name_or_dir: str) -> TextToImagePipeline:
    """The pipeline of a checkpoint, on the best device.

    Raises `CheckpointError`, and `ValueError` for the folder of a training that is not finished:
    it names the stage that is missing, and the command to go on.
    """
    check_finished(resolve(name_or_dir))
    return load_pipeline(name_or_dir).to(best_device())


def check_finished(folder: Path) -> None:
    """Raise `ValueError` for a folder in which some stages were trained, but no checkpoint."""
    if (folder / INDEX_FILE).exists():
        return
    from vqlearn.training.stages.order import STAGES, VQ_DIFFUSION
    from vqlearn.training.state import FOLDER

    begun = [name for name in STAGES if (folder / FOLDER / name).is_dir()]
    done = [name for name in STAGES if STAGES[name].is_finished(folder)]
    if not begun and not done:
        return
    goal = next((name for name in begun if name not in VQ_DIFFUSION), None)
    wanted = VQ_DIFFUSION if goal is None else (*VQ_DIFFUSION[:2], goal)
    missing = next((name for name in wanted if name not in done), wanted[-1])
    command = " ".join(["vqlearn train", *([] if goal is None else [goal]), f"--out {folder}"])
    raise ValueError(
        f"the training in {str(folder)!r} is not finished, the stage {missing} is missing; "
        f"to go on, run with the options that it has had: {command}"
    )
