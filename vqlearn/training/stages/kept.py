"""What a stage finds in its folder: it is kept only if it is what was asked for.

Raises `ValueError` that names the differences and what to do.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote

from vqlearn.training import record


def check_result(stage: str, folder: Path, parts: Iterable[str], chosen: record.Choices) -> str:
    """Was this finished stage trained with these choices? Returns what is to be said of it."""
    before = record.read(folder, stage, parts)
    if before is None:
        return f"{stage}: finished before, kept; its choices are unknown"
    if names := record.differing(before, chosen):
        raise ValueError(
            f"{folder} holds finished {stage}; {record.difference(before, chosen, names)}; "
            f"{_way_on(stage, folder, names)}"
        )
    return f"{stage}: finished before, kept"


def check_data(folder: Path, others: Mapping[str, Iterable[str]], chosen: record.Choices) -> None:
    """Were the other stages in this folder trained on the same images, in the same size?"""
    for stage, parts in others.items():
        before = record.read(folder, stage, parts) or chosen
        if names := record.differing(before, chosen, ("data", "image_size", "background")):
            raise ValueError(
                f"{folder} holds {stage} of other data; "
                f"{record.difference(before, chosen, names)}; choose another folder with --out, "
                f"and to build on these tokens and text, --start-from {folder}"
            )


def check_copy(checkpoint: Path, folder: Path, part: str) -> None:
    """Is this part of a folder that of the checkpoint to start from?"""
    if record.digest_of(folder, [part]) != record.digest_of(checkpoint, [part]):
        raise ValueError(
            f"start_from is {str(checkpoint)!r}, but {folder / part} is another one; "
            "choose another folder with --out"
        )


def _way_on(stage: str, folder: Path, names: list[str]) -> str:
    if names == ["steps"] and stage in ("tokens", "text", "diffusion"):
        return (
            "train anew with another --out, or let the denoiser alone learn on: `vqlearn train "
            f"diffusion --start-from {quote(str(folder))} --out NEW`"
        )
    return "choose another folder with --out"
