"""Lesson 01: mistakes written a second time, from their descriptions alone."""

import torch
import torch.nn.functional as F
from torch import nn


def _square_distances(rows, codebook):
    table = torch.empty(len(rows), len(codebook), dtype=codebook.dtype)
    for k in range(len(codebook)):
        table[:, k] = (rows - codebook[k]).pow(2).sum(-1)
    return table


def two_nearest_codes__farthest(features, codebook):
    last = features.movedim(1, -1)
    distances = (last.unsqueeze(-2) - codebook).square().sum(-1)
    return distances.topk(2, dim=-1).indices


def two_nearest_codes__second_first(features, codebook):
    b, _, h, w = features.shape
    tokens = torch.zeros(b, h, w, 2, dtype=torch.long)
    for i in range(b):
        for y in range(h):
            for x in range(w):
                order = torch.argsort(((codebook - features[i, :, y, x]) ** 2).sum(1))
                tokens[i, y, x, 0] = order[1]
                tokens[i, y, x, 1] = order[0]
    return tokens


def two_nearest_codes__not_permuted(features, codebook):
    b, c, h, w = features.shape
    rows = features.reshape(b * h * w, c)
    nearest = torch.cdist(rows, codebook).argsort(dim=1)[:, :2]
    return nearest.view(b, h, w, 2)


def two_nearest_codes__columns_first(features, codebook):
    b, _, h, w = features.shape
    rows = [features[i, :, y, x] for i in range(b) for x in range(w) for y in range(h)]
    distances = _square_distances(torch.stack(rows), codebook)
    nearest = distances.argmin(1)
    distances[torch.arange(len(rows)), nearest] = float("inf")
    return torch.stack([nearest, distances.argmin(1)], 1).view(b, h, w, 2)


def two_nearest_codes__factor_missing(features, codebook):
    products = torch.einsum("bchw,kc->bhwk", features, codebook)
    distances = (codebook**2).sum(1) - products
    return distances.sort(dim=-1).indices[..., :2]


def two_nearest_codes__length_missing(features, codebook):
    scores = F.conv2d(features, codebook[:, :, None, None])
    return scores.topk(2, dim=1).indices.permute(0, 2, 3, 1)


def _nearest(vectors, codebook):
    with torch.no_grad():
        return torch.cdist(vectors, codebook).argmin(dim=1)


def _mean_square(a, b):
    return (a - b).square().sum(dim=1).mean()


def quantise_with_loss__weight_on_codebook(vectors, codebook, beta):
    e = codebook[_nearest(vectors, codebook)]
    codebook_loss = F.mse_loss(e, vectors.detach(), reduction="sum") / len(vectors)
    commitment = F.mse_loss(vectors, e.detach(), reduction="sum") / len(vectors)
    return vectors + (e - vectors).detach(), beta * codebook_loss + commitment


def quantise_with_loss__straight_through_reversed(vectors, codebook, beta):
    e = F.embedding(_nearest(vectors, codebook), codebook)
    loss = _mean_square(vectors.detach(), e) + beta * _mean_square(vectors, e.detach())
    return e + (vectors - e).detach(), loss


def quantise_with_loss__loss_after_straight_through(vectors, codebook, beta):
    quantised = codebook.index_select(0, _nearest(vectors, codebook))
    quantised = vectors + (quantised - vectors).detach()
    loss = _mean_square(quantised, vectors.detach())
    loss = loss + beta * _mean_square(quantised.detach(), vectors)
    return quantised, loss


def quantise_with_loss__no_straight_through(vectors, codebook, beta):
    one_hot = F.one_hot(_nearest(vectors, codebook), len(codebook)).to(codebook.dtype)
    quantised = one_hot @ codebook
    first = torch.linalg.vector_norm(vectors.detach() - quantised, dim=1) ** 2
    second = torch.linalg.vector_norm(vectors - quantised.detach(), dim=1) ** 2
    return quantised, (first + beta * second).mean()


def quantise_with_loss__mean_over_numbers(vectors, codebook, beta):
    mse = nn.MSELoss()
    e = codebook[_nearest(vectors, codebook)]
    loss = mse(e, vectors.detach()) + beta * mse(vectors, e.detach())
    return vectors - vectors.detach() + e.detach(), loss


def quantise_with_loss__no_stop_gradient(vectors, codebook, beta):
    loss, rows = 0.0, []
    for z in vectors:
        e = codebook[int(((codebook - z) ** 2).sum(1).argmin())]
        loss = loss + (z - e).dot(z - e) + beta * (e - z).dot(e - z)
        rows.append(z + (e - z).detach())
    return torch.stack(rows), loss / len(vectors)
