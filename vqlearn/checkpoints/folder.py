"""One folder, one checkpoint: read and write every part in the layout of the released models.

    model_index.json
    vqvae/  transformer/  learned_classifier_free_sampling_embeddings/   config.json, weights
    scheduler/  text_encoder/  tokenizer/
    SHA256SUMS  clip/                                                       may be missing

In place of transformer/ and scheduler/ there may be another token model, raster_transformer/ or
imagebart/, with the names of our own config and attributes in its files.

The same functions serve the shipped, the saved and the downloaded checkpoints. Nothing in a
folder is ever imported or executed: the JSON files are data, and so are weights (see `weights.py`).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from vqlearn.autoregressive import (
    ImageBART,
    ImageBARTConfig,
    RasterTransformer,
    RasterTransformerConfig,
)
from vqlearn.checkpoints import configs, layout
from vqlearn.checkpoints.digests import check_digests, write_digests
from vqlearn.checkpoints.layout import CheckpointError, model_folder, naming
from vqlearn.checkpoints.modules import (
    Kind,
    Wanted,
    load_module,
    read_json,
    save_module,
    understand,
    write_json,
)
from vqlearn.checkpoints.renames import DENOISER_RENAMES, VQVAE_RENAMES
from vqlearn.checkpoints.weights import WeightsFile, find_weights
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, build_schedule
from vqlearn.probability import TokenModel
from vqlearn.text import NullText, NullTextConfig, TextEncoder
from vqlearn.tokens import VQVAE
from vqlearn.transformer import Denoiser

RASTER_CONFIG = configs.ConfigFile(RasterTransformerConfig, {"_class_name": "RasterTransformer"})
IMAGEBART_CONFIG = configs.ConfigFile(ImageBARTConfig, {"_class_name": "ImageBART"})
KINDS = {
    layout.VQVAE_FOLDER: Kind(VQVAE, configs.VQVAE_FILE, VQVAE_RENAMES),
    layout.DENOISER_FOLDER: Kind(Denoiser, configs.DENOISER_FILE, DENOISER_RENAMES),
    layout.NULL_TEXT_FOLDER: Kind(NullText, configs.NULL_TEXT_FILE),
    layout.RASTER_FOLDER: Kind(RasterTransformer, RASTER_CONFIG),
    layout.IMAGEBART_FOLDER: Kind(ImageBART, IMAGEBART_CONFIG),
}
"""The networks of our own make, by the name of their folder."""

AS_STORED = Wanted()
SCHEDULE_FILE = f"{layout.SCHEDULE_FOLDER}/scheduler_config.json"

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
                f"{folder / layout.INDEX_FILE} describes {name} as a {seen!r}; "
                f"allowed: {', '.join(map(repr, allowed))}"
            )


def _class_of(found: object) -> object:
    """The class in an entry of an index, `[library, class]`."""
    return found[-1] if isinstance(found, list) and found else found


def finish(folder: Path) -> None:
    """Write the file that names the parts of the checkpoint, then the digests of all its files."""
    write_json(folder / layout.INDEX_FILE, layout.INDICES[model_folder(folder)])
    write_digests(folder, layout.PARTS)


def load_vqvae(folder: Path, wanted: Wanted = AS_STORED) -> VQVAE:
    """The VQ network, in the dtype of its file. Raises `CheckpointError` as all loaders here do."""
    return load_module(folder / layout.VQVAE_FOLDER, KINDS[layout.VQVAE_FOLDER], wanted)


def load_null_text(folder: Path, wanted: Wanted = AS_STORED) -> NullText:
    """The states of "no caption", in the dtype of their file."""
    if not (folder / layout.NULL_TEXT_FOLDER).is_dir():
        logger.warning(
            "%s has no %s; the empty caption stands for no caption", folder, layout.NULL_TEXT_FOLDER
        )
        return NullText(NullTextConfig(False))
    return load_module(folder / layout.NULL_TEXT_FOLDER, KINDS[layout.NULL_TEXT_FOLDER], wanted)


def load_token_model(folder: Path, wanted: Wanted = AS_STORED) -> TokenModel:
    """The token model, in the dtype of its file. Raises if the folder has none, or several."""
    name = model_folder(folder)
    network = load_module(folder / name, KINDS[name], wanted)
    if name != layout.DENOISER_FOLDER:
        return network
    file = folder / SCHEDULE_FILE
    with naming(file, ValueError):
        process = MaskAndReplace(build_schedule(understand(file, configs.SCHEDULE_FILE)))
    return DiffusionModel(process, network)


def save_network(network: nn.Module, folder: Path) -> None:
    """Write the folder of a network of one of the `KINDS`.

    diffusers reads the VQ network, the denoiser and the null embedding. Of a `DiffusionModel` the
    denoiser and the schedule are written. Raises `TypeError` for other networks and processes, and
    `ValueError` for a schedule that is no straight line.
    """
    if isinstance(network, DiffusionModel):
        if not isinstance(network.process, MaskAndReplace):
            seen = type(network.process).__name__
            raise TypeError(f"the process is a {seen}; allowed: a MaskAndReplace")
        schedule = configs.SCHEDULE_FILE.write(network.process.schedule.config)
        write_json(folder / SCHEDULE_FILE, schedule)
        network = network.network
    for name, kind in KINDS.items():
        if isinstance(network, kind.network):
            return save_module(network, folder / name, kind)
    allowed = ", ".join(kind.network.__name__ for kind in KINDS.values())
    raise TypeError(f"the network is a {type(network).__name__}; allowed: {allowed}")


def load_text_encoder(folder: Path, wanted: Wanted = AS_STORED) -> TextEncoder:
    """Tokenizer and CLIP text model, frozen."""
    text, words = folder / layout.TEXT_FOLDER, folder / layout.TOKENIZER_FOLDER
    read_json(text / "config.json")
    names = {path.name for path in words.glob("*")}
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise CheckpointError(
            f"{words} holds {sorted(names)}; allowed: tokenizer.json, or vocab.json and merges.txt"
        )
    file = find_weights(text, layout.TRANSFORMERS_STEMS, wanted.variant, wanted.use_safetensors)
    weights = WeightsFile(file)
    # transformers raises a dozen kinds of errors for what a file can hold
    with naming(f"{text} or {layout.TOKENIZER_FOLDER}/", Exception), _quietly():
        tokenizer = CLIPTokenizer.from_pretrained(words)
        model, report = CLIPTextModel.from_pretrained(
            text,
            dtype=wanted.dtype or weights.common_dtype(),
            variant=wanted.variant if f".{wanted.variant}." in weights.file.name else None,
            use_safetensors=weights.file.suffix == ".safetensors",
            output_loading_info=True,
        )
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(f"{text} lacks {len(missing)} weights {missing[:3]}")
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise CheckpointError(f"{weights.file}: {name} holds NaN or infinity")
    return TextEncoder(tokenizer, model).requires_grad_(False).eval()


def save_text_encoder(encoder: TextEncoder, folder: Path) -> None:
    """Write `text_encoder/` and `tokenizer/` as transformers reads them."""
    with _quietly():
        encoder.model.save_pretrained(folder / layout.TEXT_FOLDER)
    encoder.tokenizer.save_pretrained(folder / layout.TOKENIZER_FOLDER)


def load_clip(folder: Path) -> CLIPModel | None:
    """The whole CLIP whose text half is the text encoder; None if the checkpoint has none."""
    if not (folder / layout.CLIP_FOLDER).is_dir():
        return None
    with naming(folder / layout.CLIP_FOLDER, Exception), _quietly():
        return CLIPModel.from_pretrained(folder / layout.CLIP_FOLDER).eval()


def save_clip(clip: CLIPModel, folder: Path) -> None:
    """Write `clip/` as transformers reads it. Only scores are computed with it."""
    with _quietly():
        clip.save_pretrained(folder / layout.CLIP_FOLDER)


@contextmanager
def _quietly() -> Iterator[None]:
    """transformers draws progress bars for loading and saving; a small file needs none."""
    were_shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if were_shown:
            transformers_logging.enable_progress_bar()
