r"""From vectors to tokens: a codebook, its training losses, and its training without gradients."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vqlearn.probability import at_least_float32
from vqlearn.probability.checks import check_sizes

DEAD_SHARE = 0.05  # of an equal share of all vectors


class Quantized(NamedTuple):
    """Encoder vectors replaced by their nearest codes.

    `vectors` are the codes, ready for a decoder (their gradient goes straight to the encoder);
    `indices` are the tokens; `inputs` are the encoder's vectors, without gradient, which
    `CodebookEMA` learns from.
    """

    vectors: Float[Tensor, "*batch d"]
    indices: Int[Tensor, "*batch"]
    inputs: Float[Tensor, "*batch d"]
    commitment_loss: Float[Tensor, ""]
    codebook_loss: Float[Tensor, ""]
    perplexity: Float[Tensor, ""]


class Quantizer(nn.Module):
    """A codebook of K vectors of d numbers, whose rows stand for the tokens 0..K - 1."""

    codebook: nn.Embedding

    def lookup(self, indices: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch d"]:
        """The code vector of each token.

        Raises `ValueError` for a token that is not in the codebook, such as MASK (index K).
        """
        num_codes = self.codebook.num_embeddings
        outside = indices[(indices < 0) | (indices >= num_codes)]
        if outside.numel():
            raise ValueError(f"a token is {int(outside[0])}; allowed: codes, 0 to {num_codes - 1}")
        return self.codebook(indices)

    def check_width(self, vectors: Float[Tensor, "*batch d"]) -> None:
        """Raise `ValueError` unless the vectors are as wide as the codes."""
        width, code_dim = vectors.shape[-1], self.codebook.embedding_dim
        if width != code_dim:
            raise ValueError(f"vectors have width {width}; allowed: {code_dim}, the codes'")


class VectorQuantizer(Quantizer):
    r"""The token of an encoder vector is the nearest of K learned vectors.

    $$k = \arg\min_j \lVert z - e_j \rVert^2, \qquad
      \lVert z - e_j \rVert^2 = \lVert z \rVert^2 - 2 z \cdot e_j + \lVert e_j \rVert^2$$

    (van den Oord et al. 2017). The codebook starts uniform in [-1/K, 1/K].

    Raises `ValueError` for a size below 1.
    """

    def __init__(self, num_codes: int, code_dim: int):
        super().__init__()
        check_sizes({"num_codes": num_codes, "code_dim": code_dim})
        self.codebook = nn.Embedding(num_codes, code_dim)
        nn.init.uniform_(self.codebook.weight, -1 / num_codes, 1 / num_codes)

    def encode(self, vectors: Float[Tensor, "*batch d"]) -> Int[Tensor, "*batch"]:
        """The token of each vector: the index of its nearest code, of equals the lowest.

        |z|^2 is the same for every code, so it is left out: the order does not change, and small
        differences between codes are not lost beside a large |z|^2. Distances are taken in float32
        or better, also under mixed precision. Cost: one number per vector and code (134 MB for
        8 images of 1024 tokens and 4096 codes in float32).

        Raises `ValueError` when the vectors are not as wide as the codes.
        """
        self.check_width(vectors)
        flat = rearrange(at_least_float32(vectors.detach()), "... d -> (...) d")  # (m, d)
        codes = self.codebook.weight.detach().to(flat.dtype)  # (k, d)
        with torch.autocast(vectors.device.type, enabled=False):
            distances = torch.addmm(codes.square().sum(1), flat, codes.T, alpha=-2)  # (m, k)
        return distances.argmin(1).view(vectors.shape[:-1])

    def forward(self, vectors: Float[Tensor, "*batch d"]) -> Quantized:
        r"""Replace vectors by their nearest codes, and measure the losses that pull both together.

        $$L_{\text{commit}} = \operatorname{mean} (z - \operatorname{sg}[e_k])^2, \qquad
          L_{\text{code}} = \operatorname{mean} (\operatorname{sg}[z] - e_k)^2$$

        (the last two terms of van den Oord et al. 2017, eq. 3; sg stops the gradient; here the
        mean is over all numbers). The first moves the encoder only, the second the codebook only;
        the weight (0.25 in the paper) belongs to the first. With `CodebookEMA` leave out the
        second. The nearest code has no derivative, so the gradient of `vectors` is handed to the
        input unchanged (the straight-through estimator).
        """
        indices = self.encode(vectors)
        codes = self.codebook(indices)  # (*batch) -> (*batch, d)
        inputs = vectors.detach()
        return Quantized(
            # z - sg[z] is zero in value and the identity in gradient.
            vectors=codes.detach() + (vectors - inputs),
            indices=indices,
            inputs=inputs,
            commitment_loss=(vectors - codes.detach()).square().mean(),
            codebook_loss=(inputs - codes).square().mean(),
            perplexity=perplexity(indices, self.codebook.num_embeddings),
        )


def perplexity(indices: Int[Tensor, "*batch"], num_codes: int) -> Float[Tensor, ""]:
    r"""The number of codes in use, counted as if all of them were used equally often.

    $$\exp\Bigl(-\sum_k p_k \log p_k\Bigr), \qquad 0 \log 0 = 0$$

    K when every code is used equally, 1 when only one is.
    """
    counts = torch.bincount(indices.flatten(), minlength=num_codes)
    return torch.special.entr(counts / counts.sum()).sum().exp()


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


class CodebookEMA(nn.Module):
    r"""A codebook that follows its vectors without a gradient, as k-means does.

    Each code is the running mean of the vectors that chose it:

    $$N_k \leftarrow \gamma N_k + (1-\gamma)\, n_k, \qquad
      m_k \leftarrow \gamma m_k + (1-\gamma) \sum_{z \in k} z, \qquad e_k = m_k / \tilde N_k$$

    (van den Oord et al. 2017, appendix A.1), with Laplace smoothing as in
    DeepMind's code of VQ-VAE, so that a code which nobody chooses does not divide by zero:

    $$\tilde N_k = \frac{N_k + \epsilon}{\sum_j N_j + K \epsilon} \sum_j N_j$$

    It is kept apart from the quantizer: a model's weights stay exactly what its files hold, and
    `state_dict()` here holds the running counts and sums, all that is needed to resume training.
    Making one takes the codebook away from the optimizer (`requires_grad` becomes False).

    `reduce` returns the sum of a tensor over all processes (with accelerate:
    `lambda x: accelerator.reduce(x, "sum")`); then every process keeps the same codebook. Make
    this object after the model is on its device.

    Raises `ValueError` when decay is not in [0, 1).
    """

    def __init__(
        self,
        quantizer: VectorQuantizer,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        reduce: Callable[[Tensor], Tensor] = _unchanged,
    ):
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; allowed: 0 or more, below 1")
        codes = quantizer.codebook.weight.requires_grad_(False)
        self.decay, self.epsilon, self.reduce = decay, epsilon, reduce
        self.register_buffer("counts", codes.new_ones(codes.shape[0]))
        self.register_buffer("sums", codes.detach().clone())

    @torch.no_grad()
    def update(self, quantizer: VectorQuantizer, quantized: Quantized) -> None:
        """Move every code towards the mean of the vectors that chose it in this batch.

        Vectors that are not finite do not count. Cost: one pass over the vectors.
        """
        vectors, indices = _finite_vectors(quantized, self.sums)  # (m, d), (m)
        counts = torch.bincount(indices, minlength=len(self.counts)).to(self.counts)  # (k)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, vectors)  # (k, d)
        # Counts and sums are averaged apart, and divided at the end: so a batch in which a code is
        # chosen often counts more than one in which it is chosen once.
        self.counts.lerp_(self.reduce(counts), 1 - self.decay)
        self.sums.lerp_(self.reduce(sums), 1 - self.decay)
        # Smoothing gives every code a little of the total, so none is divided by zero; scaled back
        # by the total, the counts of busy codes hardly change.
        total = self.counts.sum()
        share = (self.counts + self.epsilon) / (total + len(self.counts) * self.epsilon)
        quantizer.codebook.weight.copy_(self.sums / (share * total)[:, None])

    @torch.no_grad()
    def revive_dead_codes(
        self,
        quantizer: VectorQuantizer,
        quantized: Quantized,
        apart: float = 0.0,
        contribute: bool = True,
        *,
        generator: torch.Generator | None = None,
    ) -> int:
        r"""Move codes that are of no use to vectors that lack a good one; return how many moved.

        A code is dead when its running count is below a twentieth of an equal share of all
        counts, or when a code with a larger count lies nearer than `apart`: both then stand for
        the same thing, and it is arbitrary which of them a vector gets. So is one that is not
        finite: it is the nearest to no vector, or to all. A dead code is moved onto
        an encoder vector of this batch, drawn with probability proportional to its squared error
        $\lVert z - e_k \rVert^2$ (the seeding of k-means++, Arthur and Vassilvitskii 2007), so
        vectors that have a good code already attract none. Its count is set to that least one: if
        no vector chooses it before the next call, it moves again. Call it now and then, after
        `update`, in training only.

        Several processes: all must call it; the running counts, so the dead codes, are the same
        everywhere. Pass `contribute=True` in exactly one process: the others add zeros to
        `reduce`, so all receive that process's candidates.

        Raises `ValueError` if a code is dead and none of the vectors is finite.
        """
        least = DEAD_SHARE * self.counts.mean()
        codes = quantizer.codebook.weight
        dead = (self.counts < least) | _has_a_more_used_neighbour(codes, self.counts, apart)
        dead |= ~codes.isfinite().all(1)
        dead = dead.nonzero().flatten()  # (number of dead codes)
        if not len(dead):
            return 0
        candidates = self.sums.new_zeros(len(dead), self.sums.shape[1])
        if contribute:
            vectors, indices = _finite_vectors(quantized, self.sums)  # (m, d), (m)
            if not len(vectors):
                raise ValueError("no vector of the batch is finite; allowed: some that are")
            errors = (vectors - codes[indices]).square().sum(1)
            # A vector whose code is not finite has no code at all: all of these lack one alike.
            order = _weighted_order(torch.where(errors.isfinite(), errors, 1.0), generator)
            # More dead codes than vectors: begin again at the first of the order.
            candidates = vectors[order[torch.arange(len(dead)) % len(order)]]
        candidates = self.reduce(candidates)
        codes[dead] = candidates.to(codes)
        # As if this vector had been seen `least` times: the next mean starts from here.
        self.sums[dead] = candidates * least
        self.counts[dead] = least
        return len(dead)


def _finite_vectors(
    quantized: Quantized, like: Tensor
) -> tuple[Float[Tensor, "m d"], Int[Tensor, " m"]]:
    """The encoder's vectors that are finite, in the dtype of `like`, and their tokens."""
    vectors = rearrange(quantized.inputs, "... d -> (...) d").to(like)
    finite = vectors.isfinite().all(1)
    return vectors[finite], quantized.indices.flatten()[finite]


def _has_a_more_used_neighbour(
    codes: Float[Tensor, "k d"], counts: Float[Tensor, " k"], apart: float
) -> Bool[Tensor, " k"]:
    # In the order of falling counts every row's busier codes stand to the left of the diagonal.
    order = counts.argsort(descending=True, stable=True)
    near = (torch.cdist(codes[order], codes[order]) < apart).tril(-1).any(1)
    return torch.zeros_like(near).index_copy(0, order, near)


def _weighted_order(
    weights: Float[Tensor, " m"], generator: torch.Generator | None
) -> Int[Tensor, " m"]:
    """A random order: one after the other is drawn in proportion to the weights that are left.

    The order of exponential waiting times with these weights as rates. Weight 0 comes last.
    """
    device = generator.device if generator is not None else "cpu"
    times = torch.empty(len(weights), device=device).exponential_(generator=generator)
    return (times.to(weights.device) / weights).argsort()
