"""The `config.json` of every part of a checkpoint: diffusers' keys on disk, our dataclasses here.

Reading is strict where it matters: a key that would change what the network computes must have
the one value that is built here, and the error says so. Keys that change nothing are ignored.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args, get_origin

from vqlearn.diffusion import ScheduleConfig
from vqlearn.probability.checks import check_choice, shown
from vqlearn.text import NullTextConfig
from vqlearn.tokens import VQVAEConfig
from vqlearn.transformer import (
    ClassDenoiserConfig,
    DenoiserConfig,
    UnconditionalDenoiserConfig,
)

Values = Mapping[str, Any]
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class ConfigFile:
    """How the dataclass `config` stands in a JSON file: field by field, and what is there besides.

    - `written`: what a file gets besides the fields.
    - `fixed`: keys without a field, and the values with which a file is read.
    - `defaults`: what diffusers takes where a key is missing; without one the key must be there.
    """

    config: type
    written: Values
    fixed: Mapping[str, tuple] = field(default_factory=dict)
    defaults: Values = field(default_factory=dict)

    def read(self, values: Values) -> Any:
        """The dataclass that a file describes.

        Raises `ValueError` naming the key, the value seen and the values allowed.
        """
        values = {**self.defaults, **values}
        for key, allowed in self.fixed.items():
            if key in values:
                check_choice(key, values[key], allowed)
        names = {one.name: one.type for one in fields(self.config)}
        return self.config(**{name: _value(values, name, kind) for name, kind in names.items()})

    def write(self, config: Any) -> dict[str, Any]:
        """The values of a file: `read` gives the same dataclass again."""
        return {**self.written, **asdict(config)}


HALVES = {
    "encoder": ("down_block_types", 1, ("DownEncoderBlock2D", "AttnDownEncoderBlock2D")),
    "decoder": ("up_block_types", -1, ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")),
}
"""Of each half of the VQ network: the key of its blocks in diffusers' files, 1 if they begin at the
full resolution and -1 if they end there, and their types without and with attention."""

OURS_ALONE = ("quantizer", "num_full_codes")
"""Keys that diffusers' VQ network lacks: a file has them if they differ from the default."""


class _VQVAEConfigFile(ConfigFile):
    """diffusers names the type of each block; we list the resolutions that have attention.

    A Gumbel quantizer has one key more, `quantizer`, and one with unused codes `num_full_codes`.
    diffusers has none such: it decodes the tokens of that folder as we do, but would choose others
    when it encodes.
    """

    def read(self, values: Values) -> VQVAEConfig:
        width = values.get("vq_embed_dim") or values.get("latent_channels")
        ours = {**values, "vq_embed_dim": width}
        count = len(_value(values, "block_out_channels", tuple[int, ...]))
        for half, (key, order, allowed) in HALVES.items():
            types = _value(values, key, tuple[str, ...])
            if len(types) != count:
                raise ValueError(f"{key} has {len(types)} entries; allowed: {count}")
            for name in types:
                check_choice(f"a block of {key}", name, allowed)
            attention = tuple(i for i, name in enumerate(types[::order]) if name == allowed[1])
            ours[f"{half}_attention_resolutions"] = attention
        return super().read(ours)

    def write(self, config: VQVAEConfig) -> dict[str, Any]:
        values = super().write(config)
        for half, (key, order, names) in HALVES.items():
            attention = values.pop(f"{half}_attention_resolutions")
            types = [names[i in attention] for i in range(len(config.block_out_channels))]
            values[key] = types[::order]
        defaults = {name: self.defaults[name] for name in OURS_ALONE}
        return {key: value for key, value in values.items() if (key, value) not in defaults.items()}


def _value(values: Values, key: str, kind: Any) -> Any:
    """The value of a key, a list as a tuple. JSON knows no types, so they are checked here."""
    if key not in values:
        raise ValueError(f"the key {key!r} is missing")
    value, several = values[key], get_origin(kind) is tuple
    allowed = (int, float) if kind is float else get_args(kind) or (kind,)
    allowed = [one for one in allowed if one is not Ellipsis]  # int, ... of tuple[int, ...]
    is_list = isinstance(value, list | tuple)
    if several != is_list or any(type(e) not in allowed for e in (value if is_list else [value])):
        names = " or ".join(one.__name__ for one in allowed)
        some = "a list of " if several else ""
        raise ValueError(f"{key} is {shown(value)}; allowed: {some}{names}")
    for one in value if is_list else [value]:
        if isinstance(one, int):
            check_below_largest({key: one})
    return tuple(value) if several else value


def check_below_largest(sizes: Mapping[str, int]) -> None:
    """Raise `ValueError` for a size that does not fit into 31 bits: torch cannot multiply it."""
    for name, value in sizes.items():
        if abs(value) > LARGEST:
            raise ValueError(f"{name} is {shown(value)}; allowed: up to {LARGEST}")


VQVAE_FILE = _VQVAEConfigFile(
    VQVAEConfig,
    written={"_class_name": "VQModel"},
    fixed={
        "in_channels": (3,),
        "out_channels": (3,),
        "act_fn": ("silu", "swish"),
        "norm_type": ("group",),
        "mid_block_add_attention": (True,),
        "lookup_from_codebook": (False,),
    },
    defaults={
        "layers_per_block": 1,
        "num_vq_embeddings": 256,
        "norm_num_groups": 32,
        "quantizer": "nearest",
        "num_full_codes": None,
    },
)
DENOISER_FILE = ConfigFile(
    DenoiserConfig,
    written={
        "_class_name": "Transformer2DModel",
        "activation_fn": "geglu-approximate",
        "norm_type": "ada_norm",
    },
    fixed={
        "activation_fn": ("geglu-approximate",),
        "norm_type": ("ada_norm", "layer_norm", None),  # older files lack it or name the default
        "norm_elementwise_affine": (True,),
        "norm_eps": (1e-5,),
        "double_self_attention": (False,),
        "only_cross_attention": (False,),
        "attention_type": ("default",),
        "in_channels": (None,),
        "patch_size": (None,),
    },
    defaults={
        "activation_fn": "geglu",
        "num_attention_heads": 16,
        "attention_head_dim": 88,
        "num_layers": 1,
        "attention_bias": False,
    },
)
CONVOLUTIONAL_TEXT_FILE = ConfigFile(DenoiserConfig, {"_class_name": "ConvolutionalTextDenoiser"})
CLASS_FILE = ConfigFile(ClassDenoiserConfig, {"_class_name": "ClassDenoiser"})
UNCONDITIONAL_FILE = ConfigFile(
    UnconditionalDenoiserConfig, {"_class_name": "UnconditionalDenoiser"}
)
NULL_TEXT_FILE = ConfigFile(
    NullTextConfig,
    written={"_class_name": "LearnedClassifierFreeSamplingEmbeddings"},
    defaults={"hidden_size": None, "length": None},
)
SCHEDULE_FILE = ConfigFile(
    ScheduleConfig,
    written={"_class_name": "VQDiffusionScheduler"},
    defaults={one.name: one.default for one in fields(ScheduleConfig)[1:]},
)
