"""Official files, small, and what their conversion needs besides."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from official import files
from official.sizes import SMALL, ReleaseSizes, TextSizes

from vqlearn.checkpoints.weights import Stored

SEED = 0
WORDS = {3: "c", 5: "e", 8: "h", 2: "b"}
"""The words of `official.inputs.given`, by their numbers."""
PROMPTS = ["c e h", "b"]


def clip_words(sizes: TextSizes) -> dict[str, int]:
    """A vocabulary: "!" pads, letters are words, the last two are start and end."""
    letters = [f"{chr(ord('a') + i - 1)}</w>" for i in range(1, 27)]
    others = [chr(ord("a") + i) for i in range(26)]
    pieces = ["!", *letters, *others]
    pieces += [f"{number}" for number in range(sizes.vocabulary - 2 - len(pieces))]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return {piece: number for number, piece in enumerate(pieces)}


def write_clip_tokenizer(folder: Path, sizes: TextSizes) -> Path:
    """A tokenizer of transformers with one word for each letter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(clip_words(sizes)))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


@dataclass(frozen=True)
class OfficialFile:
    """A training checkpoint, its content, and the arguments of `convert` besides."""

    sizes: ReleaseSizes
    file: Path
    content: dict
    options: dict[str, Path]


def save_official(folder: Path, name: str, **changes) -> OfficialFile:
    """Write the small checkpoint `name`, with other sizes of its denoiser if asked for."""
    sizes = SMALL[name]
    sizes = replace(sizes, denoiser=replace(sizes.denoiser, **changes))
    folder.mkdir(parents=True, exist_ok=True)
    content = files.save_training(folder / f"{name}.pth", sizes, SEED)
    options = {}
    if sizes.codec.codes != sizes.denoiser.codes:
        files.save_remap(folder / "used.pt", sizes)
        options["used_codes"] = folder / "used.pt"
    if sizes.text is not None:
        options["tokenizer"] = write_clip_tokenizer(folder / "clip", sizes.text)
    return OfficialFile(sizes, folder / f"{name}.pth", content, options)


def write_training(path: Path, model: dict, ema: dict | None) -> Path:
    """A training file of which nothing but the weights is there."""
    torch.save({"last_epoch": 1, "model": model, "ema": ema}, path)
    return path


class Known(Mapping):
    """Tensors of which shapes and types may be asked, as of `MappedTensors`; they may be on meta.

    Those whose numbers a conversion would look at are left out.
    """

    looked_at = ("log_", "content_codec.dec.quantize.")

    def __init__(self, tensors):
        self.tensors = {
            name: tensor
            for name, tensor in tensors.items()
            if not name.removeprefix("transformer.").startswith(self.looked_at)
        }

    def __iter__(self):
        return iter(self.tensors)

    def __len__(self):
        return len(self.tensors)

    def __getitem__(self, name):
        return self.tensors[name]

    def stored(self, name):
        return Stored(tuple(self.tensors[name].shape), self.tensors[name].dtype)

    def with_others(self, others, prefix):
        return Known(self.tensors | {prefix + name: w for name, w in others.tensors.items()})
