"""The information profile of an exact world: its conditional entropies, by enumeration."""

from itertools import combinations

import torch

from vqlearn.diffusion.exact.world import ExactWorld
from vqlearn.diffusion.reveal.profile import InformationProfile


def exact_profile(world: ExactWorld) -> InformationProfile:
    r"""h(m) of `reveal.profile.InformationProfile` without error: the true entropies.

    With $H_m$ the mean entropy of m tokens, over all sets of m positions, $h(m) = H_{m+1} - H_m$:
    every pair of a set and one more position is as frequent as every larger set. Costs $2^n$ sums
    over the table of the world.
    """
    n = world.num_positions
    table = world.distribution.reshape((world.num_codes,) * n)
    means = []
    for m in range(n + 1):
        hidden = combinations(range(n), n - m)
        # A sum over no axis would be one over all of them.
        marginals = [table.sum(dim=axes) if axes else table for axes in hidden]
        entropies = torch.stack([torch.special.entr(p).sum() for p in marginals])
        means.append(entropies.mean())
    nats = torch.stack(means).diff()
    return InformationProfile(nats, torch.zeros_like(nats))
