"""Lesson 00: other right solutions, as students could hand them in."""

import itertools
import math

import numpy as np
import torch
from torch.nn import functional


def paint_tokens__pixel_by_pixel(tokens, patches, width):
    b, n = tokens.shape
    num_codes, p, q, _ = patches.shape
    images = torch.empty(b, 3, n // width * p, width * q, dtype=patches.dtype)
    for i in range(b):
        for row in range(images.shape[2]):
            for column in range(images.shape[3]):
                token = tokens[i, width * (row // p) + column // q]
                known = token < num_codes
                images[i, :, row, column] = patches[token, row % p, column % q] if known else 0.5
    return images


def paint_tokens__by_fold(tokens, patches, width):
    """A patch is a column of `fold`, which puts patches side by side."""
    num_codes, p, q, _ = patches.shape
    channels_first = patches.permute(0, 3, 1, 2).reshape(num_codes, 3 * p * q)
    table = functional.pad(channels_first, (0, 0, 0, 1), value=0.5)
    columns = functional.one_hot(tokens, num_codes + 1).to(table.dtype) @ table
    size = (tokens.shape[1] // width * p, width * q)
    return functional.fold(columns.mT, size, kernel_size=(p, q), stride=(p, q))


def paint_tokens__numpy_blocks(tokens, patches, width):
    pieces = [*patches.numpy().transpose(0, 3, 1, 2)]
    pieces.append(np.full_like(pieces[0], 0.5))
    grids = tokens.numpy().reshape(len(tokens), -1, width)
    return np.stack([np.block([[pieces[k] for k in row] for row in grid]) for grid in grids])


def several_at_once__float32(num_tokens, levels):
    levels = torch.tensor(levels)
    q = (levels[:-1] - levels[1:]) / levels[0]
    return 1 - (1 - q) ** num_tokens - num_tokens * q * (1 - q) ** (num_tokens - 1)


def several_at_once__chain_of_counts(num_tokens, levels):
    """The distribution of the number that is masked, from step to step."""
    counts = np.zeros(num_tokens + 1)
    counts[num_tokens] = 1
    result = []
    for t, s in itertools.pairwise(levels):
        keep = s / t
        after, several = np.zeros_like(counts), 0.0
        for masked, p in enumerate(counts):
            for left in range(masked + 1):
                share = math.comb(masked, left) * keep**left * (1 - keep) ** (masked - left)
                after[left] += p * share
                several += p * share * (masked - left >= 2)
        counts = after
        result.append(several)
    return result


def several_at_once__binomial(num_tokens, levels):
    times = torch.tensor(levels, dtype=torch.float64)
    share = -times.diff() / times[0]
    counts = torch.arange(num_tokens + 1, dtype=torch.float64)
    log_probs = torch.distributions.Binomial(num_tokens, share[:, None]).log_prob(counts)
    return log_probs[:, 2:].exp().sum(1)
