"""Lesson 01: right solutions in several styles, as students could hand them in."""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange


def two_nearest_codes__nested_lists(features, codebook):
    b, _, h, w = features.shape

    def two(z):
        distances = [sum((a - e) ** 2 for a, e in zip(z, code, strict=True)) for code in codes]
        return sorted(range(len(codes)), key=distances.__getitem__)[:2]

    codes = codebook.tolist()
    return [
        [[two(features[i, :, y, x].tolist()) for x in range(w)] for y in range(h)] for i in range(b)
    ]


def two_nearest_codes__masked_argmin_in_place(features, codebook):
    rows = rearrange(features, "b c h w -> b h w c").float()
    codes = codebook.float()
    distances = codes.square().sum(1) - 2 * rows @ codes.T
    first = distances.argmin(-1, keepdim=True)
    distances.scatter_(-1, first, torch.inf)
    return torch.cat([first, distances.argmin(-1, keepdim=True)], -1).int()


def two_nearest_codes__numpy_partition(features, codebook):
    z, e = features.numpy(), codebook.numpy()
    distances = ((z[:, None] - e[None, :, :, None, None]) ** 2).sum(2)  # b k h w
    order = np.argsort(distances, axis=1)[:, :2]
    return np.moveaxis(order, 1, -1)


def two_nearest_codes__convolution(features, codebook):
    bias = -codebook.square().sum(1) / 2
    scores = F.conv2d(features, codebook[..., None, None], bias)
    return torch.topk(scores, 2, dim=1).indices.movedim(1, 3)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vectors, quantised):
        return quantised.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def quantise_with_loss__own_autograd_function(vectors, codebook, beta):
    with torch.no_grad():
        tokens = torch.cdist(vectors, codebook).argmin(1)
    e = F.embedding(tokens, codebook)
    c = vectors.shape[1]
    loss = c * F.mse_loss(e, vectors.detach())
    loss += beta * c * F.mse_loss(vectors, e.detach())
    return _StraightThrough.apply(vectors, e), loss


def quantise_with_loss__one_hot_and_norms(vectors, codebook, beta):
    distances = (vectors[:, None] - codebook[None]).pow(2).sum(2)
    one_hot = (distances == distances.min(1, keepdim=True).values).to(codebook.dtype)
    e = torch.einsum("nk,kc->nc", one_hot, codebook)
    stopped_e, stopped_z = e.detach(), vectors.detach()
    terms = (stopped_z - e).norm(dim=1) ** 2 + beta * (vectors - stopped_e).norm(dim=1) ** 2
    return [stopped_e + vectors - stopped_z, terms.sum() / terms.numel()]


def quantise_with_loss__row_by_row_in_float32(vectors, codebook, beta):
    vectors, codebook = vectors.float(), codebook.float()
    outputs, losses = [], []
    for z in vectors.unbind():
        distances = [(code - z).square().sum().item() for code in codebook]
        k = distances.index(min(distances))
        outputs.append((codebook[k] - z).detach() + z)
        losses.append(
            sum((z.detach() - codebook[k]) ** 2) + beta * sum((z - codebook[k].detach()) ** 2)
        )
    return torch.stack(outputs), torch.stack(losses).mean()


def quantise_with_loss__smallest_distance_with_detached_sides(vectors, codebook, beta):
    to_codes = torch.cdist(vectors.detach(), codebook, compute_mode="donot_use_mm_for_euclid_dist")
    to_vectors = (vectors[:, None, :] - codebook.detach()).square().sum(-1)
    loss = to_codes.amin(1).square().mean() + beta * to_vectors.amin(1).mean()
    e = codebook.detach()[to_vectors.argmin(1)]
    return vectors + (e - vectors).detach(), loss
