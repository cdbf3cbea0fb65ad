"""Named exact worlds, each with one property that a sampler can get wrong."""

import torch
from einops import einsum

from vqlearn.diffusion.exact.hidden_markov import MarkovWorld
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
    world = long_chain(4, repeats)
    step = world.step
    return ExactWorld(einsum(world.first, step, step, step, "a, a b, b c, c d -> a b c d"))


def long_chain(num_positions: int, repeats: float = 0.8) -> MarkovWorld:
    """The same chain with as many tokens as you like: too many to list, still exact."""
    step = torch.full((3, 3), (1 - repeats) / 2, dtype=torch.float64)
    step.fill_diagonal_(repeats)
    return MarkovWorld(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), step, num_positions)


def square(coupling: float = 1.0) -> ExactWorld:
    r"""Four bits on a grid of 2 x 2, numbered row by row; neighbours like to be equal.

    The Ising model: $p(x) \propto e^{c\,m}$, where m of the four pairs of neighbours are equal and
    c is the coupling, 0 for independent bits. Neighbours depend on each other more than bits at
    opposite corners do, and given two opposite corners the other two are independent.
    """
    equal = torch.eye(2, dtype=torch.float64)
    pair = (coupling * equal).exp()
    weights = einsum(pair, pair, pair, pair, "a b, a c, b d, c d -> a b c d")
    return ExactWorld(weights / weights.sum())


WORLDS = {
    "one_token": one_token,
    "twins": twins,
    "parity": parity,
    "chain": chain,
    "square": square,
}
"""Those that can be listed, by name."""
