"""Every weight of a training file is converted or dropped, and it is said why: once each."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fnmatch import translate
from typing import NamedTuple

import torch

from vqlearn.checkpoints.layout import CheckpointError
from vqlearn.probability.checks import shown
from vqlearn.released.conversion.sources import Source
from vqlearn.released.training_file import EMA_PREFIX, MappedTensors, TrainingFile

AVERAGED = "the moving average is taken in its place"
RAW = "the average of a tokenizer, which the official code never reads"
TWIN = "the same in both halves of the tokenizer"
UNUSED = "unknown, and said to be of no use"
SUMS = {
    r"(.+\.)?quantize\.(cluster_size|embedding_avg)": "the sums whose quotient the codes are",
}
NETWORKS = (
    r"transformer\.transformer\."
    r"|transformer\.condition_emb\.transformer\."
    r"|content_codec\.(enc\.encoder|dec\.decoder)\."
    r"|(first_stage_model\.)?(encoder|decoder)\."
)
"""How names in networks begin. A weight more in one of them changes what it computes."""
DROPPED = {
    **SUMS,
    r"transformer\.log_(1_min_)?(cumprod_)?(at|bt|ct)": "the schedule is computed from its formula",
    r"transformer\.log_(1_min_)?(cumprod_)?alpha": "the schedule of an older code, never read",
    r"transformer\.Lt_(history|count)": "chooses levels in training",
    r"transformer\.transformer\.blocks\.\d+\.attn2\.mask": "attention to the text is never masked",
    r"transformer\.condition_emb\.text_projection": "of CLIP's images, not asked for",
}
"""Weights of a training checkpoint that no folder needs, and why; by their whole names."""
DROPPED_OF_TOKENIZERS = {
    **SUMS,
    r"(first_stage_model\.)?loss\..+": (
        "the loss of the tokenizer's training: a perceptual network, a discriminator"
    ),
    r"(first_stage_model\.)?colorize": "shows segmentation maps in training",
    r"transformer\.(pos_emb|tok_emb\.weight|head\.weight|ln_f\..+|blocks\.\d+\..+)": (
        "an autoregressive model of the tokens"
    ),
    r"cond_stage_model\..+": "makes the condition of that model",
    r"permuter\.(forward|backward)_shuffle_idx": "the order in which that model reads the tokens",
}
"""The same for the file of a tokenizer alone: all that the official classes may hold besides it."""


class Books(NamedTuple):
    """The weights of a file by their names behind "model." or "ema.".

    `converted`: how many weights of the folder come from each; `dropped`: why.
    """

    converted: dict[str, int]
    dropped: dict[str, str]


def balanced(
    label: str,
    file: TrainingFile,
    sources: Sequence[Source],
    dropped: Mapping[str, str],
    twins: Collection[str] = (),
    unused: Collection[str] = (),
) -> Books:
    """The books of a conversion; `twins` are dropped, too. No number is read.

    Of unknown weights those are dropped that a pattern in `unused` names, such as "loss.*", unless
    they lie within a network.

    Raises `CheckpointError` that names a weight which is missing, unknown, or no dense tensor of
    floats in the shape that the others ask for. It is so in the model and in its average: the raw
    weights are not used then, but a file of which half fits is not one of these models.
    """
    uses = Counter(source.key for source in sources)
    shapes = {source.key: source.shape for source in sources}
    converted, reasons = {}, {}
    dropped = {**dropped, **{re.escape(key): TWIN for key in twins}}
    dropped |= {_names_like(pattern): f"{UNUSED}: `{pattern}`" for pattern in unused}
    for section, prefix, weights in _sections(file):
        there = {prefix + name: name for name in weights}
        expected = {key for key in shapes if key.startswith(prefix)}
        why = {key: _reason(key, dropped) for key in there.keys() - expected}
        missing = expected - there.keys()
        unknown = [key for key, reason in why.items() if not reason]
        _check_complete(
            label,
            section,
            *(sorted(key.removeprefix(prefix) for key in keys) for keys in (missing, unknown)),
        )
        for key in sorted(expected):
            _check_stored(label, weights, there[key], shapes[key])
        is_averaged = section == "model" and file.ema is not None
        for key, name in there.items():
            if key not in expected:
                reasons[f"{section}.{name}"] = why[key]
            elif is_averaged and key.startswith(EMA_PREFIX):
                reasons[f"{section}.{name}"] = AVERAGED
            else:
                converted[f"{section}.{name}"] = uses[key]
    _check_unused(label, unused, [key for key, why in reasons.items() if why.startswith(UNUSED)])
    return Books(converted, reasons)


def check_twins(label: str, weights: MappedTensors, twins: Mapping[str, str]) -> None:
    """Raise `CheckpointError` if a dropped weight is not the same as the one that is converted."""
    for dropped, converted in twins.items():
        if dropped in weights and not torch.equal(weights[dropped], weights[converted]):
            raise CheckpointError(
                f"{label}: {shown(dropped)} is not the same as {shown(converted)}; "
                "allowed: one tokenizer"
            )


def _sections(file: TrainingFile) -> list[tuple[str, str, MappedTensors]]:
    """The model, and its average: what they are called, and what its names lack."""
    averaged = [] if file.ema is None else [("ema", EMA_PREFIX, file.ema)]
    return [("model", "", file.raw), *averaged]


def _check_complete(label: str, section: str, missing: list[str], unknown: list[str]) -> None:
    if missing or unknown:
        raise CheckpointError(
            f"{label}: of its {section} {len(missing)} weights are missing "
            f"{shown(missing[:1])}, {len(unknown)} are unknown {shown(unknown[:1])}; allowed: all "
            "weights of a model, and others outside its networks that --drop names"
        )


def _check_unused(label: str, unused: Collection[str], dropped: Collection[str]) -> None:
    """Raise `CheckpointError` for a pattern that has dropped nothing."""
    keys = [key.partition(".")[2] for key in dropped]  # behind "model." or "ema."
    for pattern in unused:
        if not any(re.fullmatch(_names_like(pattern), key) for key in keys):
            raise CheckpointError(
                f"{label}: --drop is {shown(pattern)}; "
                "allowed: an unknown weight outside the networks"
            )


def _names_like(pattern: str) -> str:
    """Names in the model and in the average that a pattern with * stands for, as an expression."""
    return rf"(?!{NETWORKS})({re.escape(EMA_PREFIX)})?{translate(pattern)}"


def _reason(key: str, dropped: Mapping[str, str]) -> str:
    return next((why for names, why in dropped.items() if re.fullmatch(names, key)), "")


def _check_stored(label: str, weights: MappedTensors, name: str, shape: tuple[int, ...]) -> None:
    stored = weights.stored(name)
    if not isinstance(stored.dtype, torch.dtype) or not stored.dtype.is_floating_point:
        raise CheckpointError(f"{label}: {shown(name)} is {stored.dtype}; allowed: a float type")
    if stored.shape != shape:
        raise CheckpointError(
            f"{label}: {shown(name)} has the shape {shown(stored.shape)}; the sizes of the other "
            f"weights ask for {shown(shape)}"
        )
