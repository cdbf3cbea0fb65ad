"""The denoiser: it predicts the clean tokens from corrupted ones, their level and a caption.

It is the architecture of the released text-to-image checkpoint, at any size. It gives scores for
the K real codes at every position at once: MASK can be read but never predicted.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.probability.checks import (
    Level,
    check_choice,
    check_integer,
    check_range,
    check_same_batch,
    check_sequences,
    check_sizes,
    one_level_each,
)
from vqlearn.transformer.layers import (
    AdaptiveLayerNorm,
    Attention,
    FeedForward,
    TokenEmbedding,
)
from vqlearn.transformer.quick import HALVES, PreparedText, places_of, prepare, run_blocks

INITIAL_STD = 0.02


class GridSizes:
    """What follows from the sizes that every denoiser of a square grid of tokens has."""

    num_attention_heads: int
    attention_head_dim: int
    num_vector_embeds: int
    sample_size: int

    @property
    def width(self) -> int:
        """d, the number of channels of every token inside the network."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def num_codes(self) -> int:
        """K, the number of real codes; also the id of MASK."""
        return self.num_vector_embeds - 1

    @property
    def num_positions(self) -> int:
        """n, the number of tokens of one image."""
        return self.sample_size**2


@dataclass(frozen=True)
class DenoiserConfig(GridSizes):
    """The sizes of the denoiser. The names are the keys of the checkpoints' `config.json`.

    - `num_attention_heads`, `attention_head_dim`: their product is the width of the network.
    - `num_layers`: number of blocks.
    - `cross_attention_dim`: width of the text states.
    - `attention_bias`: whether query, key and value have a bias.
    - `num_vector_embeds`: K + 1 tokens can be read; the last one is MASK.
    - `sample_size`: the token grid is `sample_size` x `sample_size`.
    - `num_embeds_ada_norm`: T, the number of noise levels.

    Raises `ValueError` for a size that no network can have.
    """

    num_attention_heads: int
    attention_head_dim: int
    num_layers: int
    cross_attention_dim: int
    attention_bias: bool
    num_vector_embeds: int
    sample_size: int
    num_embeds_ada_norm: int

    def __post_init__(self):
        sizes = asdict(self)
        if not isinstance(sizes.pop("attention_bias"), bool):
            raise ValueError(f"attention_bias is {self.attention_bias!r}; allowed: True or False")
        check_sizes(sizes, num_vector_embeds=2)


