r"""ImageBART: a short diffusion whose every step back is an autoregressive model.

A step back of `diffusion/` draws all tokens at once, none sees the others, so it must be small.
Here a step draws token after token, so it can be large: there are only 2 to 5. Each has a network
of its own, called a scale. Scale t reads the whole noisy row $x_t$, left and right, and writes
the row $x_{t-1}$ in raster order:

$$ p_t(x_{t-1} \mid x_t) = \prod_i p_t(x_{t-1}^i \mid x_{t-1}^{<i}, x_t) $$

Source: Esser et al. 2021, "ImageBART: Bidirectional Context with Multinomial Diffusion for
Autoregressive Image Synthesis". There the picture is $x_0$ and its tokens are $x_1$; here $x_0$
is the row of tokens, as everywhere in this package. Tests: tests/test_imagebart.py.
"""

from dataclasses import asdict, dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive import raster
from vqlearn.diffusion.logmath import kl_divergence, log_normalise
from vqlearn.diffusion.objective import prior_term
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.randomness import Generators, finest_float
from vqlearn.diffusion.sampler import draw
from vqlearn.diffusion.schedule import build_schedule, multinomial
from vqlearn.transformer.checks import check_multiple, check_rows, check_sizes
from vqlearn.transformer.denoiser import initialise
from vqlearn.transformer.layers import Attention, FeedForward


@dataclass(frozen=True)
class ImageBARTConfig:
    """How many scales, and how large is the network of each?

    - `num_codes`: K, the codes of one token; noise is made of the same codes.
    - `num_positions`: n, the tokens of one row.
    - `num_scales`: T, from 2 to 5. With one scale $x_1$ would be noise that tells nothing.
    - `width`, `num_layers`, `num_heads`: the size; encoder and decoder have `num_layers` blocks.

    Raises `ValueError` for a size that no network can have. Test: `test_config_is_validated`.
    """

    num_codes: int
    num_positions: int
    num_scales: int
    width: int
    num_layers: int
    num_heads: int

    def __post_init__(self) -> None:
        check_sizes(asdict(self), num_codes=2)
        if not 2 <= self.num_scales <= 5:
            raise ValueError(f"num_scales is {self.num_scales}; allowed: 2 to 5")
        check_multiple(self, "width", "num_heads")


class CausalAttention(Attention):
    """Self-attention that looks at the place itself and at earlier places only."""

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        maps = (self.query, self.key, self.value)
        query, key, value = (self._split_heads(linear(x)) for linear in maps)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.output(rearrange(mixed, "b heads n d_head -> b n (heads d_head)"))


