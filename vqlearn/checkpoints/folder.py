"""One folder, one checkpoint: read and write every part in the layout of the released models.

    model_index.json
    vqvae/  transformer/  learned_classifier_free_sampling_embeddings/   config.json, weights
    scheduler/  text_encoder/  tokenizer/
    SHA256SUMS  clip/                                                       may be missing

In place of transformer/ there may be another denoiser: class_transformer/ or
unconditional_transformer/, in a checkpoint without text, or convolutional_transformer/. In place of
transformer/ and scheduler/ there may be another token model, raster_transformer/ or imagebart/,
with the names of our own config and attributes in its files.

The same functions serve the shipped, the saved and the downloaded checkpoints. Nothing in a
folder is ever imported or executed: the JSON files are data, and so are weights (see `weights.py`).
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torch import nn

from vqlearn.autoregressive import (
    ImageBART,
    ImageBARTConfig,
    RasterTransformer,
    RasterTransformerConfig,
)
from vqlearn.checkpoints import configs, layout
from vqlearn.checkpoints.digests import (
    SUMS_FILE,
    check_digests,
    files_read,
    forget_digests,
    write_digests,
)
from vqlearn.checkpoints.layout import CheckpointError, model_folder, naming
from vqlearn.checkpoints.modules import (
    AS_STORED,
    Kind,
    Wanted,
    load_module,
    save_module,
    understand,
    unlink_read,
)
from vqlearn.checkpoints.reading import read_json
from vqlearn.checkpoints.renames import DENOISER_RENAMES, VQVAE_RENAMES
from vqlearn.checkpoints.text_parts import load_clip as load_clip
from vqlearn.checkpoints.text_parts import load_text_encoder as load_text_encoder
from vqlearn.checkpoints.text_parts import save_clip as save_clip
from vqlearn.checkpoints.text_parts import save_text_encoder as save_text_encoder
from vqlearn.checkpoints.writing import BEGUN, replaced
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, build_schedule
from vqlearn.probability import Sampling, TokenModel
from vqlearn.probability.checks import check_integer, check_kind, shown
from vqlearn.storage import write_json
from vqlearn.text import NullText, NullTextConfig
from vqlearn.tokens import VQVAE
from vqlearn.tokens.full_codes import check_used_codes
from vqlearn.transformer import (
    ClassDenoiser,
    ConvolutionalTextDenoiser,
    Denoiser,
    UnconditionalDenoiser,
)

RASTER_CONFIG = configs.ConfigFile(RasterTransformerConfig, {"_class_name": "RasterTransformer"})
IMAGEBART_CONFIG = configs.ConfigFile(ImageBARTConfig, {"_class_name": "ImageBART"})
KINDS = {
    layout.VQVAE_FOLDER: Kind(
        VQVAE,
        configs.VQVAE_FILE,
        lambda config: len(config.block_out_channels) * config.layers_per_block,
        VQVAE_RENAMES,
    ),
    layout.DENOISER_FOLDER: Kind(
        Denoiser, configs.DENOISER_FILE, lambda config: config.num_layers, DENOISER_RENAMES
    ),
    layout.CONVOLUTIONAL_TEXT_FOLDER: Kind(
        ConvolutionalTextDenoiser,
        configs.CONVOLUTIONAL_TEXT_FILE,
        lambda config: config.num_layers,
        DENOISER_RENAMES,
    ),
    layout.CLASS_FOLDER: Kind(
        ClassDenoiser, configs.CLASS_FILE, lambda config: config.num_layers, DENOISER_RENAMES
    ),
    layout.UNCONDITIONAL_FOLDER: Kind(
        UnconditionalDenoiser,
        configs.UNCONDITIONAL_FILE,
        lambda config: config.num_layers,
        DENOISER_RENAMES,
    ),
    layout.NULL_TEXT_FOLDER: Kind(NullText, configs.NULL_TEXT_FILE, lambda config: 1),
    layout.RASTER_FOLDER: Kind(RasterTransformer, RASTER_CONFIG, lambda config: config.num_layers),
    layout.IMAGEBART_FOLDER: Kind(ImageBART, IMAGEBART_CONFIG, lambda config: config.num_layers),
}
"""The networks of our own make, by the name of their folder."""

SCHEDULE_FILE = f"{layout.SCHEDULE_FOLDER}/scheduler_config.json"

RECOMMENDED_SETTINGS = ("guidance_scale", "truncation_rate")

logger = logging.getLogger("vqlearn")


def check(folder: Path) -> None:
    """Is this folder a whole and unchanged checkpoint? `CheckpointError` if not.

    The index says of which kind it is (VQ-Diffusion, if it says nothing) and the class of every
    part. Classes are compared, never imported; any library may be named.
    """
    index = read_json(folder / layout.INDEX_FILE)
    check_digests(folder, layout.PARTS)
    claimed = next((name for name in layout.INDICES if name in index), layout.DENOISER_FOLDER)
    for name, expected in layout.INDICES[claimed].items():
        allowed = (_class_of(expected), *layout.OTHER_CLASSES.get(name, ()))
        seen = _class_of(index.get(name))
        if seen not in allowed:
            raise CheckpointError(
                f"{folder / layout.INDEX_FILE} describes {name} as a {shown(seen)}; "
                f"allowed: {', '.join(map(repr, allowed))}"
            )


def _class_of(found: object) -> object:
    """The class in an entry of an index, `[library, class]`."""
    return found[-1] if isinstance(found, list) and found else found


def finish(folder: Path, recommended: Sampling | None = None) -> None:
    """Write the file that names the parts of the checkpoint, then the digests of all its files.

    That file also says which settings are recommended for the model, if any are.
    """
    _write_index(folder, recommended)
    write_digests(folder, layout.PARTS)


def _write_index(folder: Path, recommended: Sampling | None) -> None:
    index = layout.INDICES[model_folder(folder)]
    if recommended is not None:
        settings = {name: getattr(recommended, name) for name in RECOMMENDED_SETTINGS}
        index = {**index, layout.RECOMMENDED: settings}
    write_json(folder / layout.INDEX_FILE, index)


def recommended_sampling(folder: Path) -> Sampling | None:
    """The settings that are recommended for the model of a folder; None: it names none.

    Raises `CheckpointError` for settings that mean nothing.
    """
    index = folder / layout.INDEX_FILE
    settings = read_json(index).get(layout.RECOMMENDED)
    if settings is None:
        return None
    with naming(f"{layout.RECOMMENDED} of {index}", TypeError, ValueError):
        check_kind("it", settings, dict)
        found = Sampling(**{name: settings.get(name, 1.0) for name in RECOMMENDED_SETTINGS})
        if found.is_guided and model_folder(folder) == layout.UNCONDITIONAL_FOLDER:
            raise ValueError(
                f"guidance_scale is {found.guidance_scale}; allowed: 1, there is no condition"
            )
    return found


@contextmanager
def whole_checkpoint(folder: Path, recommended: Sampling | None = None) -> Iterator[Path]:
    """`whole_parts` of a model: with its index. `recommended` is as for `finish`."""
    with whole_parts(folder) as begun:
        yield begun
        _write_index(begun, recommended)


@contextmanager
def whole_parts(folder: Path) -> Iterator[Path]:
    """A folder to write parts to; at the end they take the place of all parts in `folder`.

    Older parts go, other files stay. If that is stopped in the middle, what is there is all of the
    older parts, or neither `model_index.json` nor `SHA256SUMS`, or all of the new ones. Raises
    `CheckpointError` if `folder` holds files with the names of parts, and is no checkpoint.
    """
    _check_ours(folder)
    with replaced(folder, _forget_parts, (layout.INDEX_FILE, SUMS_FILE)) as begun:
        yield begun
        write_digests(begun, layout.PARTS)


def _check_ours(folder: Path) -> None:
    """Parts may be replaced in a checkpoint, and where replacing them was stopped; links always."""
    signs = (layout.INDEX_FILE, SUMS_FILE, BEGUN)
    own = [name for name in layout.PARTS if not (folder / name).is_symlink()]
    files = files_read(folder, own)
    if files and not any((folder / name).exists() for name in signs):
        raise CheckpointError(
            f"{folder} holds {shown(files[0])}, and neither {layout.INDEX_FILE} nor {SUMS_FILE}; "
            "allowed: a new folder, or a checkpoint, which is replaced"
        )


def _forget_parts(folder: Path) -> None:
    """Delete all parts. Of a part that is a link only the link: the files behind it are not ours.

    A folder that is empty then goes too: it would count as a part.
    """
    for name in layout.PARTS:
        part = folder / name
        if part.is_symlink() or (part.is_file() and layout.is_read(name)):
            part.unlink()
        elif part.is_dir():
            unlink_read(part)
            shutil.rmtree(part / BEGUN, ignore_errors=True)  # of a save that was killed
            with suppress(OSError):  # what is not empty stays
                part.rmdir()


def load_vqvae(folder: Path, wanted: Wanted = AS_STORED) -> VQVAE:
    """The VQ network, in the dtype of its file. Raises `CheckpointError` as all loaders here do."""
    part = folder / layout.VQVAE_FOLDER
    vqvae = load_module(part, KINDS[layout.VQVAE_FOLDER], wanted)
    if vqvae.full_codes is not None:
        with naming(part, ValueError):
            check_used_codes(vqvae.full_codes.used_codes, vqvae.config.num_full_codes)
    return vqvae


def load_null_text(folder: Path, wanted: Wanted = AS_STORED) -> NullText:
    """The states of "no caption", in the dtype of their file.

    A checkpoint whose index does not name them has none, and a warning says so.
    """
    if not (folder / layout.NULL_TEXT_FOLDER).is_dir():
        if read_json(folder / layout.INDEX_FILE).get(layout.NULL_TEXT_FOLDER) is not None:
            raise CheckpointError(
                f"there is no folder {str(folder / layout.NULL_TEXT_FOLDER)!r}, "
                f"but {layout.INDEX_FILE} names it; take the one of another revision"
            )
        logger.warning(
            "%s has no %s; the empty caption stands for no caption", folder, layout.NULL_TEXT_FOLDER
        )
        return NullText(NullTextConfig(False))
    return load_module(folder / layout.NULL_TEXT_FOLDER, KINDS[layout.NULL_TEXT_FOLDER], wanted)


def load_token_model(folder: Path, wanted: Wanted = AS_STORED) -> TokenModel:
    """The token model, in the dtype of its file. Raises if the folder has none, or several."""
    name = model_folder(folder)
    network = load_module(folder / name, KINDS[name], wanted)
    if layout.SCHEDULE_FOLDER not in layout.INDICES[name]:
        return network
    file = folder / SCHEDULE_FILE
    schedule, levels = understand(file, configs.SCHEDULE_FILE), network.config.num_embeds_ada_norm
    with naming(file, ValueError):
        least = schedule.num_train_timesteps  # compared first: a schedule may have any length
        check_integer("num_embeds_ada_norm of the denoiser", levels, least)
        process = MaskAndReplace(build_schedule(schedule))
    return DiffusionModel(process, network)


def save_network(network: nn.Module, folder: Path) -> None:
    """Write the folder of a network of one of the `KINDS`; older digests no longer hold and go.

    diffusers reads the VQ network, `Denoiser` and the null embedding. Of a `DiffusionModel` the
    denoiser and the schedule are written. Raises `TypeError` for other networks and processes, and
    `ValueError` for a schedule that is no straight line.
    """
    schedule = None
    if isinstance(network, DiffusionModel):
        if not isinstance(network.process, MaskAndReplace):
            seen = type(network.process).__name__
            raise TypeError(f"the process is a {seen}; allowed: a MaskAndReplace")
        schedule = configs.SCHEDULE_FILE.write(network.process.schedule.config)
        network = network.network
    name = next((name for name, kind in KINDS.items() if type(network) is kind.network), None)
    if name is None:
        allowed = ", ".join(kind.network.__name__ for kind in KINDS.values())
        raise TypeError(f"the network is a {type(network).__name__}; allowed: {allowed}")
    forget_digests(folder)
    if schedule is not None:
        write_json(folder / SCHEDULE_FILE, schedule)
    save_module(network, folder / name, KINDS[name])
