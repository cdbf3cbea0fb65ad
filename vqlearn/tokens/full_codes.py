"""Tokens that stand for the used codes of a quantizer with more of them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.probability.checks import check_integer
from vqlearn.tokens.quantizer import Quantizer

UNUSED = 0  # the token of every code that has none of its own


class FullCodes(nn.Module):
    """A quantizer with all of its codes, and the list of those that are used.

    The denoisers of several released models know a few of their tokenizer's codes only: those that
    their training images used. Token k stands for the full code `used_codes[k]`. Token 0 stands for
    every code that is not used, and is decoded as full code 0.

    Raises `ValueError` for fewer full codes than used ones.
    """

    used_codes: Int[Tensor, " k"]

    def __init__(self, quantizer: Quantizer, num_used: int):
        super().__init__()
        check_integer("num_used", num_used, 1, quantizer.codebook.num_embeddings)
        self.quantizer = quantizer
        self.register_buffer("used_codes", torch.arange(num_used))

    def encode(self, vectors: Float[Tensor, "*batch d"]) -> Int[Tensor, "*batch"]:
        """The token of each vector: that of its full code, or 0 if that is not used."""
        return self.to_tokens(self.quantizer.encode(vectors))

    def to_tokens(self, full_codes: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The token of each full code."""
        tokens = self.used_codes.new_full((self.quantizer.codebook.num_embeddings,), UNUSED)
        tokens[self.used_codes] = torch.arange(len(self.used_codes)).to(tokens)
        return tokens[full_codes]


def check_used_codes(used_codes: Int[Tensor, " k"], num_full_codes: int) -> None:
    """Raise `ValueError` unless these are full codes in ascending order, from code 0 on."""
    first, last = used_codes[0].item(), used_codes[-1].item()
    if first != 0 or last >= num_full_codes or (used_codes.diff() <= 0).any():
        raise ValueError(
            f"used_codes go from {first} to {last}; allowed: 0 and then ascending codes, "
            f"up to {num_full_codes - 1}"
        )
