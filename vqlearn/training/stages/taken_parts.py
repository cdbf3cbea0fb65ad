"""Parts that a training takes from another checkpoint, as they are: its tokens, its text."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree

from accelerate import PartialState

from vqlearn.checkpoints import layout
from vqlearn.checkpoints.digests import check_digests
from vqlearn.checkpoints.folder import check
from vqlearn.storage import atomic_folder
from vqlearn.training.stages import kept

FROZEN_PARTS = ("vqvae", "text_encoder", "tokenizer", "clip")
"""What a token model reads and does not change."""


def copy_frozen_parts(checkpoint: Path, folder: Path, parts: Sequence[str] = FROZEN_PARTS) -> bool:
    """Copy those parts of a checkpoint that it has, unless they are there already.

    Returns whether this process has copied the VQ network. Raises `CheckpointError` if `checkpoint`
    is damaged, or has no VQ network, and `ValueError` if `folder` has another one already.
    """
    index, vqvae = checkpoint / layout.INDEX_FILE, checkpoint / layout.VQVAE_FOLDER
    if index.exists() or not vqvae.is_dir():
        check(checkpoint)
    else:
        check_digests(checkpoint, layout.PARTS)  # a folder that still grows has none
    with PartialState().main_process_first():  # the other processes find the parts there
        there = [name for name in parts if (checkpoint / name).is_dir()]
        missing = [name for name in there if not _is_whole_part(folder / name)]
        for name in there:
            if name not in missing:
                kept.check_copy(checkpoint, folder, name)
        for name in missing:
            with atomic_folder(folder / name) as part:
                copytree(checkpoint / name, part, dirs_exist_ok=True)
    return layout.VQVAE_FOLDER in missing


def is_whole(file: Path) -> bool:
    """Is this file of JSON or of digests there, neither empty nor broken off?"""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix != ".json":
            return re.search("^[0-9a-f]{64}  .", text, re.MULTILINE) is not None
        json.loads(text)
        return True
    except (OSError, ValueError, RecursionError):
        return False


def _is_whole_part(part: Path) -> bool:
    """Are the JSON files of this folder whole? The last file of a part that is written is one."""
    files = list(part.glob("*.json"))
    return bool(files) and all(map(is_whole, files))
