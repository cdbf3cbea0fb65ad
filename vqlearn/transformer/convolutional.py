"""Denoisers whose feed-forward is convolutional: conditioned on a class, on nothing, on a caption.

The released ImageNet model is a `ClassDenoiser`, that of faces an `UnconditionalDenoiser`, the
small one of birds (CUB-S) a `ConvolutionalTextDenoiser`. In the first two a block has no
cross-attention:

    x = x + self_attention(norm(x, t))            tokens attend to tokens, the level is known
    x = x + feed_forward(norm(x, class))          each token and its neighbours, the class is known
"""

from dataclasses import asdict, dataclass
from math import isqrt

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from vqlearn.probability.checks import (
    Level,
    check_range,
    check_same_batch,
    check_sequences,
    check_sizes,
    one_level_each,
)
from vqlearn.transformer.denoiser import DenoiserConfig, GridSizes, initialise
from vqlearn.transformer.layers import (
    FEED_FORWARD_EXPANSION,
    GELU_SLOPE,
    AdaptiveLayerNorm,
    Attention,
    TokenEmbedding,
)
from vqlearn.transformer.quick import normalise
from vqlearn.transformer.variants import WholeDenoiser

TEXT_EXPANSION = 2  # of the released model with captions, which is the small one


@dataclass(frozen=True)
class UnconditionalDenoiserConfig(GridSizes):
    """The sizes of a denoiser without a condition. `DenoiserConfig` has the same names.

    - `num_attention_heads`, `attention_head_dim`: their product is the width of the network.
    - `num_layers`: number of blocks.
    - `num_vector_embeds`: K + 1 tokens can be read; the last one is MASK.
    - `sample_size`: the token grid is `sample_size` x `sample_size`.
    - `num_embeds_ada_norm`: T, the number of noise levels.
    - `position_columns`: columns of the table of positions. Position i has the vectors of row
      i // `position_columns` and of column i % `position_columns`. That is the row and the column
      of the image if it is `sample_size`; in the released 16 x 16 models it is 32.

    Raises `ValueError` for a size that no network can have.
    """

    num_attention_heads: int
    attention_head_dim: int
    num_layers: int
    num_vector_embeds: int
    sample_size: int
    num_embeds_ada_norm: int
    position_columns: int

    def __post_init__(self) -> None:
        check_sizes(asdict(self), num_vector_embeds=2)
        if self.num_positions % self.position_columns:
            raise ValueError(
                f"position_columns is {self.position_columns}; "
                f"allowed: divisors of {self.num_positions}, the number of positions"
            )

    @property
    def position_rows(self) -> int:
        """Rows of the table of positions."""
        return self.num_positions // self.position_columns


@dataclass(frozen=True)
class ClassDenoiserConfig(UnconditionalDenoiserConfig):
    """The sizes of a class-conditional denoiser.

    - `num_classes`: C, the classes 0..C - 1. The network knows one more, the null class C: "no
      class", for classifier-free guidance.
    """

    num_classes: int

    @property
    def null_class(self) -> int:
        """C, the label of an image whose class is not told."""
        return self.num_classes


