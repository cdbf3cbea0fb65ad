"""Lesson 09: other right solutions, as students could hand them in."""

import math

import numpy as np
import torch
from torch.nn import functional


def padded_bits__ignored_index(logits, x, lengths):
    wanted = x.clone()
    wanted[torch.arange(x.shape[1])[None] >= lengths[:, None]] = -100
    nll = functional.cross_entropy(logits[:, :-1].mT, wanted, reduction="none")
    return nll.sum(1) / lengths / math.log(2)


def padded_bits__products_of_probabilities(logits, x, lengths):
    """The chain rule as it stands, with plain Python numbers."""
    bits = []
    for scores, tokens, length in zip(logits.tolist(), x.tolist(), lengths.tolist(), strict=True):
        probability = 1.0
        for row, token in zip(scores[:length], tokens[:length], strict=True):
            largest = max(row)
            weights = [math.exp(score - largest) for score in row]
            probability *= weights[token] / sum(weights)
        bits.append(-math.log2(probability) / length)
    return bits


def padded_bits__float32_nested(logits, x, lengths):
    tokens = torch.distributions.Categorical(logits=logits[:, :-1].float())
    nll = -tokens.log_prob(x)
    pieces = [row[:length].mean() for row, length in zip(nll, lengths, strict=True)]
    return torch.stack(pieces) / np.log(2)


def colour_mask__every_weight(kind, out, inputs, colours, height, width):
    def moment(row, column, colour):
        return (row * width + column) * colours + colour

    mask = []
    for o in range(out):
        mine = moment(height // 2, width // 2, o * colours // out)
        for i in range(inputs):
            for row in range(height):
                for column in range(width):
                    seen = moment(row, column, i * colours // inputs)
                    centre = (row, column) == (height // 2, width // 2)
                    before = seen < mine or (kind == "B" and seen == mine)
                    earlier = row * width + column < height // 2 * width + width // 2
                    mask.append(earlier or (centre and before))
    return torch.tensor(mask).view(out, inputs, height, width)


def colour_mask__kronecker(kind, out, inputs, colours, height, width):
    triangle = torch.tril(torch.ones(colours, colours), 0 if kind == "B" else -1)
    block = torch.ones(out // colours, inputs // colours)
    mask = torch.zeros(out, inputs, height * width)
    middle = height * width // 2
    mask[..., :middle] = 1
    mask[..., middle] = torch.kron(triangle, block)
    return mask.unflatten(2, (height, width))


def colour_mask__numpy_bytes(kind, out, inputs, colours, height, width):
    mine = np.repeat(np.arange(colours), out // colours).reshape(-1, 1, 1, 1)
    theirs = np.repeat(np.arange(colours), inputs // colours).reshape(1, -1, 1, 1)
    y, x = np.ogrid[:height, :width]
    y, x = y - height // 2, x - width // 2
    earlier = (y < 0) | ((y == 0) & (x < 0))
    known = np.less if kind == "A" else np.less_equal
    mask = earlier | ((y == 0) & (x == 0) & known(theirs, mine))
    return torch.from_numpy(mask.astype(np.uint8))


def _log_difference(low, high):
    """log(sigmoid(high) - sigmoid(low)), with the difference as a product."""
    return (
        functional.logsigmoid(high)
        + functional.logsigmoid(-low)
        + torch.log1p(-torch.exp(low - high))
    )


def log_range_mass__sum_over_values(first, last, logits, means, log_scales, num_values):
    """Value by value, each under each component."""
    result = []
    for j in range(len(first)):
        terms = []
        for k in range(int(first[j]), int(last[j]) + 1):
            scale = log_scales[j].exp()
            low = (k - 0.5 - means[j]) / scale if k > 0 else torch.full_like(scale, -torch.inf)
            inside = k < num_values - 1
            high = (k + 0.5 - means[j]) / scale if inside else torch.full_like(scale, torch.inf)
            terms.append(logits[j].log_softmax(0) + _log_difference(low, high))
        result.append(torch.cat(terms).logsumexp(0))
    return torch.stack(result)


def log_range_mass__smaller_tail(first, last, logits, means, log_scales, num_values):
    """Plain subtraction, but always in the tail where the numbers are small."""
    first, last = first[:, None].double(), last[:, None].double()
    low = torch.where(first == 0, -torch.inf, (first - 0.5 - means) / log_scales.exp())
    high = torch.where(last == num_values - 1, torch.inf, (last + 0.5 - means) / log_scales.exp())
    left = torch.sigmoid(high) - torch.sigmoid(low)
    right = torch.sigmoid(-low) - torch.sigmoid(-high)
    mass = torch.where(low > 0, right, left)
    return torch.log((torch.softmax(logits, 1) * mass).sum(1))


def log_range_mass__plain_python(first, last, logits, means, log_scales, num_values):
    def log_sigmoid(z):
        return -math.log1p(math.exp(-z)) if z > -30 else z - math.exp(z)

    result = []
    for j in range(len(first)):
        total = []
        for mean, log_scale in zip(means[j].tolist(), log_scales[j].tolist(), strict=True):
            scale, mass = math.exp(log_scale), 0.0
            inside_left, inside_right = first[j] > 0, last[j] < num_values - 1
            low = (first[j].item() - 0.5 - mean) / scale
            high = (last[j].item() + 0.5 - mean) / scale
            mass += log_sigmoid(-low) if inside_left else 0.0
            mass += log_sigmoid(high) if inside_right else 0.0
            mass += math.log(-math.expm1(low - high)) if inside_left and inside_right else 0.0
            total.append(mass)
        weighted = torch.tensor(total, dtype=torch.float64) + logits[j]
        result.append(float(weighted.logsumexp(0) - logits[j].logsumexp(0)))
    return result
