"""How large the networks of a checkpoint are: sizes that fit each other, and two sets by name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vqlearn.probability.checks import check_choice, check_integer, check_multiple, check_sizes
from vqlearn.tokens import VQVAEConfig
from vqlearn.transformer import DenoiserConfig

NUM_TIMESTEPS = 100
HEAD_WIDTH = 32
WIDEST, DEEPEST = 4096, 100  # numbers at a position, layers

DOWNSAMPLING = (4, 8)
LIMITS = {
    "codes": (2, 2**16),
    "channels": (32, 1024),
    "vocabulary": (2 * 256 + 2, 2**16),  # bytes, bytes that end a word, start and end
    "text_length": (3, 1024),  # start, a word, end
    "levels": (2, 10_000),
}
"""The least and the most of each number in `Sizes`."""


def check_parts(name: str, value: int, part: int, parts: str) -> None:
    """Raise `ValueError`, with the arithmetic, unless the value is so many whole parts."""
    if value % part:
        raise ValueError(
            f"{name} is {value}; allowed: multiples of {part}, "
            f"not {value} / {part} = {value / part:g} {parts}"
        )


@dataclass(frozen=True)
class Size:
    """How large a transformer is: numbers at each position, layers, and heads that share the width.

    Raises `ValueError` for what is no size, and for heads that the width cannot be shared among.
    """

    width: int = 128
    num_layers: int = 6
    num_heads: int = 4

    def __post_init__(self) -> None:
        check_sizes(vars(self))
        check_multiple(self, "width", "num_heads")


DEFAULT_SIZE = Size()


@dataclass(frozen=True)
class Sizes:
    """How large everything in one checkpoint is.

    - `codes`: K, the codes that a token is one of.
    - `downsample`: f; a token stands for f x f pixels.
    - `channels`: of the VQ network's deeper layers; at full resolution it has three quarters.
    - `vocabulary`: the pieces of words that captions are cut into, if they offer as many.
    - `text_length`: l, the pieces of one caption, start and end included; longer ones are cut.
    - `text_size`: the text encoder.
    - `size`: the transformer that learns tokens: diffusion, raster, or each half of an ImageBART.
    - `levels`: T, the noise levels of diffusion.

    Raises `TypeError` or `ValueError`, naming the field, for what nothing can be built of.
    """

    codes: int = 384
    downsample: int = 4
    channels: int = 32
    vocabulary: int = 1024
    text_length: int = 32
    text_size: Size = Size(width=128, num_layers=2, num_heads=4)
    size: Size = DEFAULT_SIZE
    levels: int = NUM_TIMESTEPS

    def __post_init__(self) -> None:
        for name, limits in LIMITS.items():
            check_integer(name, getattr(self, name), *limits)
        check_choice("downsample", self.downsample, DOWNSAMPLING)
        check_parts("channels", self.channels, 32, "8 groups of three quarters of them")


SMALL = Sizes()
BASE = Sizes(
    codes=1024,
    channels=128,
    vocabulary=4096,
    text_length=64,
    text_size=Size(width=256, num_layers=4, num_heads=8),
    size=Size(width=384, num_layers=12, num_heads=12),
)
PRESETS = {"small": SMALL, "base": BASE}
"""Sizes by name, and how many weights their networks have.

- **small**: 32 pixels and one processor; 8 x 8 tokens. The VQ network has 0.3 million weights, the
  text encoder 0.5, the denoiser 2.2. It never changes: an old record without sizes means these.
- **base**: 64 pixels and one GPU; 16 x 16 tokens. The VQ network has 4.3 million weights, the text
  encoder 4.2 (if the captions fill its vocabulary), the denoiser 36. Tokens of 4 x 4 pixels have
  10 bits for 48 numbers; those of 8 x 8 would have 10 bits for 192, and keep little detail of a
  photograph. With 128 pixels they are 32 x 32 tokens, and attention takes 16 times as long: there
  `downsample` 8 makes 16 x 16 again, with a VQ network of 13 million weights.
"""


def sizes_of(given: Mapping[str, int | str | None]) -> Sizes:
    """The sizes of `preset`, by default small, with the others that are given in their place.

    `given` has options of the command, None for what is left open: fields of `Sizes`, and `width`
    and `layers` for its `size`. Heads follow from the width: each has 32 numbers. Raises as `Sizes`
    does, and for a width that is no multiple of 32.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    preset = chosen.pop("preset", "small")
    check_choice("preset", preset, PRESETS)
    before = PRESETS[preset].size
    width = chosen.pop("width", before.width)
    layers = chosen.pop("layers", before.num_layers)
    check_integer("width", width, HEAD_WIDTH, WIDEST)
    check_integer("layers", layers, 1, DEEPEST)
    check_parts("width", width, HEAD_WIDTH, "heads")
    return replace(PRESETS[preset], **chosen, size=Size(width, layers, width // HEAD_WIDTH))


def vqvae_config(
    codes: int = SMALL.codes, downsample: int = SMALL.downsample, channels: int = SMALL.channels
) -> VQVAEConfig:
    """A VQ network that makes one token of f x f pixels, for images of any size.

    A code vector has the 3 f² numbers of its token's pixels, see `TokenTask`. With f = 8 there is
    one resolution more, twice as wide, for four times as many pixels in a token.
    """
    deepest = (2 * channels,) if downsample == 8 else ()
    return VQVAEConfig(
        block_out_channels=(channels * 3 // 4, channels, channels, *deepest),
        layers_per_block=1,
        latent_channels=2 * downsample**2,
        vq_embed_dim=3 * downsample**2,
        num_vq_embeddings=codes,
        norm_num_groups=8,
        encoder_attention_resolutions=(),
        decoder_attention_resolutions=(),
    )


def denoiser_config(
    *,
    num_codes: int,
    side: int,
    text_width: int,
    num_timesteps: int = NUM_TIMESTEPS,
    size: Size = DEFAULT_SIZE,
) -> DenoiserConfig:
    """A denoiser that fits these `side` x `side` tokens and this text encoder."""
    return DenoiserConfig(
        num_attention_heads=size.num_heads,
        attention_head_dim=size.width // size.num_heads,
        num_layers=size.num_layers,
        cross_attention_dim=text_width,
        attention_bias=True,
        num_vector_embeds=num_codes + 1,
        sample_size=side,
        num_embeds_ada_norm=num_timesteps,
    )