class ClassLayerNorm(nn.Module):
    """A layer norm whose scale and shift say of which class the image is.

    It is an `AdaptiveLayerNorm` with a vector for each class, the null class among them, in the
    place of one for each level.
    """

    def __init__(self, num_classes: int, width: int):
        super().__init__()
        self.class_embedding = nn.Embedding(num_classes + 1, width)
        self.to_scale_shift = nn.Linear(width, 2 * width)

    def forward(
        self, x: Float[Tensor, "b n d"], labels: Int[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        vectors = self.class_embedding(labels)  # (b, d)
        return normalise(x, self.to_scale_shift(functional.silu(vectors)))


class ConvolutionalFeedForward(nn.Module):
    r"""Two 3 x 3 convolutions over the square grid of tokens, with a non-linearity between them.

    $\phi(u) = u\,\sigma(1.702\,u)$, as in `layers.FeedForward`: there each token is alone, here it
    sees its neighbours. Outside the grid there are zeros.
    """

    def __init__(self, width: int, expansion: int):
        super().__init__()
        self.expand = nn.Conv2d(width, expansion * width, 3, padding=1)
        self.contract = nn.Conv2d(expansion * width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        grid = rearrange(x, "b (r c) d -> b d r c", r=isqrt(x.shape[1]))
        hidden = self.expand(grid)  # (b, expansion * d, r, c)
        grid = self.contract(hidden * torch.sigmoid(GELU_SLOPE * hidden))
        return rearrange(grid, "b d r c -> b (r c) d")


class ConvolutionalBlock(nn.Module):
    """One transformer block without text: attention to the image, convolutional feed-forward.

    `feed_forward_norm` is a `ClassLayerNorm`, which wants the labels, or a layer norm.
    """

    def __init__(self, config: UnconditionalDenoiserConfig, feed_forward_norm: nn.Module):
        super().__init__()
        heads, head_dim, width = config.num_attention_heads, config.attention_head_dim, config.width
        self.self_attention_norm = AdaptiveLayerNorm(config.num_embeds_ada_norm, width)
        self.self_attention = Attention(heads, head_dim, width, bias=True)
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = ConvolutionalFeedForward(width, FEED_FORWARD_EXPANSION)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        level_index: Int[Tensor, " b"],
        *labels: Int[Tensor, " b"],
    ) -> Float[Tensor, "b n d"]:
        normed = self.self_attention_norm(x, level_index)
        x = x + self.self_attention(normed, normed)
        return x + self.feed_forward(self.feed_forward_norm(x, *labels))


class ConvolutionalDenoiser(nn.Module):
    r"""What both denoisers without text are made of.

    Scores and levels are those of `Denoiser`. Fresh weights are drawn as there; convolutions begin
    as PyTorch's do.
    """

    reads_text = False
    reads_classes = False

    def __init__(self, config: UnconditionalDenoiserConfig):
        super().__init__()
        self.config = config
        table = config.position_rows, config.position_columns
        self.token_embedding = TokenEmbedding(config.num_vector_embeds, *table, config.width)
        self.blocks = nn.ModuleList(
            ConvolutionalBlock(config, self.feed_forward_norm()) for _ in range(config.num_layers)
        )
        self.output_norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_codes)
        self.apply(initialise)

    def feed_forward_norm(self) -> nn.Module:
        """A new norm in front of the feed-forward of one block."""
        return nn.LayerNorm(self.config.width)

    def scores(
        self, x_t: Int[Tensor, "b n"], t: Level, *labels: Int[Tensor, " b"]
    ) -> Float[Tensor, "b n k"]:
        """Scores of the K real codes at each of the n positions, class axis last.

        Raises `ValueError` for a wrong n or batch size, and on the CPU for tokens or levels outside
        their range.
        """
        t = one_level_each(t, x_t)
        check_same_batch(x_t=x_t, t=t)
        check_sequences("x_t", x_t, self.config.num_positions, self.config.num_vector_embeds)
        check_range("t", t, 1, self.config.num_embeds_ada_norm)
        x = self.token_embedding(x_t)  # (b, n) -> (b, n, d)
        for block in self.blocks:
            x = block(x, t - 1, *labels)  # (b, n, d)
        return self.to_logits(self.output_norm(x))  # (b, n, d) -> (b, n, K)


class UnconditionalDenoiser(ConvolutionalDenoiser):
    r"""A transformer that predicts the clean tokens alone: $p_\theta(x_0 \mid x_t)$."""

    def forward(self, x_t: Int[Tensor, "b n"], t: Level) -> Float[Tensor, "b n k"]:
        """`scores`: `x_t` holds tokens 0..K (K is MASK), `t` a level 1..T, or one a sequence."""
        return self.scores(x_t, t)


class ClassDenoiser(ConvolutionalDenoiser):
    r"""A transformer that predicts the clean tokens of an image of a class.

    $p_\theta(x_0 \mid x_t, y)$, y in 0..C - 1; y = C, the null class, stands for "no class". It is
    learned from images whose class is not told (`ClassConditioning.dropped`).
    """

    reads_classes = True

    def feed_forward_norm(self) -> nn.Module:
        """A new norm that is told the class, with a table of its own."""
        return ClassLayerNorm(self.config.num_classes, self.config.width)

    def forward(
        self, x_t: Int[Tensor, "b n"], t: Level, labels: Int[Tensor, " b"]
    ) -> Float[Tensor, "b n k"]:
        """`scores`, as of `UnconditionalDenoiser`, for images of these classes.

        Raises `ValueError` for labels outside 0..C too, on the CPU.
        """
        check_same_batch(x_t=x_t, labels=labels)
        check_range("labels", labels, 0, self.config.null_class)
        return self.scores(x_t, t, labels)


class ConvolutionalTextDenoiser(WholeDenoiser):
    """A `Denoiser` with a convolutional feed-forward, twice as wide inside, in every block.

    So it is in the released CUB-S settings. Raises as `Denoiser` does.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        for block in self.blocks:
            block.feed_forward = ConvolutionalFeedForward(config.width, TEXT_EXPANSION)
