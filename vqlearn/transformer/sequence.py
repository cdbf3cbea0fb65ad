"""A denoiser for sequences of tokens without captions: characters, grey values, bits.

It is `denoiser.Denoiser` without text: the same blocks but for the cross-attention, and one vector
for each position in place of rows and columns. Every kernel of diffusion can use it, because
classes that are read and classes that are predicted are counted apart.
"""

from dataclasses import asdict, dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.probability.checks import (
    Level,
    check_multiple,
    check_range,
    check_same_batch,
    check_sequences,
    check_sizes,
    one_level_each,
)
from vqlearn.transformer.denoiser import initialise
from vqlearn.transformer.layers import AdaptiveLayerNorm, Attention, FeedForward


@dataclass(frozen=True)
class SequenceConfig:
    """The sizes of the denoiser, and of what it reads and predicts.

    - `num_codes`: K, how many numbers come out for each position.
    - `num_classes`: how many different tokens are read; K + 1 where MASK exists.
    - `num_positions`: n, the tokens of one sequence.
    - `num_timesteps`: T, the number of noise levels.
    - `width`, `num_layers`, `num_heads`: the size; every head is `width / num_heads` wide.

    Raises `ValueError` for a size that no network can have.
    """

    num_codes: int
    num_classes: int
    num_positions: int
    num_timesteps: int
    width: int
    num_layers: int
    num_heads: int

    def __post_init__(self) -> None:
        check_sizes(asdict(self), num_codes=2, num_classes=2)
        check_multiple(self, "width", "num_heads")


class SequenceBlock(nn.Module):
    """`denoiser.Block` without cross-attention: self-attention and feed-forward, (b, n, d).

    `norm` is the first norm: an `AdaptiveLayerNorm` wants `level_index`, a layer norm does not.
    """

    def __init__(self, norm: nn.Module, width: int, num_heads: int):
        super().__init__()
        self.self_attention_norm = norm
        self.self_attention = Attention(num_heads, width // num_heads, width, bias=True)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(
        self, x: Float[Tensor, "b n d"], *level_index: Int[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        normed = self.self_attention_norm(x, *level_index)
        x = x + self.self_attention(normed, normed)
        return x + self.feed_forward(self.feed_forward_norm(x))


class SequenceDenoiser(nn.Module):
    r"""A transformer that predicts the clean tokens of a sequence: $p_\theta(x_0 \mid x_t)$.

    $$ h = \text{blocks}(\text{token}[x_t] + \text{position},\, t), \qquad
       \text{scores} = W\,\mathrm{LayerNorm}(h) + a $$

    The scores are unnormalised: $\log p_\theta(x_0 \mid x_t)$ is their log-softmax over the last
    axis. Every token attends to every other, left and right. Level t = 1..T uses row t - 1 of every
    timestep embedding. Fresh weights are those of `Denoiser`: a normal with standard deviation
    0.02, biases 0, norms the identity.

    Cost: O(n² d + n d²) for each layer.
    """

    reads_text = False

    def __init__(self, config: SequenceConfig):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.num_classes, config.width)
        self.position_embedding = nn.Embedding(config.num_positions, config.width)
        d, heads, levels = config.width, config.num_heads, config.num_timesteps
        self.blocks = nn.ModuleList(
            SequenceBlock(AdaptiveLayerNorm(levels, d), d, heads) for _ in range(config.num_layers)
        )
        self.output_norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_codes)
        self.apply(initialise)

    def forward(self, x_t: Int[Tensor, "b n"], t: Level) -> Float[Tensor, "b n k"]:
        """Scores of the K codes at each of the n positions, class axis last.

        `x_t` holds tokens 0..num_classes - 1, `t` one level 1..T, or one per sequence.

        Raises `ValueError` for a wrong n or batch size, and for tokens or levels outside their
        range. Ranges are checked on the CPU only: on an accelerator the check would wait for the
        device at every call.
        """
        config, t = self.config, one_level_each(t, x_t)
        check_sequences("x_t", x_t, config.num_positions, config.num_classes)
        check_same_batch(x_t=x_t, t=t)
        check_range("t", t, 1, config.num_timesteps)
        x = self.token_embedding(x_t) + self.position_embedding.weight  # (b, n, d) + (n, d)
        for block in self.blocks:
            x = block(x, t - 1)  # level t has row t - 1 of the embeddings
        return self.to_logits(self.output_norm(x))  # (b, n, d) -> (b, n, K)
