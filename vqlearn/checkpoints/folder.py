"""One folder, one checkpoint: read and write every part in the layout of the released models.

    model_index.json
    vqvae/  transformer/  learned_classifier_free_sampling_embeddings/   config.json, weights
    scheduler/  text_encoder/  tokenizer/
    SHA256SUMS  clip/                                                       may be missing

The same functions serve the shipped, the saved and the downloaded checkpoints. Nothing in a
folder is ever imported or executed: the JSON files are data, the weights are safetensors.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from vqlearn.checkpoints import configs
from vqlearn.checkpoints.digests import DigestError, check_digests, write_digests
from vqlearn.checkpoints.renames import (
    DENOISER_RENAMES,
    VQVAE_RENAMES,
    Table,
    rename_from_diffusers,
    rename_to_diffusers,
)
from vqlearn.diffusion.schedule import ScheduleConfig
from vqlearn.tokens.vqvae import VQVAE
from vqlearn.transformer.denoiser import Denoiser
from vqlearn.transformer.text import NullText, TextEncoder

VQVAE_FOLDER = "vqvae"
DENOISER_FOLDER = "transformer"
NULL_TEXT_FOLDER = "learned_classifier_free_sampling_embeddings"
SCHEDULE_FOLDER = "scheduler"
TEXT_FOLDER = "text_encoder"
TOKENIZER_FOLDER = "tokenizer"
CLIP_FOLDER = "clip"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model_index.json"
INDEX = {
    "_class_name": "VQDiffusionPipeline",
    VQVAE_FOLDER: ["diffusers", "VQModel"],
    DENOISER_FOLDER: ["diffusers", "Transformer2DModel"],
    SCHEDULE_FOLDER: ["diffusers", "VQDiffusionScheduler"],
    TEXT_FOLDER: ["transformers", "CLIPTextModel"],
    TOKENIZER_FOLDER: ["transformers", "CLIPTokenizer"],
    NULL_TEXT_FOLDER: ["diffusers", "LearnedClassifierFreeSamplingEmbeddings"],
}


PARTS = (INDEX_FILE, CLIP_FOLDER, *(name for name in INDEX if not name.startswith("_")))


class CheckpointError(ValueError):
    """The files of a checkpoint cannot be used. Says which file, what was seen, what is allowed."""


def check(folder: Path) -> None:
    """Is this folder a whole and unchanged VQ-Diffusion checkpoint? `CheckpointError` if not."""
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {str(folder)!r}")
    found = _read_json(folder / INDEX_FILE).get("_class_name")
    if found != INDEX["_class_name"]:
        raise CheckpointError(
            f"{folder / INDEX_FILE} describes a {found!r}; allowed: {INDEX['_class_name']!r}"
        )
    try:
        check_digests(folder, PARTS)
    except DigestError as error:
        raise CheckpointError(str(error)) from error


def finish(folder: Path) -> None:
    """Write the file that names the parts of the checkpoint, then the digests of all its files."""
    _write_json(folder / INDEX_FILE, INDEX)
    write_digests(folder, PARTS)


def load_vqvae(folder: Path) -> VQVAE:
    """The VQ network, in the dtype of its file. Raises `CheckpointError` as all loaders here do."""
    return _load(folder / VQVAE_FOLDER, configs.read_vqvae_config, VQVAE, VQVAE_RENAMES)


def save_vqvae(vqvae: VQVAE, folder: Path) -> None:
    """Write `vqvae/` as diffusers' `VQModel` reads it."""
    values = configs.write_vqvae_config(vqvae.config)
    _save(vqvae, folder / VQVAE_FOLDER, values, VQVAE_RENAMES)


def load_denoiser(folder: Path) -> Denoiser:
    """The denoiser, in the dtype of its file."""
    return _load(folder / DENOISER_FOLDER, configs.read_denoiser_config, Denoiser, DENOISER_RENAMES)


def save_denoiser(denoiser: Denoiser, folder: Path) -> None:
    """Write `transformer/` as diffusers' `Transformer2DModel` reads it."""
    values = configs.write_denoiser_config(denoiser.config)
    _save(denoiser, folder / DENOISER_FOLDER, values, DENOISER_RENAMES)


def load_null_text(folder: Path) -> NullText:
    """The states of "no sentence", in the dtype of their file."""
    return _load(folder / NULL_TEXT_FOLDER, configs.read_null_text_config, NullText, None)


def save_null_text(null_text: NullText, folder: Path) -> None:
    """Write the folder of diffusers' `LearnedClassifierFreeSamplingEmbeddings`."""
    values = configs.write_null_text_config(null_text.config)
    _save(null_text, folder / NULL_TEXT_FOLDER, values, None)


