"""What a training file is, by the names of its weights alone, and what its folder will hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from transformers import CLIPTokenizer

from vqlearn.checkpoints.layout import (
    CLASS_FOLDER,
    CONVOLUTIONAL_TEXT_FOLDER,
    DENOISER_FOLDER,
    UNCONDITIONAL_FOLDER,
    CheckpointError,
    naming,
)
from vqlearn.diffusion.schedule import ScheduleConfig
from vqlearn.probability import Sampling
from vqlearn.released.catalogue import GUIDED, GUIDED_CLASS, GUIDED_ITHQ, UNGUIDED
from vqlearn.released.conversion import books, codec, denoisers, text
from vqlearn.released.conversion.schedule import schedule_of
from vqlearn.released.conversion.sources import Found, Part
from vqlearn.released.conversion.tokenizer import clip_tokenizer
from vqlearn.released.conversion.used_codes import used_codes_of
from vqlearn.released.training_file import TrainingFile

KINDS = {
    DENOISER_FOLDER: "text-to-image model",
    CONVOLUTIONAL_TEXT_FOLDER: "text-to-image model",
    CLASS_FOLDER: "class-conditional model",
    UNCONDITIONAL_FOLDER: "model without a condition",
}
"""What a model is, in words, by the folder of its denoiser."""


class Asked(NamedTuple):
    """What a conversion may need besides the training file: see `released.convert`."""

    used_codes: Path | None = None
    tokenizer: Path | None = None
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A folder before it is written.

    - `kind`: what the file is, in words.
    - `parts`: those with weights.
    - `books`: where each weight of the file goes.
    - `schedule`, `sampling`: None of a tokenizer alone. `sampling` is recommended.
    - `tokenizer`: CLIP's, of a model with text.
    """

    kind: str
    parts: tuple[Part, ...]
    books: books.Books
    schedule: ScheduleConfig | None = None
    tokenizer: CLIPTokenizer | None = None
    sampling: Sampling | None = None


def plan_of(label: str, file: TrainingFile, asked: Asked) -> Plan:
    """Recognise a file, and check that it is whole. Few of its numbers are read.

    Raises `CheckpointError` that names `label`, which stands for the file, and what is wrong.
    """
    whole = Found(label, file, str)
    with naming(label, ValueError):  # sizes that no network can have
        if whole.has("transformer.transformer"):
            return _model_plan(label, file, asked)
        if whole.has(codec.FACES.removesuffix(".")):
            return _tokenizer_plan(label, file, asked, codec.FACES.__add__)
        if whole.has("encoder"):
            return _tokenizer_plan(label, file, asked, str)
    raise CheckpointError(
        f"{label} is no model of VQ-Diffusion and no tokenizer of one: it has no weights "
        "'transformer.transformer...', 'first_stage_model...' or 'encoder...'"
    )


def _model_plan(label: str, file: TrainingFile, asked: Asked) -> Plan:
    """Of a training checkpoint, whatever its denoiser is told."""
    found = Found(label, file, denoisers.PREFIX.__add__)
    is_text = denoisers.folder_of(found) in denoisers.TEXT_FOLDERS
    if asked.tokenizer is not None and not is_text:
        raise CheckpointError(f"the tokenizer is {asked.tokenizer}; allowed: none, it has no text")
    sizes = text.text_sizes(Found(label, file, text.CLIP.__add__)) if is_text else None
    if sizes is None:
        config = denoisers.config_without_text(found)
    else:
        config = denoisers.text_config(found, sizes.width)
    parts = [
        _tokens_part(label, file, asked, config.num_codes),
        denoisers.denoiser_part(found, config),
    ]
    if sizes is not None:
        parts += text.text_parts(label, file, sizes)
    balance = _balanced(label, file, parts, asked.unused)
    levels = config.num_embeds_ada_norm
    return Plan(
        kind=KINDS[denoisers.folder_of(found)],
        parts=tuple(parts),
        books=balance,
        schedule=schedule_of(label, file.raw, config.num_codes, levels),
        tokenizer=None if sizes is None else clip_tokenizer(asked.tokenizer, sizes),
        sampling=_recommended(label, file, found),
    )


def _recommended(label: str, file: TrainingFile, found: Found) -> Sampling:
    if denoisers.folder_of(found) == CLASS_FOLDER:
        return GUIDED_CLASS if denoisers.learns_null_class(found) else UNGUIDED
    if text.NULL not in file.weights():
        return UNGUIDED
    is_ithq = codec.is_average(Found(label, file, codec.in_training_file))
    return GUIDED_ITHQ if is_ithq else GUIDED


def _tokens_part(label: str, file: TrainingFile, asked: Asked, num_tokens: int) -> Part:
    """The tokenizer inside a training checkpoint, with the codes that its denoiser knows."""
    found = Found(label, file, codec.in_training_file)
    config = codec.codec_config(found, num_tokens)
    codes = config.num_full_codes or config.num_vq_embeddings
    used_codes = used_codes_of(label, asked.used_codes, num_tokens, codes)
    return codec.codec_part(found, config, used_codes)


def _balanced(
    label: str, file: TrainingFile, parts: Sequence[Part], unused: Sequence[str]
) -> books.Books:
    """The books of a training checkpoint, whose tokenizer has its quantizer twice."""
    sources = [source for part in parts for source in part.weights.values()]
    begin = f"{codec.ENCODING}quantize."
    twins = {
        key.replace(codec.ENCODING, codec.DECODING): key
        for key in (source.key for source in sources)
        if key.startswith(begin)
    }
    found = books.balanced(label, file, sources, books.DROPPED, twins, unused)
    books.check_twins(label, file.raw, twins)
    return found


def _tokenizer_plan(
    label: str, file: TrainingFile, asked: Asked, place: Callable[[str], str]
) -> Plan:
    if asked.used_codes is not None:
        raise CheckpointError(
            f"the used codes are {asked.used_codes}; allowed: none, {label} is a tokenizer alone"
        )
    averages, file = file.ema or (), replace(file, ema=None)
    found = Found(label, file, place)
    parts = (codec.codec_part(found, codec.codec_config(found, None), None),)
    sources = list(parts[0].weights.values())
    dropped = books.DROPPED_OF_TOKENIZERS
    balance = books.balanced(label, file, sources, dropped, unused=asked.unused)
    balance.dropped.update((f"ema.{name}", books.RAW) for name in averages)
    return Plan("tokenizer alone", parts, balance)
