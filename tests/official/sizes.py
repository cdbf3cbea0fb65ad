"""Sizes of the official models: the released ones and small ones of the same shape."""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class TextSizes:
    """The text half of CLIP. Heads are 64 wide, as in every CLIP."""

    vocabulary: int = 49_408
    length: int = 77
    width: int = 512
    blocks: int = 12


@dataclass(frozen=True)
class CodecSizes:
    """A tokenizer. A level halves the side, except the last, which has the attention."""

    kind: Literal["gumbel", "vq", "ema"]
    codes: int
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 4)
    blocks: int = 2
    latent: int = 256
    code_width: int = 256

    @property
    def factor(self) -> int:
        """Pixels along the side of one code."""
        return 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class DenoiserSizes:
    """The network that predicts x_0. The number of heads, 16 in all of them, is in no tensor."""

    kind: Literal["text", "convolutional text", "class", "unconditional"]
    codes: int  # K, without MASK
    width: int
    blocks: int
    grid: int  # side of the grid of tokens
    position_rows: int  # rows of the height table and of the width table
    condition: int = 0  # width of the text states, or rows of the class table
    steps: int = 100

    @property
    def mlp_width(self) -> int:
        return self.width * (2 if self.kind == "convolutional text" else 4)


@dataclass(frozen=True)
class ReleaseSizes:
    """One training checkpoint."""

    denoiser: DenoiserSizes
    codec: CodecSizes
    text: TextSizes | None = None
    learned_null: bool = False


CLIP = TextSizes()
F8 = CodecSizes("gumbel", 8_192)
F16_IMAGENET = CodecSizes("vq", 16_384, multipliers=(1, 1, 2, 2, 4))
F16_FFHQ = replace(F16_IMAGENET, codes=1_024)
ITHQ = CodecSizes("ema", 4_096, channels=64, multipliers=(1, 2, 4, 8), code_width=128)

_TEXT_B = DenoiserSizes("text", 2_887, 1_024, 19, 32, 32, condition=512)
_IMAGENET = DenoiserSizes("class", 974, 512, 24, 16, 32, condition=1_000)
FULL = {
    "coco_pretrained": ReleaseSizes(_TEXT_B, F8, CLIP),
    "coco_learnable": ReleaseSizes(_TEXT_B, F8, CLIP, learned_null=True),
    "ithq_learnable": ReleaseSizes(
        replace(_TEXT_B, codes=4_096, width=1_408, blocks=36), ITHQ, CLIP, learned_null=True
    ),
    "cub_s": ReleaseSizes(
        replace(_TEXT_B, kind="convolutional text", width=192, blocks=18), F8, CLIP
    ),
    "imagenet_pretrained": ReleaseSizes(_IMAGENET, F16_IMAGENET),
    "imagenet_learnable": ReleaseSizes(replace(_IMAGENET, condition=1_001), F16_IMAGENET),
    "ffhq": ReleaseSizes(DenoiserSizes("unconditional", 1_024, 512, 20, 16, 32), F16_FFHQ),
}


def small_text(sizes: TextSizes) -> TextSizes:
    return replace(sizes, vocabulary=60, length=7, width=128, blocks=2)


def small_codec(sizes: CodecSizes, codes: int) -> CodecSizes:
    """32 channels, the fewest that 32 groups allow, 64 at the last level."""
    multipliers = (1,) * (len(sizes.multipliers) - 1) + (2,)
    code_width = 16 if sizes.kind == "ema" else 32
    return replace(
        sizes, codes=codes, channels=32, multipliers=multipliers, latent=32, code_width=code_width
    )


def small(sizes: ReleaseSizes) -> ReleaseSizes:
    """The same kind with 2 blocks, 32 wide, on 4x4 tokens of 11 codes; remapped from 20 codes.

    The class tables keep their 1,000 or 1,001 rows: that number decides what class 1,000 is.
    """
    remapped = sizes.codec.codes != sizes.denoiser.codes
    text = sizes.text and small_text(sizes.text)
    condition = text.width if text else sizes.denoiser.condition
    position_rows = 4 * sizes.denoiser.position_rows // sizes.denoiser.grid
    denoiser = replace(
        sizes.denoiser,
        **{"codes": 11, "width": 32, "blocks": 2, "grid": 4},
        position_rows=position_rows,
        condition=condition,
    )
    codec = small_codec(sizes.codec, 20 if remapped else 11)
    return replace(sizes, denoiser=denoiser, codec=codec, text=text)


SMALL = {name: small(sizes) for name, sizes in FULL.items()}
