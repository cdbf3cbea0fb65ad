"""Named exact worlds, each with one property that a sampler can get wrong."""

import torch
from einops import einsum

from vqlearn.diffusion.exact.world import ExactWorld


def one_token() -> ExactWorld:
    """A single token of three codes, (.7, .2, .1): nothing to be correlated with."""
    return ExactWorld(torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64))


def twins() -> ExactWorld:
    """Two tokens that are always equal: drawn in one step, each on its own, they may differ."""
    return ExactWorld(torch.eye(2, dtype=torch.float64) / 2)


def parity() -> ExactWorld:
    """Four bits with an even number of ones: any three are uniform, yet they decide the fourth."""
    table = torch.zeros(2, 2, 2, 2, dtype=torch.float64)
    for index in torch.cartesian_prod(*[torch.arange(2)] * 4):
        table[tuple(index)] = float(index.sum() % 2 == 0) / 8
    return ExactWorld(table)


def chain(repeats: float = 0.8) -> ExactWorld:
    """A Markov chain of four tokens of three codes; each repeats its left neighbour so often.

    If it does not, both other codes are equally likely.
    """
    other = (1 - repeats) / 2
    step = torch.full((3, 3), other, dtype=torch.float64)
    step.fill_diagonal_(repeats)
    first = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return ExactWorld(einsum(first, step, step, step, "a, a b, b c, c d -> a b c d"))


WORLDS = {"one_token": one_token, "twins": twins, "parity": parity, "chain": chain}
