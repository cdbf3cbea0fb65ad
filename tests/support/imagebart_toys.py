"""What the tests of ImageBART share: small networks, captions, distributions by enumeration."""

import copy
from dataclasses import replace
from functools import lru_cache
from itertools import product

import pytest
import torch

from vqlearn.autoregressive.decoding import exact_distribution, without_cache
from vqlearn.autoregressive.imagebart import ImageBART, ImageBARTConfig
from vqlearn.autoregressive.model import log_likelihood
from vqlearn.diffusion.exact.world import all_states
from vqlearn.probability.model import Conditioning

TINY = ImageBARTConfig(
    num_codes=2,
    num_positions=3,
    num_scales=3,
    width=8,
    num_layers=1,
    num_heads=2,
)
THREE_CODES = replace(TINY, num_codes=3, num_positions=2, num_scales=2)
TINY_WITH_TEXT = replace(TINY, text_width=3, text_length=2)
TOYS = pytest.mark.parametrize(
    "config", [TINY, THREE_CODES, TINY_WITH_TEXT], ids=["K2 n3 T3", "K3 n2 T2", "text"]
)
SMALL = replace(TINY, num_codes=5, num_positions=6, num_layers=2)
WITH_TEXT = replace(SMALL, text_width=3, text_length=4)
BOTH = pytest.mark.parametrize("config", [SMALL, WITH_TEXT], ids=["plain", "text"])


def spread_weights(module, seed=0):
    """Large random weights everywhere, biases and norms included, so that no term is hidden."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(0.5 * noise + 0.1)
    return module


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def text_states(config, count=1, seed=0):
    """Text states for so many sequences; None for a network without text."""
    if config.text_width is None:
        return None
    size = (count, config.text_length, config.text_width)
    return torch.randn(size, generator=seeded(seed), dtype=torch.float64)


def captions(config, count=1, seed=0):
    """The same as a condition; with the null embedding of another seed."""
    if config.text_width is None:
        return None
    return Conditioning(text_states(config, count, seed), text_states(config, 1, 5))


@lru_cache
def taught(config):
    """Each step back learns a little to redraw 3 tokens in 10 and take the running maximum.

    With text: this for one caption, and for another one the running minimum.
    """
    said = [None] if config.text_width is None else [text_states(config, 1, i) for i in range(2)]
    model, generator = spread_weights(ImageBART(config), seed=1), seeded(0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x_t = all_states(config.num_codes, config.num_positions).repeat(4, 1)
    for _ in range(60):
        wrong = torch.randint(config.num_codes, x_t.shape, generator=generator)
        keep = torch.rand(x_t.shape, generator=generator) > 0.3
        redrawn = torch.where(keep, x_t, wrong)
        sequences = redrawn.cummax(dim=1).values, redrawn.cummin(dim=1).values
        loss = 0
        for text, x in zip(said, sequences, strict=False):
            y = None if text is None else Conditioning(text.float())
            for t in range(1, config.num_scales + 1):
                loss = loss - log_likelihood(model.log_probs(x, x_t, t, y), x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.double()


def toy(config):
    """A small chain far from noise; a position depends on $x_t$ and on the position before it."""
    return copy.deepcopy(taught(config))


def steps_back(model, seed=0):
    """p_t(x_{t-1} | x_t) as matrices, a row for each x_t, by `exact_distribution`; t = 1 first.

    With text: after the caption of this seed.
    """
    config = model.config
    states = all_states(config.num_codes, config.num_positions)

    def distribution(x_t, t):
        y = captions(config, 1, seed)
        slow = without_cache(lambda x: model.log_probs(x, x_t[None], t, y), config.num_positions)
        return exact_distribution(slow, config.num_codes, config.num_positions)

    with torch.no_grad():
        return [
            torch.stack([distribution(x_t, t) for x_t in states])
            for t in range(1, config.num_scales + 1)
        ]


def exact_p(model, seed=0):
    """p(x_0) of all sequences: a sum over every path x_T … x_1 x_0, one product each."""
    matrices = [matrix.tolist() for matrix in steps_back(model, seed)]
    count = len(matrices[0])
    p = [0.0] * count
    for path in product(range(count), repeat=len(matrices) + 1):  # x_0, x_1, … x_T
        weight = 1 / count
        for t, matrix in enumerate(matrices, start=1):
            weight *= matrix[path[t]][path[t - 1]]
        p[path[0]] += weight
    return torch.tensor(p, dtype=torch.float64)


def assert_follows(sequences, distribution, num_codes):
    """Counts within 5 sigma."""
    positions = num_codes ** torch.arange(sequences.shape[1] - 1, -1, -1)
    counts = torch.bincount((sequences * positions).sum(dim=1), minlength=len(distribution))
    sigma = (len(sequences) * distribution * (1 - distribution)).sqrt()
    assert ((counts - len(sequences) * distribution).abs() <= 5 * sigma).all()
