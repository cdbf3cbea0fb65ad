"""The `config.json` of every part of a checkpoint: diffusers' keys on disk, our dataclasses here.

Reading is strict where it matters: a key that would change what the network computes must have
the one value that is built here, and the error says so. Keys that change nothing are ignored.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from types import NoneType
from typing import Any

from vqlearn.diffusion import ScheduleConfig
from vqlearn.text import NullTextConfig
from vqlearn.tokens import VQVAEConfig
from vqlearn.transformer import DenoiserConfig

Values = Mapping[str, Any]

VQVAE_FIXED = {
    "in_channels": (3,),
    "out_channels": (3,),
    "act_fn": ("silu", "swish"),
    "norm_type": ("group",),
    "mid_block_add_attention": (True,),
    "lookup_from_codebook": (False,),
}
VQVAE_DEFAULTS = {
    "layers_per_block": 1,
    "num_vq_embeddings": 256,
    "norm_num_groups": 32,
    "quantizer": "nearest",
}

DENOISER_FIXED = {
    "activation_fn": ("geglu-approximate",),
    "norm_type": ("ada_norm", "layer_norm", None),  # older files lack it or name the default
    "norm_elementwise_affine": (True,),
    "norm_eps": (1e-5,),
    "double_self_attention": (False,),
    "only_cross_attention": (False,),
    "attention_type": ("default",),
    "in_channels": (None,),
    "patch_size": (None,),
}
DENOISER_DEFAULTS = {
    "num_attention_heads": 16,
    "attention_head_dim": 88,
    "num_layers": 1,
    "attention_bias": False,
}


def read_vqvae_config(values: Values) -> VQVAEConfig:
    """The VQ network that a `vqvae/config.json` describes.

    Raises `ValueError` naming the key, the value seen and the values allowed.
    """
    _check_fixed(values, VQVAE_FIXED)
    channels = tuple(_required(values, "block_out_channels"))
    latent_channels = _required(values, "latent_channels")
    down, up = _required(values, "down_block_types"), _required(values, "up_block_types")
    for name, types in (("down_block_types", down), ("up_block_types", up)):
        if len(types) != len(channels):
            raise ValueError(f"{name} has {len(types)} entries; allowed: {len(channels)}")
    ours = {
        **VQVAE_DEFAULTS,
        **values,
        "block_out_channels": channels,
        "vq_embed_dim": values.get("vq_embed_dim") or latent_channels,
        "encoder_attention_resolutions": _attention_resolutions(down, ENCODER_BLOCKS),
        "decoder_attention_resolutions": _attention_resolutions(up[::-1], DECODER_BLOCKS),
    }
    return _read(VQVAEConfig, ours, {})


def write_vqvae_config(config: VQVAEConfig) -> dict[str, Any]:
    """The `vqvae/config.json` that diffusers' `VQModel` reads.

    A Gumbel quantizer has one key more, `quantizer`. diffusers has none such: it decodes the tokens
    of that folder as we do, but would choose others when it encodes.
    """
    values = asdict(config)
    if config.quantizer == "nearest":
        del values["quantizer"]
    down, up = (
        values.pop("encoder_attention_resolutions"),
        values.pop("decoder_attention_resolutions"),
    )
    indices = range(len(config.block_out_channels))
    return {
        "_class_name": "VQModel",
        **values,
        "down_block_types": [ENCODER_BLOCKS[index in down] for index in indices],
        "up_block_types": [DECODER_BLOCKS[index in up] for index in reversed(indices)],
    }


def read_denoiser_config(values: Values) -> DenoiserConfig:
    """The denoiser that a `transformer/config.json` describes. Raises as `read_vqvae_config`."""
    if "activation_fn" not in values:
        values = {**values, "activation_fn": "geglu"}  # what diffusers takes without the key
    _check_fixed(values, DENOISER_FIXED)
    return _read(DenoiserConfig, values, DENOISER_DEFAULTS)


def write_denoiser_config(config: DenoiserConfig) -> dict[str, Any]:
    """The `transformer/config.json` that diffusers' `Transformer2DModel` reads."""
    return {
        "_class_name": "Transformer2DModel",
        **asdict(config),
        "activation_fn": "geglu-approximate",
        "norm_type": "ada_norm",
    }


def read_schedule_config(values: Values) -> ScheduleConfig:
    """The schedule that a `scheduler/scheduler_config.json` describes."""
    defaults = {field.name: field.default for field in fields(ScheduleConfig)[1:]}
    return _read(ScheduleConfig, values, defaults)


def write_schedule_config(config: ScheduleConfig) -> dict[str, Any]:
    """The `scheduler/scheduler_config.json` that diffusers' `VQDiffusionScheduler` reads."""
    return {"_class_name": "VQDiffusionScheduler", **asdict(config)}


def read_null_text_config(values: Values) -> NullTextConfig:
    """Whether the checkpoint learned the states of "no caption", and their shape."""
    return _read(NullTextConfig, values, {"hidden_size": None, "length": None})


def write_null_text_config(config: NullTextConfig) -> dict[str, Any]:
    """The `config.json` of diffusers' `LearnedClassifierFreeSamplingEmbeddings`."""
    return {"_class_name": "LearnedClassifierFreeSamplingEmbeddings", **asdict(config)}


def read_config(kind: type, values: Values) -> Any:
    """The dataclass `kind` from a `config.json` that has the names of its fields.

    Raises `ValueError` for a field that is missing or has a value of another type.
    """
    return _read(kind, values, {})


ENCODER_BLOCKS = ("DownEncoderBlock2D", "AttnDownEncoderBlock2D")
DECODER_BLOCKS = ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")


def _attention_resolutions(types: list[str], names: tuple[str, str]) -> tuple[int, ...]:
    """At which resolutions, the full one first, does the block type with attention stand?"""
    for name in types:
        if name not in names:
            raise ValueError(f"block type {name!r} is unknown; allowed: {names[0]}, {names[1]}")
    return tuple(index for index, name in enumerate(types) if name == names[1])


def _check_fixed(values: Values, fixed: Mapping[str, tuple]) -> None:
    for key, allowed in fixed.items():
        if key in values and values[key] not in allowed:
            raise ValueError(f"{key} is {values[key]!r}; allowed: {', '.join(map(repr, allowed))}")


KINDS_OF_VALUES = {
    int: (int,),
    str: (str,),
    bool: (bool,),
    float: (int, float),
    tuple[int, ...]: (tuple,),
    int | None: (int, NoneType),
}


def _read(kind: type, values: Values, defaults: Values) -> Any:
    """The dataclass `kind` from a JSON object. JSON knows no types, so they are checked here."""
    values = {**defaults, **values}
    arguments = {field.name: _required(values, field.name) for field in fields(kind)}
    for field in fields(kind):
        value, allowed = arguments[field.name], KINDS_OF_VALUES[field.type]
        whole = not isinstance(value, tuple) or all(type(entry) is int for entry in value)
        if type(value) not in allowed or not whole:
            names = " or ".join(t.__name__ for t in allowed)
            raise ValueError(f"{field.name} is {value!r}; allowed: {names}")
    return kind(**arguments)


def _required(values: Values, key: str) -> Any:
    if key not in values:
        raise ValueError(f"the key {key!r} is missing")
    return values[key]
