"""Lesson 09: mistakes written a second time, from their descriptions alone."""

import math

import numpy as np
import torch
from torch.nn import functional


def padded_bits__not_shifted(logits, x, lengths):
    result = []
    for scores, tokens, length in zip(logits, x, lengths.tolist(), strict=True):
        log_probs = scores.log_softmax(-1)
        nll = -sum(log_probs[i + 1, tokens[i]] for i in range(length))
        result.append(nll / length / math.log(2))
    return torch.stack(result)


def padded_bits__first_missing(logits, x, lengths):
    inner, wanted = logits[:, 1:-1], x[:, 1:]
    nll = functional.cross_entropy(inner.transpose(1, 2), wanted, reduction="none")
    real = torch.arange(1, x.shape[1]) < lengths[:, None]
    return (nll * real).sum(1) / real.sum(1) / math.log(2)


def padded_bits__nats(logits, x, lengths):
    result = torch.zeros(len(x), dtype=logits.dtype)
    for j, length in enumerate(lengths.tolist()):
        result[j] = functional.cross_entropy(logits[j, :length], x[j, :length])
    return result


def padded_bits__padding_counted(logits, x, lengths):
    tokens = torch.distributions.Categorical(logits=logits[:, :-1])
    return -tokens.log_prob(x).mean(1) / math.log(2)


def padded_bits__divided_by_n(logits, x, lengths):
    log_probs = torch.log2(logits.softmax(-1))
    picked = log_probs[:, :-1].gather(2, x.unsqueeze(2)).squeeze(2)
    for j in range(len(x)):
        picked[j, lengths[j] :] = 0
    return -picked.mean(dim=1)


def padded_bits__not_normalised(logits, x, lengths):
    scores = logits.numpy()
    bits = []
    for j, row in enumerate(x.tolist()):
        length = int(lengths[j])
        bits.append(-sum(scores[j, i, row[i]] for i in range(length)) / length / np.log(2))
    return bits


def _colour(channel, channels, colours):
    return channel // (channels // colours)


