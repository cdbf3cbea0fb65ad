"""What the tests of all networks of pixels share: sequences, and which tokens are seen."""

import torch

from vqlearn.autoregressive import model as raster


def fresh(kind, config, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config).double()


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def random_sequences(config, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.num_codes, (count, config.num_positions), generator=generator)


def seen_by(models, width):
    """Entry (i, j): position i depends on token j, in one or more of these networks."""
    seen = False
    for seed, model in enumerate(models):
        h = noise(model.config.num_positions, width, seed=seed)
        found = raster.dependence(lambda h, model=model: model.from_embedding(h[None])[0], h)
        seen = seen | found
    return seen
