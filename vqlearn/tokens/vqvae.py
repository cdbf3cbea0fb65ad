"""From images to tokens and back: the VQ-VAE of the released VQ-Diffusion models, any size."""

from dataclasses import dataclass, field
from math import isqrt

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vqlearn.probability import at_least_float32
from vqlearn.probability.checks import check_choice, check_integer, check_sizes
from vqlearn.tokens.blocks import Middle, Resolution, group_norm
from vqlearn.tokens.full_codes import FullCodes
from vqlearn.tokens.gumbel import GumbelQuantized, GumbelQuantizer
from vqlearn.tokens.quantizer import Quantized, VectorQuantizer

QUANTIZERS = {"nearest": VectorQuantizer, "gumbel": GumbelQuantizer}
SIZES = "layers_per_block latent_channels vq_embed_dim num_vq_embeddings norm_num_groups".split()


def to_network_range(images: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """RGB in 0 to 1 in the network's own range, -1 to 1."""
    return 2 * images - 1


def from_network_range(decoded: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """What the decoder gives, about -1 to 1, as RGB in 0 to 1; float32 or better."""
    return (at_least_float32(decoded) / 2 + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class VQVAEConfig:
    """The sizes of the network, under diffusers' names where it has one, and its quantizer.

    Resolution 0 is the full one, in `block_out_channels` and in both attention lists; each further
    one has half the height and width. The decoder has one layer more at each resolution than
    `layers_per_block`. The middle block always has attention. `quantizer` says how vectors become
    tokens: "nearest" takes the nearest code (`VectorQuantizer`), as the released models do;
    "gumbel" takes the code that the encoder finds likeliest (`GumbelQuantizer`).

    `num_full_codes`: the encoder knows so many codes, and the `num_vq_embeddings` tokens stand for
    those that are used (`FullCodes`); None: tokens and codes are the same.

    Raises `ValueError` for a size that no network can have.
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
    # not in the repr: files of tokens hold a digest of it
    num_full_codes: int | None = field(default=None, repr=False)

    def __post_init__(self):
        if not self.block_out_channels:
            raise ValueError("block_out_channels is (); allowed: one width or more")
        check_sizes({f"block_out_channels[{i}]": w for i, w in enumerate(self.block_out_channels)})
        check_sizes({name: getattr(self, name) for name in SIZES})
        if any(width % self.norm_num_groups for width in self.block_out_channels):
            raise ValueError(
                f"block_out_channels is {self.block_out_channels}; "
                f"allowed: multiples of norm_num_groups, {self.norm_num_groups}"
            )
        deepest = len(self.block_out_channels) - 1
        for name in ("encoder_attention_resolutions", "decoder_attention_resolutions"):
            if not set(getattr(self, name)) <= set(range(deepest + 1)):
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 0 to {deepest}")
        check_choice("quantizer", self.quantizer, QUANTIZERS)
        if self.num_full_codes is not None:
            check_integer("num_full_codes", self.num_full_codes, self.num_vq_embeddings)

    @property
    def downsampling_factor(self) -> int:
        """f: one token stands for a square of f x f pixels."""
        return 2 ** (len(self.block_out_channels) - 1)


class Encoder(nn.Module):
    """From an image to one latent vector for each square of f x f pixels."""

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.input = nn.Conv2d(3, widths[0], 3, padding=1)
        self.resolutions = nn.ModuleList(
            Resolution(
                (widths[max(i - 1, 0)], *[width] * config.layers_per_block),
                groups,
                attention=i in config.encoder_attention_resolutions,
                downsample=i < len(widths) - 1,
            )
            for i, width in enumerate(widths)
        )
        self.middle = Middle(widths[-1], groups)
        self.output_norm = group_norm(widths[-1], groups)
        self.output = nn.Conv2d(widths[-1], config.latent_channels, 3, padding=1)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c h w"]:
        x = self.input(images)  # (b, c_0, H, W)
        for resolution in self.resolutions:
            x = resolution(x)  # (b, c_i, H / 2^i, W / 2^i)
        return self.output(F.silu(self.output_norm(self.middle(x))))  # (b, c, h, w)


class Decoder(nn.Module):
    """From latent vectors to an image: the encoder's resolutions in reverse order."""

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.input = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.middle = Middle(widths[-1], groups)
        # In computing order: the smallest map, the last width, comes first.
        self.resolutions = nn.ModuleList(
            Resolution(
                (widths[min(i + 1, len(widths) - 1)], *[widths[i]] * (config.layers_per_block + 1)),
                groups,
                attention=i in config.decoder_attention_resolutions,
                upsample=i > 0,
            )
            for i in reversed(range(len(widths)))
        )
        self.output_norm = group_norm(widths[0], groups)
        self.output = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 H W"]:
        x = self.middle(self.input(latents))  # (b, c_last, h, w)
        for resolution in self.resolutions:
            x = resolution(x)  # twice as large after every resolution but the last
        return self.output(F.silu(self.output_norm(x)))


class VQVAE(nn.Module):
    """An autoencoder whose latent variables are tokens: an image is a short sequence of integers.

    encoder -> 1x1 convolution -> quantizer -> 1x1 convolution -> decoder. Token (r, c) of the
    grid has index r * width + c. Images are RGB in 0 to 1. The layers work in -1 to 1: only
    `decode_vectors` and `forward`, which training needs, show that range.
    """

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.to_code_space = nn.Conv2d(config.latent_channels, config.vq_embed_dim, 1)
        kind = QUANTIZERS[config.quantizer]
        self.quantizer = kind(config.num_vq_embeddings, config.vq_embed_dim)
        self.full_codes = None
        if config.num_full_codes is not None:
            full = kind(config.num_full_codes, config.vq_embed_dim)
            self.full_codes = FullCodes(full, config.num_vq_embeddings)
        self.from_code_space = nn.Conv2d(config.vq_embed_dim, config.latent_channels, 1)
        self.decoder = Decoder(config)

    def encode_features(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w d"]:
        """The encoder's vector for each square of the image, before it becomes a token.

        Raises `ValueError` when height or width is not a multiple of the downsampling factor.
        """
        height, width = images.shape[2:]
        factor = self.config.downsampling_factor
        if height % factor or width % factor or not height or not width:
            raise ValueError(
                f"the image is {height} x {width}; allowed: sides that are multiples of {factor}"
            )
        inputs = to_network_range(images).to(self.encoder.input.weight)  # device and dtype too
        features = self.to_code_space(self.encoder(inputs))  # (b, d, h, w)
        return rearrange(features, "b d h w -> b h w d")

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "b 3 H W"], *, nearest_used: bool = False
    ) -> Int[Tensor, "b n"]:
        """The tokens of each image, row by row.

        Of a tokenizer with unused codes these are token 0, as in the released models. With
        `nearest_used` a token is chosen among the used codes alone: so more of an image is kept,
        but the denoiser has not learned from such tokens.

        Raises `ValueError` as `encode_features` does.
        """
        among_all = self.full_codes is not None and not nearest_used
        quantizer = self.full_codes if among_all else self.quantizer
        return rearrange(quantizer.encode(self.encode_features(images)), "b h w -> b (h w)")

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
            raise ValueError(
                f"the number of tokens is {count}; allowed: {rows * columns}, "
                f"the grid is {rows} x {columns}"
            )
        vectors = self.quantizer.lookup(tokens)  # (b, n, d)
        decoded = self.decode_vectors(rearrange(vectors, "b (h w) d -> b h w d", h=rows))
        return from_network_range(decoded)

    def forward(
        self, images: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b 3 H W"], Quantized | GumbelQuantized]:
        """The image after the round trip, as `decode_vectors` gives it, and what trains the codes.

        In training mode a Gumbel quantizer draws and mixes codes, at temperature 1 and from
        torch's global generator; for others call the parts, as `training.tasks.reconstruction`
        does.

        Raises `ValueError` as `encode_features` does.
        """
        quantized = self.quantizer(self.encode_features(images))
        return self.decode_vectors(quantized.vectors), quantized
