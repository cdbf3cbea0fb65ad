"""A network that remembers what it has read (a "KV cache") need not read it again.

distribution = CachedDecoder(network, text)     # a `NextTokenLogProbs`, for one drawing
sample(distribution, x[:, :0], 64)             # one input in each call
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.autoregressive.writer import TokenWriter
from vqlearn.probability.log_probs import log_normalise
from vqlearn.transformer.layers import Attention, attend

KVCache = list[Tensor]
"""The KV cache of one layer: empty, or keys and values of all positions read, (b, heads, m,
d_head).

What comes later cannot change a key or a value, so none is ever computed again.
"""


class CachedAttention(Attention):
    """Attention in two parts: some positions are read into a past, other positions look at it.

    Self-attention reads and looks with the same positions. Cross-attention reads the other row
    once, before the first of its own positions looks.
    """

    def read(self, source: Float[Tensor, "b n c"], past: KVCache) -> None:
        """The past gets the keys and the values of n more positions."""
        new = (self._split_heads(linear(source)) for linear in (self.key, self.value))
        past[:] = (torch.cat(pair, dim=2) for pair in zip(past, new, strict=True)) if past else new

    def forward(
        self, x: Float[Tensor, "b n d"], past: KVCache, visible: Bool[Tensor, "n m"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """`visible[i, j]`: may position i look at position j of the m in the past? None: at all."""
        query = self._split_heads(self.query(x))  # (b, n, d) -> (b, heads, n, d_head)
        mixed = attend(query, *past, visible)
        return self.output(rearrange(mixed, "b heads n d_head -> b n (heads d_head)"))


def looking_back(new: int, before: int, device: torch.device) -> Bool[Tensor, "new m"]:
    """Each new position sees itself, the new ones left of it, and all `before` of them."""
    return torch.ones(new, before + new, dtype=torch.bool, device=device).tril(before)


class CachedDecoder:
    """The next distribution of a network that remembers what it has read: a `NextTokenLogProbs` for
    `raster.sample`.

    It reads what is given, l states, then one input in each call. Token i costs
    O((l + i) d + d²) for each layer, with `raster.without_cache` as much as a whole row. One reader
    serves one drawing, without gradients.

    Raises `ValueError` for a prefix out of turn (each is one token longer, the first is empty), for
    another batch size, or (on the CPU only) for other tokens than those that were read.
    """

    def __init__(self, network: TokenWriter, given: Tensor | None = None) -> None:
        self.network, self.given, self.turn = network, given, 0

    @torch.no_grad()
    def __call__(self, prefix: Int[Tensor, "b i"]) -> Float[Tensor, "b k"]:
        self._check(prefix)
        if self.turn == 0:
            self.memory = self.network.begin(len(prefix), self.given)
            inputs = self.network.start(len(prefix))
        else:
            inputs = self.network.embed_tokens(prefix[:, -1:])
        scores = self.network.read(inputs, self.turn, self.memory)  # (b, 1, K)
        self.turn, self.read = self.turn + 1, prefix
        return log_normalise(scores[:, 0])

    def _check(self, prefix: Tensor) -> None:
        count, length = prefix.shape
        if length != self.turn:
            raise ValueError(f"a prefix of {length} tokens; allowed: {self.turn}, as in its turn")
        if length == self.network.config.num_positions:
            raise ValueError(f"a prefix of {length} tokens; allowed: none, the row is complete")
        read = self.read if length else prefix
        if count != len(read):
            raise ValueError(f"a batch of {count} rows; allowed: {len(read)}, as before")
        if prefix.device.type == "cpu" and not torch.equal(prefix[:, :-1], read):
            raise ValueError("the prefix has other tokens than before; allowed: one more token")