def _allowed_at_centre(kind, out, inputs, colours):
    """(out, inputs), right."""
    mine = torch.arange(colours).repeat_interleave(out // colours)[:, None]
    theirs = torch.arange(colours).repeat_interleave(inputs // colours)[None, :]
    return theirs < mine if kind == "A" else theirs <= mine


def _before_centre(height, width):
    """(height, width), right."""
    order = torch.arange(height * width).reshape(height, width)
    return order < order[height // 2, width // 2]


def colour_mask__always_b(kind, out, inputs, colours, height, width):
    mask = torch.zeros(out, inputs, height, width)
    mask[:, :, : height // 2] = 1
    mask[:, :, height // 2, : width // 2] = 1
    for o in range(out):
        for i in range(inputs):
            if _colour(i, inputs, colours) <= _colour(o, out, colours):
                mask[o, i, height // 2, width // 2] = 1
    return mask


def colour_mask__colours_reversed(kind, out, inputs, colours, height, width):
    mask = _before_centre(height, width).repeat(out, inputs, 1, 1)
    blocks = torch.ones(colours, colours).triu(1 if kind == "A" else 0)
    centre = torch.kron(blocks, torch.ones(out // colours, inputs // colours))
    mask[:, :, height // 2, width // 2] = centre.bool()
    return mask


def colour_mask__interleaved(kind, out, inputs, colours, height, width):
    mask = np.zeros((out, inputs, height, width), dtype=int)
    cy, cx = height // 2, width // 2
    for o, i, y, x in np.ndindex(mask.shape):
        known = i % colours < o % colours or (kind == "B" and i % colours == o % colours)
        mask[o, i, y, x] = (y, x) < (cy, cx) or ((y, x) == (cy, cx) and known)
    return torch.from_numpy(mask)


def colour_mask__colours_ignored(kind, out, inputs, colours, height, width):
    ones = height // 2 * width + width // 2 + (kind == "B")
    flat = [1.0] * ones + [0.0] * (height * width - ones)
    return torch.tensor(flat).reshape(height, width).expand(out, inputs, height, width)


def colour_mask__colours_everywhere(kind, out, inputs, colours, height, width):
    pixels = _before_centre(height, width)
    pixels[height // 2, width // 2] = True
    channels = _allowed_at_centre(kind, out, inputs, colours)
    return torch.einsum("oi,hw->oihw", channels.int(), pixels.int())


def colour_mask__row_open(kind, out, inputs, colours, height, width):
    mask = torch.zeros(out, inputs, height, width)
    mask[:, :, : height // 2 + 1, :] = 1
    mask[:, :, height // 2, width // 2] = _allowed_at_centre(kind, out, inputs, colours).float()
    return mask


def colour_mask__columns_first(kind, out, inputs, colours, height, width):
    mask = torch.zeros(out, inputs, height, width)
    mask[..., : width // 2] = 1
    mask[..., : height // 2, width // 2] = 1
    for o in range(out):
        first_unknown = _colour(o, out, colours) + (kind == "B")
        mask[o, : first_unknown * (inputs // colours), height // 2, width // 2] = 1
    return mask


def _log_mass(low, high):
    """log(sigmoid(high) - sigmoid(low)) in another way: everything mirrored to the left tail."""
    swap = low > 0
    low, high = torch.where(swap, -high, low), torch.where(swap, -low, high)
    upper, lower = functional.logsigmoid(high), functional.logsigmoid(low)
    return upper + torch.log(-torch.expm1(lower - upper))


def _ends(first, last, means, log_scales, num_values, half=0.5):
    """Low and high, right for a half of 0.5."""
    first, last = first.unsqueeze(1), last.unsqueeze(1)
    scales = log_scales.exp()
    low = ((first - half - means) / scales).masked_fill(first == 0, -torch.inf)
    high = ((last + half - means) / scales).masked_fill(last == num_values - 1, torch.inf)
    return low, high


def log_range_mass__no_tails(first, last, logits, means, log_scales, num_values):
    scales = torch.exp(log_scales)
    low = (first[:, None] - 0.5 - means) / scales
    high = (last[:, None] + 0.5 - means) / scales
    return torch.logsumexp(logits.log_softmax(1) + _log_mass(low, high), dim=1)


def log_range_mass__subtracted(first, last, logits, means, log_scales, num_values):
    result = torch.zeros(len(first), dtype=torch.float64)
    weights = logits.softmax(-1)
    for j in range(len(first)):
        for m in range(logits.shape[1]):
            scale = math.exp(log_scales[j, m])
            below, above = torch.zeros(()), torch.ones(())
            if first[j] > 0:
                below = torch.sigmoid((first[j] - 0.5 - means[j, m]) / scale)
            if last[j] < num_values - 1:
                above = torch.sigmoid((last[j] + 0.5 - means[j, m]) / scale)
            result[j] += weights[j, m] * (above - below)
    return result.log()


def log_range_mass__clamped(first, last, logits, means, log_scales, num_values):
    low, high = _ends(first, last, means, log_scales, num_values)
    cdf_low, cdf_high = 1 / (1 + torch.exp(-low)), 1 / (1 + torch.exp(-high))
    mixture = (torch.softmax(logits, 1) * (cdf_high - cdf_low)).sum(1)
    return torch.log(torch.maximum(mixture, torch.tensor(1e-12, dtype=mixture.dtype)))


def log_range_mass__mean_of_logs(first, last, logits, means, log_scales, num_values):
    log_mass = _log_mass(*_ends(first, last, means, log_scales, num_values))
    return torch.einsum("bm,bm->b", logits.softmax(1), log_mass)


def log_range_mass__weights_not_normalised(first, last, logits, means, log_scales, num_values):
    log_mass = _log_mass(*_ends(first, last, means, log_scales, num_values))
    result = log_mass[:, 0] + logits[:, 0]
    for m in range(1, logits.shape[1]):
        result = torch.logaddexp(result, log_mass[:, m] + logits[:, m])
    return result


def log_range_mass__half_missing(first, last, logits, means, log_scales, num_values):
    low, high = _ends(first, last, means, log_scales, num_values, half=0)
    return (torch.log_softmax(logits, 1) + _log_mass(low, high)).logsumexp(1)


def log_range_mass__scale_inverted(first, last, logits, means, log_scales, num_values):
    low, high = _ends(first, last, means, -log_scales, num_values)
    joint = logits - logits.logsumexp(1, keepdim=True) + _log_mass(low, high)
    largest = joint.max(1, keepdim=True).values
    return largest.squeeze(1) + (joint - largest).exp().sum(1).log()