class EncoderBlock(nn.Module):
    """One round of looking at all places of the noisy row, and thinking: (b, n, d) in and out."""

    def __init__(self, config: ImageBARTConfig):
        super().__init__()
        width, heads = config.width, config.num_heads
        self.self_attention_norm = nn.LayerNorm(width)
        self.self_attention = Attention(heads, width // heads, width, bias=True)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        normed = self.self_attention_norm(x)
        x = x + self.self_attention(normed, normed)
        return x + self.feed_forward(self.feed_forward_norm(x))


class DecoderBlock(EncoderBlock):
    """Look at what is written so far, look at the whole noisy row, and think."""

    def __init__(self, config: ImageBARTConfig):
        super().__init__(config)
        width, heads = config.width, config.num_heads
        self.self_attention = CausalAttention(heads, width // heads, width, bias=True)
        self.cross_attention_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(heads, width // heads, width, bias=True)

    def forward(
        self, x: Float[Tensor, "b n d"], encoded: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b n d"]:
        x = x + self.self_attention(self.self_attention_norm(x))
        x = x + self.cross_attention(self.cross_attention_norm(x), encoded)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Scale(nn.Module):
    r"""One step back: which row $x_{t-1}$ was there, before it became the noisy row $x_t$?

    The encoder reads $x_t$, where every place looks at every other. The decoder writes $x_{t-1}$:
    place i reads the token of place i - 1 (the first one a start vector), looks at earlier places
    only, and at all that the encoder found. Both use the same vectors for codes and places.

    Fresh weights are those of `Denoiser`. Cost: O(n² d + n d²) for each layer. Test:
    `test_the_decoder_sees_all_of_x_t_and_only_earlier_places_of_its_own_row`.
    """

    def __init__(self, config: ImageBARTConfig):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.num_codes, config.width)
        self.position_embedding = nn.Embedding(config.num_positions, config.width)
        self.start_embedding = nn.Embedding(1, config.width)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.num_layers))
        self.encoder_norm = nn.LayerNorm(config.width)
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))
        self.decoder_norm = nn.LayerNorm(config.width)
        self.to_logits = nn.Linear(config.width, config.num_codes)
        self.apply(initialise)

    def embed(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The vectors of the tokens of a row, $x_t$ or $x_{t-1}$, without their places.

        Raises `ValueError` for rows of another length, and (on the CPU only: a GPU would have to
        wait) for tokens outside 0..K - 1. Test: `test_bad_rows_raise`.
        """
        check_rows("x", x, self.config.num_positions, self.config.num_codes)
        return self.token_embedding(x)

    def encode(self, h_t: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """From the embedded $x_t$ to all that the decoder may know of it."""
        x = h_t + self.position_embedding.weight  # (b, n, d) + (n, d)
        for block in self.encoder:
            x = block(x)
        return self.encoder_norm(x)

    def from_embedding(
        self, h: Float[Tensor, "b n d"], encoded: Float[Tensor, "#b n d"]
    ) -> Float[Tensor, "b n k"]:
        """From the embedded $x_{t-1}$ to scores; place i does not depend on h[:, i:].

        One encoded row serves any number of rows $x_{t-1}$.
        """
        encoded = encoded.expand(len(h), -1, -1)
        start = self.start_embedding.weight.expand(len(h), 1, -1)
        x = torch.cat([start, h[:, :-1]], dim=1)  # (b, n, d): one place to the right
        x = x + self.position_embedding.weight  # (b, n, d) + (n, d)
        for block in self.decoder:
            x = block(x, encoded)
        return self.to_logits(self.decoder_norm(x))  # (b, n, d) -> (b, n, K)

    def forward(self, x: Int[Tensor, "b n"], x_t: Int[Tensor, "b n"]) -> Float[Tensor, "b n k"]:
        r"""Scores of $p_t(x_{t-1}^i \mid x_{t-1}^{<i}, x_t)$ at every place i; x is $x_{t-1}$."""
        return self.from_embedding(self.embed(x), self.encode(self.embed(x_t)))


class ImageBART(nn.Module):
    r"""How likely is a row that 2 to 5 autoregressive models make out of noise, one by one?

    $$ p(x_0) = \sum_{x_1 \ldots x_T} p(x_T) \prod_{t=1}^{T} p_t(x_{t-1} \mid x_t) $$

    `process` is `schedule.multinomial`: at level t the share t/T of all tokens is drawn anew.
    """

    def __init__(self, config: ImageBARTConfig):
        super().__init__()
        self.config = config
        schedule = build_schedule(multinomial(config.num_codes, config.num_scales))
        self.process = MaskAndReplace(schedule)
        self.scales = nn.ModuleList(Scale(config) for _ in range(config.num_scales))

    def conditionals(self, x_t: Int[Tensor, "b n"], t: int) -> raster.Conditionals:
        r"""$\log p_t(x_{t-1}^i \mid x_{t-1}^{<i}, x_t)$, as the functions of `raster` ask for it.

        The encoder runs once. Raises `ValueError` for a level outside 1..T.
        """
        if not 1 <= t <= self.config.num_scales:
            raise ValueError(f"level t is {t}; allowed: 1 to {self.config.num_scales}")
        scale = self.scales[t - 1]
        encoded = scale.encode(scale.embed(x_t))
        return lambda x: log_normalise(scale.from_embedding(scale.embed(x), encoded))

    def term(
        self, x_0: Int[Tensor, "b n"], t: int, *, generator: Generators = None
    ) -> Float[Tensor, " b"]:
        r"""The share of scale t in the bound: nats for each row, an unbiased estimate.

        It is $E_{x_t} KL(q \,\|\, p)$ with $q(x) = q(x_{t-1} = x \mid x_t, x_0)$ and
        $p(x) = p_t(x_{t-1} = x \mid x_t)$. The places of q are independent,
        $q(x) = \prod_i q_i(x^i)$, and p is a product along the row, so

        $$ KL(q \,\|\, p) = E_{x \sim q} \sum_i \log \frac{q_i(x^i)}{p_i(x^i \mid x^{<i})}
           = \sum_i E_{x^{<i} \sim q} \sum_k q_i(k) \log \frac{q_i(k)}{p_i(k \mid x^{<i})}, $$

        because $x^i$ has the law $q_i$ whatever $x^{<i}$ is. The inner sum is taken exactly, over
        all K codes. Only $x_t$ and one x are drawn: their laws hold no weights, so gradients are
        unbiased too. At t = 1 all of q is on $x_0$, and the term is $-\log p_1(x_0 \mid x_1)$.

        One call of scale t, so each can be trained alone. Raises `ValueError` for a t outside
        1..T. Test: `test_the_bound_is_the_exact_one_on_average`.
        """
        x_t = self.process.corrupt(x_0, t, generator=generator)
        conditionals = self.conditionals(x_t, t)
        log_q = self.process.log_posterior(x_0, x_t, t - 1, t, dtype=finest_float(x_0.device))
        log_p = conditionals(draw(log_q, generator=generator))
        log_q = log_q[..., : self.config.num_codes].to(log_p.dtype)  # MASK cannot be
        return kl_divergence(log_q, log_p).sum(dim=1)

    def bound(
        self, x_0: Int[Tensor, "b n"], *, generator: Generators = None
    ) -> Float[Tensor, " b"]:
        r"""At most how surprising is each row? Nats for each row, prior included.

        One estimate can be below $-\log p(x_0)$, their mean never is. The lowest mean over all the
        data is the entropy of the data, whatever T is: the true step back is a law over whole
        rows, and a product along the row can be any law. Independent tokens cannot.
        One call of each scale. Test: `test_rows_are_learnt_almost_to_their_entropy`.
        """
        nats = prior_term(self.process, x_0).sum(dim=1)
        for t in range(1, self.config.num_scales + 1):
            nats = nats + self.term(x_0, t, generator=generator)
        return nats

    @torch.no_grad()
    def sample(self, shape: tuple[int, int], *, generator: Generators = None) -> Int[Tensor, "b n"]:
        """Draw b rows of n tokens: noise first, then each scale from T to 1, token by token.

        Costs T n calls of a decoder and T of an encoder. Raises `ValueError` for another n than
        that of the config. Test: `test_samples_follow_the_exact_law`.
        """
        x = draw(self.process.log_prior().expand(*shape, -1), generator=generator)
        x = x.to(self.scales[0].to_logits.weight.device)
        for t in range(self.config.num_scales, 0, -1):
            next_law = raster.reread(self.conditionals(x, t), shape[1])
            x = raster.sample(next_law, x[:, :0], shape[1], generator=generator)
        return x
