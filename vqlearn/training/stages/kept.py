"""What a stage finds in its folder: it is kept only if it is what was asked for.

Raises `ValueError` that names the differences and what to do.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote
from types import SimpleNamespace

from vqlearn.checkpoints.folder import KINDS, understand
from vqlearn.checkpoints.layout import (
    CONFIG_FILE,
    DENOISER_FOLDERS,
    IMAGEBART_FOLDER,
    RASTER_FOLDER,
    TEXT_FOLDER,
    VQVAE_FOLDER,
)
from vqlearn.checkpoints.reading import read_json
from vqlearn.probability.checks import shown
from vqlearn.training import record

OF_DATA = ("data", "image_size", "background", "hold_out")
"""The choices that all stages in one folder share."""
OF_TRANSFORMER = {"width": "width", "layers": "num_layers"}
OF_CONFIGS = {
    TEXT_FOLDER: {"text_length": "max_position_embeddings"},
    VQVAE_FOLDER: {"codes": "num_vq_embeddings", "downsample": "downsampling_factor"},
    **{name: {**OF_TRANSFORMER, "levels": "num_embeds_ada_norm"} for name in DENOISER_FOLDERS},
    RASTER_FOLDER: OF_TRANSFORMER,
    IMAGEBART_FOLDER: OF_TRANSFORMER,
}
"""The options for sizes, and where the config of a part has them."""


def sizes_of(part: Path) -> dict[str, int]:
    """The sizes of a part of a folder, under the names of their options; none if it is not there.

    Raises `CheckpointError` if its config is damaged.
    """
    file, names = part / CONFIG_FILE, OF_CONFIGS.get(part.name)
    if names is None or not file.is_file():
        return {}
    if part.name == TEXT_FOLDER:
        config = SimpleNamespace(**read_json(file))
    else:
        config = understand(file, KINDS[part.name].config)
    return {option: getattr(config, name, None) for option, name in names.items()}


def check_sizes(folder: Path, parts: Iterable[str], given: Mapping[str, object]) -> None:
    """Do these options for sizes agree with those of the parts that are in the folder already?"""
    for part in parts:
        for option, there in sizes_of(folder / part).items():
            if given.get(option) not in (None, there):
                raise ValueError(
                    f"{option} is {shown(given[option])}; allowed: {there}, as in {folder / part}; "
                    "choose another folder with --out"
                )


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
        if names := record.differing(before, chosen, OF_DATA):
            raise ValueError(
                f"{folder} holds {stage} of other data; "
                f"{record.difference(before, chosen, names)}; choose another folder with --out, "
                f"and to build on these tokens and text, --start-from {folder}"
            )


def check_copy(checkpoint: Path, folder: Path, part: str) -> None:
    """Is this part of a folder that of the checkpoint that it is to be taken from?"""
    if record.digest_of(folder, [part]) != record.digest_of(checkpoint, [part]):
        raise ValueError(
            f"{part} of {checkpoint} is asked for, but {folder / part} is another one; "
            "choose another folder with --out"
        )


def _way_on(stage: str, folder: Path, names: list[str]) -> str:
    if not set(names) <= {"steps", "lengthened"}:
        return "choose another folder with --out"
    on = "to learn on from the weights that are kept, --lengthen"
    if stage not in ("tokens", "text", "diffusion"):
        return f"choose another folder with --out; {on}"
    return (
        f"{on}; or train anew with another --out, or let the denoiser alone learn on there: "
        f"`vqlearn train diffusion --start-from {quote(str(folder))} --out NEW`"
    )
