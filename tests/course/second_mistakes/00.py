"""Lesson 00: mistakes written a second time, from their descriptions alone."""

import itertools
import math

import einops
import numpy as np
import torch


def _with_grey(patches):
    grey = torch.full_like(patches[:1], 0.5)
    return torch.cat([patches, grey])


def paint_tokens__no_permute(tokens, patches, width):
    b, n = tokens.shape
    _, p, q, _ = patches.shape
    return _with_grey(patches)[tokens].view(b, 3, n // width * p, width * q)


def paint_tokens__patches_torn(tokens, patches, width):
    b, n = tokens.shape
    table = einops.rearrange(_with_grey(patches), "k p q c -> k c p q")
    _, _, p, q = table.shape
    found = torch.nn.functional.embedding(tokens, table.flatten(1))
    channels = found.view(b, n, 3, p * q).transpose(1, 2)
    return channels.reshape(b, 3, n // width * p, width * q)


def paint_tokens__columns_first(tokens, patches, width):
    b, n = tokens.shape
    num_codes, p, q, _ = patches.shape
    height = n // width
    images = torch.full((b, 3, height * p, width * q), 0.5, dtype=patches.dtype)
    for j in range(b):
        for i, token in enumerate(tokens[j].tolist()):
            if token == num_codes:
                continue
            column, row = divmod(i, height)
            top, left = row * p, column * q
            images[j, :, top : top + p, left : left + q] = patches[token].movedim(-1, 0)
    return images


def paint_tokens__patch_transposed(tokens, patches, width):
    rows = []
    for line in tokens.split(width, dim=1):  # one row of the grid, of all images
        tiles = [_with_grey(patches)[one].permute(0, 3, 2, 1) for one in line.T]
        rows.append(torch.cat(tiles, dim=-1))
    return torch.cat(rows, dim=-2)


def paint_tokens__mask_is_last_code(tokens, patches, width):
    known = tokens.clamp(max=len(patches) - 1)
    return einops.rearrange(patches[known], "b (h w) p q c -> b c (h p) (w q)", w=width)


def paint_tokens__mask_is_black(tokens, patches, width):
    colours = patches.numpy()
    k, p, q, _ = colours.shape
    which = tokens.numpy()
    images = np.zeros((len(which), which.shape[1] // width, p, width, q, 3))
    for code in range(k):
        sample, y, x = np.nonzero(which.reshape(len(which), -1, width) == code)
        images[sample, y, :, x] = colours[code]
    flat = images.reshape(len(which), -1, width * q, 3)
    return torch.from_numpy(flat).permute(0, 3, 1, 2)


def _two_or_more(n, q):
    return sum(math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(2, n + 1))


def several_at_once__all_still_masked(num_tokens, levels):
    result = []
    for t, s in itertools.pairwise(levels):
        result.append(_two_or_more(num_tokens, 1 - s / t))
    return result


def several_at_once__one_or_more(num_tokens, levels):
    times = torch.tensor(levels, dtype=torch.float64)
    unmasked = -times.diff() / times[0]
    nothing_happens = (1 - unmasked).pow(num_tokens)
    return 1 - nothing_happens


def several_at_once__one_of_them(num_tokens, levels):
    share = np.array(levels) / levels[0]
    q = share[:-1] - share[1:]
    none = (1 - q) ** num_tokens
    one = q * (1 - q) ** (num_tokens - 1)
    return 1 - none - one


def several_at_once__pairs_added(num_tokens, levels):
    total = levels[0]
    pairs = num_tokens * (num_tokens - 1) / 2
    return [pairs * ((a - b) / total) ** 2 for a, b in itertools.pairwise(levels)]


def several_at_once__mean_number(num_tokens, levels):
    result = []
    for place in range(1, len(levels)):
        mean = num_tokens * (levels[place - 1] - levels[place]) / levels[0]
        result.append(1.0 if mean >= 2 else 0.0)
    return torch.tensor(result)
