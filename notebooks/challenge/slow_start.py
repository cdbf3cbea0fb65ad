"""Few tokens in the first steps, which decide what lies where, and more in the last ones."""

from itertools import pairwise

import torch

NUM_CODES, NUM_POSITIONS, NUM_TIMESTEPS = 384, 64, 100
MASK = NUM_CODES
STEPS = 10


def unmask(network, num_images):
    """Tokens, (num_images, 64) int64; the network may be asked ten times."""
    x_t = torch.full((num_images, NUM_POSITIONS), MASK)
    order = torch.rand(x_t.shape).argsort(dim=1)  # (b, n): which position comes when
    counts = [0] + [max(1, round(NUM_POSITIONS * (i / STEPS) ** 2)) for i in range(1, STEPS + 1)]
    for first, last in pairwise(counts):
        t = max(1, round(NUM_TIMESTEPS * (1 - first / NUM_POSITIONS)))
        p = network(x_t, t).exp()  # (b, n, K): p(x_0 | x_t, caption)
        drawn = torch.multinomial(p.flatten(0, 1), num_samples=1).reshape(x_t.shape)
        revealed = order[:, first:last]
        x_t.scatter_(1, revealed, drawn.gather(1, revealed))
    return x_t
