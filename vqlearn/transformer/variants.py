"""Two variants of `Denoiser` for comparisons: causal attention, and predicting x_{t-1}.

Each changes one thing. They have the weights of `Denoiser` under the same names, so that nothing
else differs.
"""

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.probability.checks import Level
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig, initialise
from vqlearn.transformer.layers import Attention, causal_mask
from vqlearn.transformer.quick import PreparedText


class CausalAttention(Attention):
    """Self-attention in which position i attends to the positions 0..i only."""

    def forward(
        self, x: Float[Tensor, "b n d"], source: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b n d"]:
        return super().forward(x, source, causal_mask(x.shape[1], 0, x.device))


class WholeDenoiser(Denoiser):
    """A denoiser in which a position cannot be computed apart from the others in the last block."""

    def quick_scores(
        self,
        x_t: Int[Tensor, "b n"],
        t: Level,
        text: PreparedText,
        positions: Int[Tensor, " m"] | None = None,
    ) -> Float[Tensor, "*rm k"]:
        """As `Denoiser.quick_scores`, computed at all positions."""
        scores = super().quick_scores(x_t, t, text)  # (r b, n, K)
        if positions is None:
            return scores
        scores = rearrange(scores, "(r b) n k -> r (b n) k", b=len(x_t))
        return rearrange(scores[:, positions.to(x_t.device)], "r m k -> (r m) k")


class CausalDenoiser(WholeDenoiser):
    r"""A denoiser whose tokens attend only to those before them, in reading order.

    $p(x_0^i \mid x_t^1 \ldots x_t^i, y)$. The caption is still read as a whole. Raises as
    `Denoiser` does.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        sizes = config.num_attention_heads, config.attention_head_dim, config.width
        for block in self.blocks:
            block.self_attention = CausalAttention(*sizes, bias=config.attention_bias)
        self.apply(initialise)  # the new attentions too


class DirectDenoiser(Denoiser):
    """A denoiser that predicts $x_{t-1}$ in place of $x_0$.

    It scores K + 1 classes, MASK among them: for `parameterisations.DirectPrediction`. Raises as
    `Denoiser` does.
    """

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        self.to_logits = nn.Linear(config.width, config.num_vector_embeds)  # K + 1: MASK too
        self.apply(initialise)