class Block(nn.Module):
    """One transformer block: attention to the image, attention to the caption, feed-forward.

    Shapes stay the same: (b, n, d) in and out. Each part reads a normalised copy of `x` and adds
    its output to `x` itself ("pre-norm"): so gradients reach the first block through sums alone.
    """

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        heads, head_dim = config.num_attention_heads, config.attention_head_dim
        bias = config.attention_bias
        self.self_attention_norm = AdaptiveLayerNorm(config.num_embeds_ada_norm, config.width)
        self.self_attention = Attention(heads, head_dim, config.width, bias=bias)
        self.cross_attention_norm = AdaptiveLayerNorm(config.num_embeds_ada_norm, config.width)
        self.cross_attention = Attention(heads, head_dim, config.cross_attention_dim, bias=bias)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        level_index: Int[Tensor, " b"],
        text: Float[Tensor, "b l c"],
    ) -> Float[Tensor, "b n d"]:
        normed = self.self_attention_norm(x, level_index)
        x = x + self.self_attention(normed, normed)
        x = x + self.cross_attention(self.cross_attention_norm(x, level_index), text)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Denoiser(nn.Module):
    r"""A transformer that predicts the clean tokens: $p_\theta(x_0 \mid x_t, y)$ of each position.

    The scores are unnormalised: $\log p_\theta(x_0 \mid x_t, y)$ is their log-softmax over the last
    axis. Level t = 1..T uses row t - 1 of every timestep embedding: level 0 is clean data, which
    needs no denoiser.

    Fresh weights are drawn from a normal with standard deviation 0.02 (linear maps and embeddings),
    biases are 0 and norms start as the identity, as in GPT-like models. There is no dropout.
    """

    reads_text = True

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        self.config = config
        tokens, side, width = config.num_vector_embeds, config.sample_size, config.width
        self.token_embedding = TokenEmbedding(tokens, side, side, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.output_norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_codes)
        self.apply(initialise)
        self.halves = HALVES

    def compile(self, **options: Any) -> None:
        """Let `torch.compile` with its options make `quick_scores` faster; training stays as it is.

        It compiles the two halves of a block, so a deep network takes no longer than a flat one.
        """
        self.halves = tuple(torch.compile(half, **options) for half in HALVES)

    def forward(
        self, x_t: Int[Tensor, "b n"], t: Level, text: Float[Tensor, "b l c"]
    ) -> Float[Tensor, "b n k"]:
        """Scores of the K real codes at each of the n positions, class axis last.

        `x_t` holds tokens 0..K (K is MASK), `t` one level 1..T, or one for each sequence, `text`
        the text states.

        Raises `ValueError` for a wrong n, text width or batch size, and for tokens or levels
        outside their range. Ranges are checked on the CPU only: on an accelerator the check would
        wait for the device at every call.
        """
        check_choice("the width of text", text.shape[2], (self.config.cross_attention_dim,))
        t = self._checked(x_t, t, text=text)
        x = self.token_embedding(x_t)  # (b, n) -> (b, n, d)
        for block in self.blocks:
            x = block(x, t - 1, text)  # (b, n, d)
        return self.to_logits(self.output_norm(x))  # (b, n, d) -> (b, n, K)

    @torch.no_grad()
    def prepared(self, text: Float[Tensor, "b l c"]) -> PreparedText:
        """The text in the form that makes many calls with it cheaper, without gradients.

        Once weights, dtype or device change it is wrong, and nothing says so.
        """
        check_choice("the width of text", text.shape[2], (self.config.cross_attention_dim,))
        return prepare(self.blocks, text)

    @torch.no_grad()
    def quick_scores(
        self,
        x_t: Int[Tensor, "b n"],
        t: Level,
        text: PreparedText,
        positions: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "*rm k"]:
        """`forward` without gradients in fewer operations: see `quick.py`.

        There may be r captions for each sequence: first one for each, then the next for each. The
        scores of all positions are (r b, n, K). `positions` of the flattened batch, ascending and
        on the CPU, have (r m, K). Raises `ValueError` as `forward` does.
        """
        if isinstance(t, int):  # looked at on every device: it costs no wait
            check_integer("t", t, 1, self.config.num_embeds_ada_norm)
        if len(text) % len(x_t):
            raise ValueError(
                f"the number of captions is {len(text)}; "
                f"allowed: multiples of the batch size, {len(x_t)}"
            )
        levels = self._checked(x_t, t)
        row = t - 1 if isinstance(t, int) else (levels - 1).to(x_t.device)
        x = self.token_embedding(x_t)  # (b, n, d)
        if positions is None:
            x = run_blocks(self.blocks, x, row, text, None, self.halves)  # (r b, n, d)
        else:
            places, found = (each.to(x.device) for each in places_of(positions, *x_t.shape))
            x = run_blocks(self.blocks, x, row, text, places, self.halves)  # (r b, most, d)
            x = rearrange(x, "(r b) most d -> r (b most) d", b=len(x_t))[:, found]  # (r, m, d)
            x = rearrange(x, "r m d -> (r m) d")
        return self.to_logits(self.output_norm(x))

    def _checked(self, x_t: Tensor, t: Level, **others: Tensor) -> Int[Tensor, " b"]:
        """One level for each sequence, if levels and tokens are in their ranges."""
        t = one_level_each(t, x_t)
        check_same_batch(x_t=x_t, t=t, **others)
        check_sequences("x_t", x_t, self.config.num_positions, self.config.num_vector_embeds)
        check_range("t", t, 1, self.config.num_embeds_ada_norm)
        return t


def initialise(module: nn.Module) -> None:
    """Fresh weights of one layer, for `nn.Module.apply`: normal with INITIAL_STD, biases 0.

    On the meta device nothing is drawn: there are no numbers.
    """
    if not isinstance(module, nn.Linear | nn.Embedding) or module.weight.is_meta:
        return
    nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
