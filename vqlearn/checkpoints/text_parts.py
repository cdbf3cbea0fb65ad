"""The parts that transformers defines: the text encoder, and the whole CLIP that it is a half of.

Their `config.json` is data as well: only the sizes below are taken from it, never a choice of code
(`auto_map`, `attn_implementation`, `quantization_config` and their like).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging

from vqlearn.checkpoints.configs import check_below_largest
from vqlearn.checkpoints.digests import forget_digests
from vqlearn.checkpoints.layout import (
    CLIP_FOLDER,
    CONFIG_FILE,
    TEXT_FOLDER,
    TOKENIZER_FOLDER,
    TRANSFORMERS_STEMS,
    naming,
)
from vqlearn.checkpoints.modules import AS_STORED, Wanted, part_replaced
from vqlearn.checkpoints.reading import read_json
from vqlearn.checkpoints.tokenizer_files import SHORTEST, load_tokenizer, save_tokenizer
from vqlearn.checkpoints.weights import WeightsFile, find_weights
from vqlearn.probability.checks import check_choice, check_integer, check_number, check_sizes
from vqlearn.text import TextEncoder

OURS = {"attn_implementation": "sdpa"}
"""The choice of implementation is never that of a file."""

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
TEXT_SIZES = (*SIZES, "vocab_size", "max_position_embeddings", "projection_dim")
VISION_SIZES = (*SIZES, "image_size", "patch_size", "num_channels", "projection_dim")
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
NUMBERS = ("layer_norm_eps", "attention_dropout", "initializer_range", "initializer_factor")
ACTIVATIONS = ("quick_gelu", "gelu")

IGNORED = ("text_projection.", "visual_projection.", "vision_model.", "logit_scale")
"""What a file has besides the text encoder if it is that of a whole CLIP."""

Values = dict[str, Any]


def load_text_encoder(folder: Path, wanted: Wanted = AS_STORED) -> TextEncoder:
    """Tokenizer and CLIP text model, frozen. Raises `CheckpointError`."""
    text = folder / TEXT_FOLDER
    with naming(text / CONFIG_FILE, Exception):  # transformers has kinds of errors of its own
        config = CLIPTextConfig(**_chosen(read_json(text / CONFIG_FILE), TEXT_SIZES), **OURS)
    tokenizer = load_tokenizer(folder / TOKENIZER_FOLDER, config.vocab_size)
    file = find_weights(text, TRANSFORMERS_STEMS, wanted.variant, wanted.use_safetensors)
    weights = WeightsFile(file, _without_text_model)
    weights.drop(IGNORED)
    weights.check_layers(config.num_hidden_layers)
    dtype = wanted.dtype or weights.common_dtype()
    encoder = TextEncoder(tokenizer, _filled(CLIPTextModel, config, weights, dtype))
    with naming(text / CONFIG_FILE, ValueError):
        check_integer("the length of a text", encoder.length, SHORTEST)
    return encoder.requires_grad_(False).eval()


def save_text_encoder(encoder: TextEncoder, folder: Path) -> None:
    """Write `text_encoder/`, then `tokenizer/`, as transformers reads them."""
    forget_digests(folder)
    _save(encoder.model, folder / TEXT_FOLDER)
    save_tokenizer(encoder.tokenizer, folder / TOKENIZER_FOLDER)


def load_clip(folder: Path) -> CLIPModel | None:
    """The whole CLIP whose text half is the text encoder; None if the checkpoint has none."""
    part = folder / CLIP_FOLDER
    if not part.is_dir():
        return None
    values = read_json(part / CONFIG_FILE)
    with naming(part / CONFIG_FILE, Exception):
        width = {"projection_dim": values["projection_dim"]}
        check_sizes(width)
        config = CLIPConfig(
            text_config=_chosen(values["text_config"], TEXT_SIZES),
            vision_config=_chosen(values["vision_config"], VISION_SIZES),
            **width,
            **OURS,
        )
    weights = WeightsFile(find_weights(part, TRANSFORMERS_STEMS, None), str)
    weights.drop(())
    layers = config.text_config.num_hidden_layers + config.vision_config.num_hidden_layers
    weights.check_layers(layers)
    return _filled(CLIPModel, config, weights, weights.common_dtype()).eval()


def save_clip(clip: CLIPModel, folder: Path) -> None:
    """Write `clip/` as transformers reads it. Only scores are computed with it."""
    forget_digests(folder)
    _save(clip, folder / CLIP_FOLDER)


def _chosen(values: Values, sizes: tuple[str, ...]) -> Values:
    """The entries of a config that say how a network computes, and nothing else.

    Raises `ValueError` or `TypeError` that names the key, the value seen and the values allowed.
    """
    found = {name: values[name] for name in sizes if values.get(name) is not None}
    check_sizes(found)
    check_below_largest(found)
    ids = {name: values[name] for name in IDS if values.get(name) is not None}
    numbers = {name: values[name] for name in NUMBERS if values.get(name) is not None}
    for name, value in ids.items():
        check_integer(name, value)
    for name, value in numbers.items():
        check_number(name, value)
    activation = values.get("hidden_act", ACTIVATIONS[0])
    check_choice("hidden_act", activation, ACTIVATIONS)
    return {**found, **ids, **numbers, "hidden_act": activation}


def _without_text_model(name: str) -> str:
    """Older files call the text encoder's weights by their names in a whole CLIP."""
    return name.removeprefix("text_model.")


def _filled(
    kind: Callable[[Any], PreTrainedModel],
    config: Any,
    weights: WeightsFile,
    dtype: torch.dtype,
) -> PreTrainedModel:
    """The network of this config with the weights of this file, built without memory first."""
    config.dtype = dtype
    with naming(weights.file, Exception), torch.device("meta"):
        network = kind(config)
    names = {weights.new_name(name): name for name in network.state_dict()}
    expected = {new: network.state_dict()[name] for new, name in names.items()}
    weights.check_fit(expected)
    state = {name: weights.read(new, dtype) for new, name in names.items()}
    network.load_state_dict(state, assign=True)
    for module in network.modules():
        if hasattr(module, "position_ids"):  # 0, 1, …: counted anew, not a weight
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    return network


def _save(network: PreTrainedModel, folder: Path) -> None:
    with part_replaced(folder) as begun, _quietly():
        network.save_pretrained(begun)


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
