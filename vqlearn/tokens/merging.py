"""Codes that look alike become one code.

An encoder sees the whole picture, and k-means gives many codes to what is common. So a plain white
square ends up with a dozen codes that all decode to white, and which of them it gets depends on
things far away, as if by chance. A generator would have to guess that chance, token by token.
Here codes are compared by what they stand for: the mean of the squares that they are given to.

Tests: tests/test_merging.py.
"""

from dataclasses import replace

import torch
from einops import rearrange
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from vqlearn.tokens.vqvae import VQVAE

PICTURES_AT_ONCE = 128


def merge_codes(vqvae: VQVAE, images: Float[Tensor, "b 3 H W"], num_codes: int) -> VQVAE:
    """The same network with at most `num_codes` codes; the most similar ones are merged.

    `images` are RGB in [-1, 1], on the network's device: enough of them to use every code that
    matters, since a code that none of them uses is dropped. Complete linkage: codes are merged
    while the two most different ones of a group look as similar as possible. The new code is the
    mean of the old ones, weighted by how often they are used. Train encoder and decoder a little
    afterwards: they do not know the new codes yet.

    Raises `ValueError` for fewer than one code.
    """
    if num_codes < 1:
        raise ValueError(f"num_codes is {num_codes}; allowed: 1, 2, …")
    counts, squares = mean_squares(vqvae, images)
    used = counts > 0
    group = torch.zeros(int(used.sum()), dtype=torch.long)
    if len(group) > num_codes:
        tree = linkage(squares[used].cpu().numpy(), method="complete")
        group = torch.from_numpy(fcluster(tree, num_codes, criterion="maxclust")).long() - 1
    elif len(group) > 1:
        group = torch.arange(len(group))
    codes = vqvae.quantizer.codebook.weight.detach()
    merged = _weighted_means(codes[used], counts[used], group.to(codes.device))
    return _with_codebook(vqvae, merged)


@torch.no_grad()
def mean_squares(
    vqvae: VQVAE, images: Float[Tensor, "b 3 H W"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, "k p"]]:
    """How often is each code used, and what is the mean of the squares of pixels it is used for?

    p = 3 * factor² numbers a square; zeros for a code that is not used.
    """
    num_codes, size = vqvae.config.num_vq_embeddings, vqvae.config.downsampling_factor
    counts = torch.zeros(num_codes, device=images.device)
    sums = torch.zeros(num_codes, 3 * size * size, device=images.device)
    for part in images.split(PICTURES_AT_ONCE):
        tokens = vqvae.encode(part).flatten()
        squares = rearrange(part, "b c (h p) (w q) -> (b h w) (c p q)", p=size, q=size)
        counts.index_add_(0, tokens, torch.ones_like(tokens, dtype=counts.dtype))
        sums.index_add_(0, tokens, squares)
    return counts, sums / counts.clamp(min=1)[:, None]


def _weighted_means(
    codes: Float[Tensor, "k d"], counts: Float[Tensor, " k"], group: Int[Tensor, " k"]
) -> Float[Tensor, "m d"]:
    number = int(group.max()) + 1
    sums = torch.zeros(number, codes.shape[1], device=codes.device)
    sums.index_add_(0, group, codes * counts[:, None])
    total = torch.zeros(number, device=codes.device).index_add_(0, group, counts)
    return sums / total[:, None]


def _with_codebook(vqvae: VQVAE, codes: Float[Tensor, "m d"]) -> VQVAE:
    merged = VQVAE(replace(vqvae.config, num_vq_embeddings=len(codes)))
    weights = {**vqvae.state_dict(), "quantizer.codebook.weight": codes}
    merged.load_state_dict(weights)
    return merged.to(codes.device)
