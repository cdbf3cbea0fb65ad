"""The folder that a checkpoint's name stands for: shipped, on this machine, or of the hub."""

import logging
from dataclasses import replace
from pathlib import Path

from vqlearn.checkpoints.hub import HubOptions, download, is_repository, snapshot
from vqlearn.checkpoints.layout import NULL_TEXT_FOLDER, CheckpointError
from vqlearn.probability.checks import shown
from vqlearn.storage import as_path

logger = logging.getLogger("vqlearn")

WEIGHTS = Path(__file__).parent.parent / "weights"


def shipped_names() -> list[str]:
    """The checkpoints that come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob("*/model_index.json"))


def resolve(name_or_dir: str | Path, hub: HubOptions | None = None) -> Path:
    """The folder of a shipped checkpoint, the folder that was named, or one from the hub.

    A shipped name comes first: write "./scenes" for your own folder of that name. A name such as
    "microsoft/vq-diffusion-ithq" that is no folder is looked for on the hub (see `hub.download`);
    where its first half is a folder, as in "runs/mine", only in the cache.
    Raises `CheckpointError` if it is none of these.
    """
    hub = hub or HubOptions()
    name = str(name_or_dir)
    if name in shipped_names():
        return WEIGHTS / name
    folder = as_path("the checkpoint", name_or_dir)
    if folder.is_dir():
        return folder
    if is_repository(name):
        is_local = folder.parent.is_dir() and not hub.force_download
        return download(name, replace(hub, local_files_only=True) if is_local else hub)
    shipped = ", ".join(map(repr, shipped_names()))
    raise CheckpointError(
        f"there is no folder {shown(name)}, and no shipped checkpoint of that name; "
        f"shipped: {shipped}"
    )


def find_null_text(name_or_dir: str | Path, folder: Path, hub: HubOptions) -> Path:
    """The folder that holds the states of "no caption" for a checkpoint that lies in `folder`.

    It is `folder` itself, but for a revision of the hub that lacks them, such as "fp16" of the
    released model: then they come from the main branch, if it can be had, and a warning says so.
    """
    is_named = folder == as_path("the checkpoint", name_or_dir)
    of_a_branch = not is_named and hub.revision not in (None, "main")
    if not of_a_branch or (folder / NULL_TEXT_FOLDER).is_dir():
        return folder
    main = snapshot(str(name_or_dir), replace(hub, revision=None), NULL_TEXT_FOLDER)
    if main is None or not (main / NULL_TEXT_FOLDER / "config.json").is_file():
        return folder
    warning = "revision %r of %s has no %s; that of the main branch is used"
    logger.warning(warning, hub.revision, name_or_dir, NULL_TEXT_FOLDER)
    return main
