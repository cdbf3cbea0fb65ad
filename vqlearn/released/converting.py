"""A training checkpoint as a folder for `from_pretrained`; diffusers reads the parts that it knows.

convert("coco_learnable.pth", "coco", used_codes="taming_vqvae_2887.pt")
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqlearn.checkpoints import configs
from vqlearn.checkpoints.class_names import save_class_names
from vqlearn.checkpoints.folder import SCHEDULE_FILE, whole_checkpoint, whole_parts
from vqlearn.checkpoints.layout import (
    CLASS_FOLDER,
    CONFIG_FILE,
    PARTS,
    TOKENIZER_FOLDER,
    CheckpointError,
)
from vqlearn.checkpoints.tokenizer_files import save_tokenizer
from vqlearn.checkpoints.weights import Stored
from vqlearn.probability.checks import shown
from vqlearn.released.conversion.card import is_model_card, model_card
from vqlearn.released.conversion.plan import Asked, Plan, plan_of
from vqlearn.released.conversion.sources import Part
from vqlearn.released.conversion.streaming import write_streamed
from vqlearn.released.training_file import read_training_file
from vqlearn.storage import as_path, as_paths, check_room, write_json, write_text

CARD_FILE = "README.md"
IMAGENET_CLASSES = Path(__file__).with_name("imagenet_classes.txt")
"""What the classes of the official models are called; the `.md` beside it says where that is from.
"""
WRITTEN = torch.float32
"""What all weights are written in: CLIP has half precision in a training file, a null double."""


def convert(
    files: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    used_codes: str | Path | None = None,
    tokenizer: str | Path | None = None,
    unused: Sequence[str] = (),
) -> None:
    """Write the folder of an official checkpoint: of one file, or of all its parts in order.

    What the file is, its weights tell: a model with its tokenizer, or a tokenizer alone. The moving
    average of a weight is taken where there is one. An older checkpoint in `out` is replaced once
    all of the new one is written; before that nothing is. Memory: the weights that are written.

    - `used_codes`: the statistics file that says which codes of the tokenizer the model knows.
    - `tokenizer`: CLIP's, for text: a folder, or `bpe_simple_vocab_16e6.txt.gz`; without it, what
      is installed or in the hub's cache.
    - `unused`: unknown weights to drop, by their names or patterns such as "loss.*", if you know
      that they are of no use. Without it every unknown weight is an error.

    Raises `CheckpointError` that names the file and the weight, or what is missing and where it
    comes from; `OSError` if it cannot be written; `TypeError` or `ValueError` that names an
    argument which is no path, or is no list of names.
    """
    parts, out = as_paths("files", files), as_path("out", out)
    asked = Asked(
        None if used_codes is None else as_path("used_codes", used_codes),
        None if tokenizer is None else as_path("tokenizer", tokenizer),
        _names("unused", unused),
    )
    _check_apart([*parts, asked.used_codes, asked.tokenizer], out)
    if (out / CARD_FILE).exists() and not is_model_card(out / CARD_FILE):
        raise CheckpointError(
            f"{out} holds a {CARD_FILE} that is none of ours; allowed: a folder without one"
        )
    file = read_training_file(parts)
    first, last = parts[0].name, parts[-1].name
    label = first if first == last else f"{first} .. {last}"
    plan = plan_of(label, file, asked)
    is_model = plan.schedule is not None
    whole = whole_checkpoint(out, plan.sampling) if is_model else whole_parts(out)
    with whole as begun:
        _write(begun, plan, file.weights(), label)


def _check_apart(inputs: Sequence[Path | None], out: Path) -> None:
    """Raise `CheckpointError` for what is to be read from a part that is replaced."""
    replaced = [(out / name).resolve() for name in PARTS]
    for path in filter(None, inputs):
        if any(path.resolve().is_relative_to(part) for part in replaced):
            raise CheckpointError(
                f"{path} lies in {out}, whose parts are replaced; allowed: a file elsewhere"
            )


def _names(name: str, value: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{name} is {shown(value)}; allowed: a list of names")
    return tuple(value)


def _write(folder: Path, plan: Plan, weights: Mapping[str, Tensor], label: str) -> None:
    """All parts, the names of classes, and the model card."""
    stored = [each for part in plan.parts for each in _stored(part).values()]
    needed = sum(math.prod(shape) * dtype.itemsize for shape, dtype in stored)
    check_room(folder, needed, "written")
    for part in plan.parts:
        _write_part(folder / part.folder, part, weights, label)
    if plan.schedule is not None:
        write_json(folder / SCHEDULE_FILE, configs.SCHEDULE_FILE.write(plan.schedule))
    if plan.tokenizer is not None:
        save_tokenizer(plan.tokenizer, folder / TOKENIZER_FOLDER)
    if CLASS_FOLDER in [part.folder for part in plan.parts]:
        save_class_names(IMAGENET_CLASSES.read_text(encoding="utf-8").splitlines(), folder)
    write_text(folder / CARD_FILE, model_card(label, plan))


def _stored(part: Part) -> dict[str, Stored]:
    """Shape and type of each weight in the file of a part."""
    constants = {name: Stored(tuple(w.shape), w.dtype) for name, w in part.constants.items()}
    weights = {name: Stored(source.ours, WRITTEN) for name, source in part.weights.items()}
    return constants | weights


def _write_part(folder: Path, part: Part, weights: Mapping[str, Tensor], label: str) -> None:
    """The weights, one at a time, then the config file."""

    def read(name: str) -> Tensor:
        if name in part.constants:
            return part.constants[name]
        source = part.weights[name]
        value = source.change(weights[source.key]).to(WRITTEN)
        if not value.isfinite().all():
            raise CheckpointError(f"{label}: {shown(source.key)} holds NaN or infinity")
        return value

    folder.mkdir(parents=True)
    write_streamed(folder / f"{part.stem}.safetensors", _stored(part), read)
    write_json(folder / CONFIG_FILE, part.config)