def load_schedule(folder: Path) -> ScheduleConfig:
    """The four numbers of the schedule, T and the number of classes."""
    file = folder / SCHEDULE_FOLDER / "scheduler_config.json"
    return _understand(file, configs.read_schedule_config)


def save_schedule(config: ScheduleConfig, folder: Path) -> None:
    """Write `scheduler/` as diffusers' `VQDiffusionScheduler` reads it."""
    file = folder / SCHEDULE_FOLDER / "scheduler_config.json"
    _write_json(file, configs.write_schedule_config(config))


def load_text_encoder(folder: Path) -> TextEncoder:
    """Tokenizer and CLIP text model, frozen, in the dtype of the file."""
    _read_json(folder / TEXT_FOLDER / "config.json")
    names = {path.name for path in (folder / TOKENIZER_FOLDER).glob("*")}
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise CheckpointError(
            f"{folder / TOKENIZER_FOLDER} holds {sorted(names)}; "
            "allowed: tokenizer.json, or vocab.json and merges.txt"
        )
    dtype = _dtype_of(_read_weights(folder / TEXT_FOLDER / TEXT_WEIGHTS_FILE))
    try:
        with _quietly():
            tokenizer = CLIPTokenizer.from_pretrained(folder / TOKENIZER_FOLDER)
            model, report = CLIPTextModel.from_pretrained(
                folder / TEXT_FOLDER, dtype=dtype, output_loading_info=True
            )
    except Exception as error:  # transformers raises a dozen kinds for what a file can hold
        raise CheckpointError(
            f"{folder / TEXT_FOLDER} or {TOKENIZER_FOLDER}/ cannot be used: {error}"
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise CheckpointError(f"{folder / TEXT_FOLDER} lacks {len(missing)} weights {missing[:3]}")
    return TextEncoder(tokenizer, model).freeze()


def save_text_encoder(encoder: TextEncoder, folder: Path) -> None:
    """Write `text_encoder/` and `tokenizer/` as transformers reads them."""
    with _quietly():
        encoder.model.save_pretrained(folder / TEXT_FOLDER)
    encoder.tokenizer.save_pretrained(folder / TOKENIZER_FOLDER)


def load_clip(folder: Path) -> CLIPModel | None:
    """The whole CLIP whose text half is the text encoder; None if the checkpoint has none."""
    if not (folder / CLIP_FOLDER).is_dir():
        return None
    try:
        with _quietly():
            return CLIPModel.from_pretrained(folder / CLIP_FOLDER).eval()
    except Exception as error:  # as in load_text_encoder
        raise CheckpointError(f"{folder / CLIP_FOLDER} cannot be used: {error}") from error


def save_clip(clip: CLIPModel, folder: Path) -> None:
    """Write `clip/` as transformers reads it. Only scores are computed with it."""
    with _quietly():
        clip.save_pretrained(folder / CLIP_FOLDER)


def _load(folder: Path, read: Callable, kind: Callable, table: Table | None) -> nn.Module:
    config = _understand(folder / "config.json", read)
    weights = _read_weights(folder / WEIGHTS_FILE)
    with torch.device("meta"):
        module = kind(config)
    expected = module.state_dict()
    if table is not None:
        expected = rename_to_diffusers(expected, table)
    _check_weights(folder / WEIGHTS_FILE, weights, expected)
    if table is not None:
        weights = rename_from_diffusers(weights, table)
    module.load_state_dict(weights, assign=True)
    return module.eval()


def _save(module: nn.Module, folder: Path, values: dict[str, Any], table: Table | None) -> None:
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    if table is not None:
        state = rename_to_diffusers(state, table)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    _write_json(folder / "config.json", values)  # last: with it, the part is whole


def _check_weights(file: Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        raise CheckpointError(
            f"{file} does not fit its config.json: {len(missing)} weights are missing "
            f"{missing[:3]}, {len(extra)} are unknown {extra[:3]}"
        )
    for name, value in expected.items():
        if not found[name].is_floating_point():
            raise CheckpointError(f"{file}: {name} is {found[name].dtype}; allowed: a float type")
        if found[name].shape != value.shape:
            raise CheckpointError(
                f"{file}: {name} has the shape {tuple(found[name].shape)}; "
                f"its config.json asks for {tuple(value.shape)}"
            )


def _understand(file: Path, read: Callable[[dict[str, Any]], Any]) -> Any:
    values = _read_json(file)
    try:
        return read(values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be used: {error}") from error


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise CheckpointError(f"there is no file {str(file)!r}")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{file} is damaged, it is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file} holds a {type(values).__name__}; allowed: an object")
    return values


def _write_json(file: Path, values: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _read_weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise CheckpointError(f"there is no file {str(file)!r}")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def _dtype_of(weights: dict[str, Tensor]) -> torch.dtype:
    return next(w.dtype for w in weights.values() if w.is_floating_point())


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
