"""Images to tokens and back: the VQ-VAE of the released VQ-Diffusion models, at any size."""

from dataclasses import dataclass
from math import isqrt

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vqlearn.tokens.blocks import DownResolution, Middle, ResolutionShape, UpResolution, group_norm
from vqlearn.tokens.gumbel import GumbelQuantized, GumbelQuantizer
from vqlearn.tokens.quantizer import Quantized, VectorQuantizer

QUANTIZERS = ("nearest", "gumbel")


def to_network_range(images: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """RGB in 0 to 1 in the network's own range, -1 to 1."""
    return 2 * images - 1


def from_network_range(decoded: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """What the decoder gives, about -1 to 1, as RGB in 0 to 1; float32 or better."""
    dtype = torch.promote_types(decoded.dtype, torch.float32)
    return (decoded.to(dtype) / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class VQVAEConfig:
    """What fixes the network: eight sizes, under diffusers' names where it has one, and a choice.

    Resolution 0 is the full one, in `block_out_channels` and in both attention lists; each further
    one has half the height and width. The decoder has one layer more at each resolution than
    `layers_per_block`. The middle block always has attention. `quantizer` says how vectors become
    tokens: "nearest" takes the nearest code (`VectorQuantizer`), as the released models do;
    "gumbel" takes the code that the encoder finds likeliest (`GumbelQuantizer`).

    Raises `ValueError` with the value seen and the values allowed.
    """

    block_out_channels: tuple[int, ...]
    layers_per_block: int
    latent_channels: int
    vq_embed_dim: int
    num_vq_embeddings: int
    norm_num_groups: int
    encoder_attention_resolutions: tuple[int, ...]
    decoder_attention_resolutions: tuple[int, ...]
    quantizer: str = "nearest"

    def __post_init__(self):
        if not self.block_out_channels:
            raise ValueError("block_out_channels=() is not allowed: at least one resolution")
        for name, smallest in self._smallest_values():
            if smallest < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not allowed: at least 1")
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(
                    f"block_out_channels={self.block_out_channels}: {channels} is not a multiple "
                    f"of norm_num_groups={self.norm_num_groups}"
                )
        deepest = len(self.block_out_channels) - 1
        for name in ("encoder_attention_resolutions", "decoder_attention_resolutions"):
            if not set(getattr(self, name)) <= set(range(deepest + 1)):
                raise ValueError(f"{name}={getattr(self, name)}: allowed 0 to {deepest}")
        if self.quantizer not in QUANTIZERS:
            allowed = ", ".join(map(repr, QUANTIZERS))
            raise ValueError(f"quantizer={self.quantizer!r}: allowed {allowed}")

    def _smallest_values(self) -> list[tuple[str, int]]:
        names = "layers_per_block latent_channels vq_embed_dim num_vq_embeddings norm_num_groups"
        numbers = [(name, getattr(self, name)) for name in names.split()]
        return [("block_out_channels", min(self.block_out_channels)), *numbers]

    @property
    def downsampling_factor(self) -> int:
        """How many pixels wide is the square that one token stands for?"""
        return 2 ** (len(self.block_out_channels) - 1)


def build_quantizer(config: VQVAEConfig) -> VectorQuantizer | GumbelQuantizer:
    """How do vectors become tokens in this network?"""
    kind = GumbelQuantizer if config.quantizer == "gumbel" else VectorQuantizer
    return kind(config.num_vq_embeddings, config.vq_embed_dim)


def encoder_resolutions(config: VQVAEConfig) -> list[ResolutionShape]:
    """The encoder's resolutions, the full one first; all but the last halve the image."""
    widths, last = config.block_out_channels, len(config.block_out_channels) - 1
    return [
        ResolutionShape(
            in_channels=widths[max(index - 1, 0)],
            out_channels=widths[index],
            layers=config.layers_per_block,
            groups=config.norm_num_groups,
            attention=index in config.encoder_attention_resolutions,
            resample=index < last,
        )
        for index in range(last + 1)
    ]


def decoder_resolutions(config: VQVAEConfig) -> list[ResolutionShape]:
    """The decoder's resolutions in computing order, smallest first; all but the last double."""
    widths, last = config.block_out_channels, len(config.block_out_channels) - 1
    return [
        ResolutionShape(
            in_channels=widths[min(index + 1, last)],
            out_channels=widths[index],
            layers=config.layers_per_block + 1,
            groups=config.norm_num_groups,
            attention=index in config.decoder_attention_resolutions,
            resample=index > 0,
        )
        for index in range(last, -1, -1)
    ]


class Encoder(nn.Module):
    """What does the image show in each square of f x f pixels (f = downsampling factor)?"""

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.input = nn.Conv2d(3, widths[0], 3, padding=1)
        self.resolutions = nn.ModuleList(
            DownResolution(shape) for shape in encoder_resolutions(config)
        )
        self.middle = Middle(widths[-1], groups)
        self.output_norm = group_norm(widths[-1], groups)
        self.output = nn.Conv2d(widths[-1], config.latent_channels, 3, padding=1)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        x = self.input(images)  # (b, c_0, H, W)
        for resolution in self.resolutions:
            x = resolution(x)  # (b, c_i, H / 2^i, W / 2^i)
        return self.output(F.silu(self.output_norm(self.middle(x))))


class Decoder(nn.Module):
    """Which image belongs to these latent vectors? The encoder's way, backwards."""

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.input = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.middle = Middle(widths[-1], groups)
        self.resolutions = nn.ModuleList(
            UpResolution(shape) for shape in decoder_resolutions(config)
        )
        self.output_norm = group_norm(widths[0], groups)
        self.output = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        x = self.middle(self.input(latents))  # (b, c_last, h, w)
        for resolution in self.resolutions:
            x = resolution(x)  # twice as large after every resolution but the last
        return self.output(F.silu(self.output_norm(x)))


class VQVAE(nn.Module):
    """How can an image be written as a short row of whole numbers, and read back?

    encoder -> 1x1 convolution -> quantizer -> 1x1 convolution -> decoder. Token (r, c) of the
    grid has index r * width + c. Images are RGB in 0 to 1. The layers work in -1 to 1: only
    `decode_vectors` and `forward`, which training needs, show that range.
    """

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.to_code_space = nn.Conv2d(config.latent_channels, config.vq_embed_dim, 1)
        self.quantizer = build_quantizer(config)
        self.from_code_space = nn.Conv2d(config.vq_embed_dim, config.latent_channels, 1)
        self.decoder = Decoder(config)

    def encode_features(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """Which vector describes each square of the image, before it is made a token?

        Raises `ValueError` when height or width is not a multiple of the downsampling factor.
        """
        height, width = images.shape[2:]
        factor = self.config.downsampling_factor
        if height % factor or width % factor or not height or not width:
            raise ValueError(f"image size {height}x{width}: both must be multiples of {factor}")
        inputs = to_network_range(images).to(self.encoder.input.weight)  # device and dtype too
        features = self.to_code_space(self.encoder(inputs))  # (b, d, h, w)
        return rearrange(features, "b d h w -> b h w d")

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "b 3 H W"]) -> Int[Tensor, "b n"]:
        """Which tokens spell this image, row by row?

        Raises `ValueError` as `encode_features` does.
        """
        return rearrange(self.quantizer.choose(self.encode_features(images)), "b h w -> b (h w)")

    def decode_vectors(self, vectors: Float[Tensor, "b h w d"]) -> Float[Tensor, "b 3 H W"]:
        """The decoder's output for a grid of code vectors: about -1 to 1, not clamped."""
        return self.decoder(self.from_code_space(rearrange(vectors, "b h w d -> b d h w")))

    def decode(
        self, tokens: Int[Tensor, "b n"], *, grid: tuple[int, int] | None = None
    ) -> Float[Tensor, "b 3 H W"]:
        """The image of these tokens, RGB in 0 to 1, float32 or better.

        `grid` is (rows, columns), by default a square.

        Raises `ValueError` when n tokens do not fill the grid, or a token is not in the codebook
        (MASK has no image).
        """
        count = tokens.shape[1]
        rows, columns = grid or (isqrt(count), isqrt(count))
        if rows * columns != count:
            raise ValueError(f"{count} tokens do not fill a grid of {rows}x{columns}: pass grid=")
        vectors = self.quantizer.lookup(tokens)  # (b, n, d)
        decoded = self.decode_vectors(rearrange(vectors, "b (h w) d -> b h w d", h=rows))
        return from_network_range(decoded)

    def forward(
        self, images: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b 3 H W"], Quantized | GumbelQuantized]:
        """The image after the round trip, as `decode_vectors` gives it, and what trains the codes.

        In training mode a Gumbel quantizer mixes codes by chance, at temperature 1 and out of
        torch's own random stream; for others call the parts, as `training.reconstruction` does.

        Raises `ValueError` as `encode_features` does.
        """
        quantized = self.quantizer(self.encode_features(images))
        return self.decode_vectors(quantized.vectors), quantized
