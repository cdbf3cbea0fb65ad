"""An exercise of lesson 10: a step of MaskGIT, which draws first and then chooses."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Results = Sequence[np.ndarray]


def maskgit_step(
    log_p: Tensor, x: Tensor, drawn: Tensor, uniform: Tensor, left: int, temperature: float
) -> Tensor:
    """The sequences (b, n) after a step of MaskGIT that leaves `left` positions of each masked.

    `log_p` (b, n, K), tokens `x` with MASK = K, `drawn` a code for every position; `uniform` in
    (0, 1) becomes Gumbel noise. Source: Chang et al. 2022, with the noise of their code.
    """
    return _kept(x, drawn, _log_drawn(log_p, drawn) + temperature * _gumbel(uniform), left, log_p)


def _log_drawn(log_p: Tensor, drawn: Tensor) -> Tensor:
    return log_p.gather(-1, drawn[..., None])[..., 0]


def _gumbel(uniform: Tensor) -> Tensor:
    return -(-uniform.log()).log()


def _kept(x: Tensor, drawn: Tensor, score: Tensor, left: int | Tensor, log_p: Tensor) -> Tensor:
    """Drawn tokens where x is MASK; but the `left` of these positions with the least score stay."""
    mask = log_p.shape[-1]
    rank = score.masked_fill(x != mask, torch.inf).argsort(dim=-1).argsort(dim=-1)
    return torch.where(x == mask, drawn, x).masked_fill(rank < left, mask)


def _gumbel_sign(
    log_p: Tensor, x: Tensor, drawn: Tensor, uniform: Tensor, left: int, temperature: float
) -> Tensor:
    return maskgit_step(log_p, x, drawn, uniform, left, -temperature)


def _least_sure(
    log_p: Tensor, x: Tensor, drawn: Tensor, uniform: Tensor, left: int, temperature: float
) -> Tensor:
    score = _log_drawn(log_p, drawn) + temperature * _gumbel(uniform)
    return _kept(x, drawn, -score, left, log_p)


def _known_compete(
    log_p: Tensor, x: Tensor, drawn: Tensor, uniform: Tensor, left: int, temperature: float
) -> Tensor:
    mask = log_p.shape[-1]
    score = _log_drawn(log_p, drawn) + temperature * _gumbel(uniform)
    return _kept(torch.full_like(x, mask), torch.where(x == mask, drawn, x), score, left, log_p)


def _noise_on_p(
    log_p: Tensor, x: Tensor, drawn: Tensor, uniform: Tensor, left: int, temperature: float
) -> Tensor:
    score = _log_drawn(log_p, drawn).exp() + temperature * _gumbel(uniform)
    return _kept(x, drawn, score, left, log_p)


def _purity(
    log_p: Tensor, x: Tensor, drawn: Tensor, uniform: Tensor, left: int, temperature: float
) -> Tensor:
    return _kept(x, drawn, log_p.amax(dim=-1) + temperature * _gumbel(uniform), left, log_p)


def _left_revealed(
    log_p: Tensor, x: Tensor, drawn: Tensor, uniform: Tensor, left: int, temperature: float
) -> Tensor:
    others = (x == log_p.shape[-1]).sum(dim=-1, keepdim=True) - left
    score = _log_drawn(log_p, drawn) + temperature * _gumbel(uniform)
    return _kept(x, drawn, score, others, log_p)


def _step_probes(generator: torch.Generator) -> list[Arguments]:
    """More positions are masked than shall be left, another number in each sequence."""

    def probe(b: int, n: int, num_codes: int, left: int, temperature: float) -> Arguments:
        scores = 1.5 * torch.randn(b, n, num_codes, generator=generator, dtype=torch.float64)
        known, drawn = torch.randint(num_codes, (2, b, n), generator=generator)
        rank, uniform = torch.rand(2, b, n, generator=generator, dtype=torch.float64)
        number = torch.randint(left + 1, n + 1, (b, 1), generator=generator)
        x = known.masked_fill(rank.argsort(dim=-1).argsort(dim=-1) < number, num_codes)
        return scores.log_softmax(dim=-1), x, drawn, 0.01 + 0.98 * uniform, left, temperature

    return [
        probe(6, 10, 4, left=3, temperature=0.0),
        probe(5, 12, 5, left=4, temperature=1.0),
        probe(6, 8, 3, left=2, temperature=0.5),
        probe(3, 6, 4, left=0, temperature=2.0),
        probe(4, 9, 6, left=1, temperature=3.0),
    ]


def _known_stay(arguments: Arguments, results: Results) -> bool:
    log_p, x = arguments[:2]
    known = (x != log_p.shape[-1]).numpy()
    return np.array_equal(results[0][known], x.numpy()[known])


def _left_are_masked(arguments: Arguments, results: Results) -> bool:
    log_p, *_, left, _ = arguments
    return bool(((results[0] == log_p.shape[-1]).sum(axis=-1) == left).all())


def _revealed_were_drawn(arguments: Arguments, results: Results) -> bool:
    log_p, x, drawn = arguments[:3]
    mask = log_p.shape[-1]
    revealed = (x == mask).numpy() & (results[0] != mask)
    return np.array_equal(results[0][revealed], drawn.numpy()[revealed])


MASKGIT_STEP = Exercise(
    "maskgit_step",
    lesson=10,
    points=3,
    reference=maskgit_step,
    probes=_step_probes,
    mistakes=(
        Mistake("gumbel_sign", "the Gumbel noise has the wrong sign", _gumbel_sign),
        Mistake("least_sure", "the least sure tokens were kept, not the surest", _least_sure),
        Mistake(
            "known_compete",
            "tokens that were known before take part in the choice, and can be masked again",
            _known_compete,
        ),
        Mistake(
            "noise_on_p",
            "noise was added to the probability and not to its logarithm",
            _noise_on_p,
        ),
        Mistake(
            "purity",
            "the score is that of the likeliest code and not that of the drawn one",
            _purity,
            "right for another sampler: purity, Tang et al. 2022",
        ),
        Mistake(
            "left_revealed",
            "the number of positions to leave was taken for the number to reveal",
            _left_revealed,
        ),
    ),
    properties=(
        Property("a token that was known stays as it is", _known_stay),
        Property("a token that is revealed is the drawn one", _revealed_were_drawn),
        Property("so many positions are left masked as wanted", _left_are_masked),
    ),
)
