"""The forward processes of the studies, each defined once and known to stored runs by its id.

A maker is called with the `Codes` of a data set and the options that a run may have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vqlearn.data import caption_rows
from vqlearn.data.characters import is_real
from vqlearn.diffusion import DirectPrediction, MaskAndReplace, Process, kernels, schedule
from vqlearn.probability import random_stream

LETTERS_COUNTED = 2000


@dataclass(frozen=True, eq=False)
class Codes:
    """K codes of one kind, the levels T of the process, and where the codes lie, if anywhere."""

    num_codes: int
    num_timesteps: int
    vectors: Float[Tensor, "k d"] | None = None


def released(codes: Codes) -> Process:
    """VQ-Diffusion with the schedule of its released checkpoints: masks almost only."""
    return _scheduled(schedule.released, codes)


def paper(codes: Codes) -> Process:
    """VQ-Diffusion with the schedule of the paper: nine masks for one replacement."""
    return _scheduled(schedule.paper, codes)


def absorbing(codes: Codes) -> Process:
    """Masks only, as many new ones at every level."""
    return _scheduled(schedule.absorbing, codes)


def multinomial(codes: Codes) -> Process:
    """Replacements only, with the cosine schedule of Hoogeboom et al. 2021."""
    alpha_bar = kernels.cosine(codes.num_timesteps)
    beta_bar = (1 - alpha_bar) / codes.num_codes
    return MaskAndReplace(
        schedule.Schedule(codes.num_codes, alpha_bar, beta_bar, torch.zeros_like(alpha_bar))
    )


def uniform(codes: Codes) -> Process:
    """The same as `multinomial`, as matrices."""
    return kernels.uniform(codes.num_codes, codes.num_timesteps)


def gaussian(codes: Codes, *, betas: Sequence[float]) -> Process:
    """A grey value becomes one nearby."""
    return kernels.discretised_gaussian(codes.num_codes, codes.num_timesteps, betas=tuple(betas))


def binomial(codes: Codes) -> Process:
    """Flip bits."""
    return kernels.binomial(codes.num_timesteps)


def nearest_neighbour(codes: Codes) -> Process:
    """D3PM: a token becomes one whose code vector is near. Keeps all 2 T matrices.

    For the 384 codes of scenes these are 240 MB.
    """
    process = kernels.nearest_neighbour(codes.vectors, codes.num_timesteps)
    process.products.keep_all(codes.vectors.device)
    return process


def letter_neighbours(codes: Codes, *, num_neighbours: int) -> Process:
    """A letter becomes one that stands between the same letters: see `letter_embeddings`."""
    rows = caption_rows(
        LETTERS_COUNTED, generator=random_stream("family", "letters"), composition="seen"
    )
    embeddings = letter_embeddings(rows, codes.num_codes)
    return kernels.nearest_neighbour(embeddings, codes.num_timesteps, num_neighbours=num_neighbours)


def letter_embeddings(rows: Int[Tensor, "b n"], num_codes: int) -> Float64[Tensor, "k d"]:
    r"""Which letters are alike? Those with the same letters before and behind them.

    Row k holds $\sqrt{p(\text{next} \mid k)}$ and $\sqrt{p(\text{previous} \mid k)}$, counted;
    so the squared distance of two rows is, up to a factor, the sum of two squared Hellinger
    distances. Padding is not counted: nothing comes after END.
    """
    pairs = torch.zeros(num_codes, num_codes, dtype=torch.float64)
    counted = is_real(rows)[:, 1:]
    first, second = rows[:, :-1][counted], rows[:, 1:][counted]
    pairs.index_put_((first, second), torch.ones(len(first)).double(), accumulate=True)
    following = pairs / pairs.sum(dim=1, keepdim=True).clamp(min=1)
    before = (pairs / pairs.sum(dim=0, keepdim=True).clamp(min=1)).T
    return torch.cat([following, before], dim=1).sqrt()  # (k, 2k)


def direct(codes: Codes) -> Process:
    """The released schedule; the network predicts x_{t-1} in place of x_0."""
    return DirectPrediction(released(codes))


def _scheduled(lines: Callable[..., schedule.ScheduleConfig], codes: Codes) -> Process:
    return MaskAndReplace(schedule.build_schedule(lines(codes.num_codes, codes.num_timesteps)))


PROCESSES: dict[str, Callable[..., Process]] = {
    "released": released,
    "paper": paper,
    "mask_and_replace": paper,
    "absorbing": absorbing,
    "multinomial": multinomial,
    "uniform": uniform,
    "gaussian": gaussian,
    "binomial": binomial,
    "nearest_neighbour": nearest_neighbour,
    "letter_neighbours": letter_neighbours,
    "direct": direct,
}
"""By the id that stored settings have; "mask_and_replace" is what the study of kernels calls it."""
