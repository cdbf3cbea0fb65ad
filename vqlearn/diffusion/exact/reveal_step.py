"""One step of an unmasking rule, exactly: the sum over numbers, values and sets of positions.

The twin of `reveal.unmasking.unmasking_step`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from vqlearn.diffusion.exact.world import CHUNK, _joint_distribution, all_states
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.rule import Moment, Ranking, UnmaskingRule
from vqlearn.diffusion.reveal.unmasking import level_after, log_values, look
from vqlearn.diffusion.sampler import Denoise
from vqlearn.probability import log_normalise

Subset = tuple[bool, ...]


class Branches(NamedTuple):
    """Rows of a batch after what is drawn before the positions: values, or nothing at all."""

    row: Int[Tensor, " r"]
    probability: Float64[Tensor, " r"]
    value: Float64[Tensor, "r n k"]
    log_drawn: Float64[Tensor, "r n"] | None


def after_unmasking_step(
    process: MaskAndReplace,
    denoise: Denoise,
    x_t: Int[Tensor, "b n"],
    weight: Float64[Tensor, " b"],
    rule: UnmaskingRule,
    step: int,
) -> Float64[Tensor, " states"]:
    """The mass of every x_s: over the number of tokens, then values, then sets of positions."""
    moment, t = look(process, denoise, x_t, rule, step)
    p_count = rule.how_many.log_counts(moment).exp()  # (b, n + 1)
    after = torch.zeros(process.num_classes ** x_t.shape[1], dtype=torch.float64)
    for number in range(p_count.shape[1]):
        rows = p_count[:, number] > 0
        if not rows.any():
            continue
        here = of_rows(moment, rows)
        s = level_after(process, rule, here, torch.full((len(here.masked),), number))
        log_p = log_values(process, rule, here, x_t[rows], (t[rows], s))
        after += after_reveal(rule, here, log_p, number, weight[rows] * p_count[rows, number])
    return after


def after_reveal(
    rule: UnmaskingRule,
    moment: Moment,
    log_p: Float[Tensor, "b n k"],
    number: int,
    mass: Float64[Tensor, " b"],
    again: Bool[Tensor, "b n"] | None = None,
) -> Float64[Tensor, " states"]:
    """The mass of every x_s, over all sets of `number` masked positions that may be revealed.

    The twin of `reveal.unmasking.reveal`. The positions `again` are MASK whatever is drawn.
    """
    value = log_normalise(log_p).exp()
    branches = _branches(value, moment.masked, draws_first=rule.draws_first)
    told = of_rows(moment, branches.row)
    ranking = rule.ranking(told, torch.full((len(branches.row),), number), branches.log_drawn)
    weight = mass[branches.row] * branches.probability
    after = 0
    for subset, p_set in set_probabilities(ranking, told.masked, number).items():
        one_token = without_mask(branches.value)  # (r, n, K + 1)
        hidden = told.masked & ~torch.tensor(subset)
        if again is not None:
            hidden = hidden | again[branches.row]
        one_token[hidden] = functional.one_hot(torch.tensor(one_token.shape[-1] - 1)).double()
        after = after + (weight * p_set) @ _joint_distribution(one_token)
    return after


def of_rows(moment: Moment, rows: Int[Tensor, " r"] | Bool[Tensor, " b"]) -> Moment:
    """What a rule is told of some sequences of a batch."""
    return moment._replace(log_p_x0=moment.log_p_x0[rows], masked=moment.masked[rows])


def set_probabilities(
    ranking: Ranking, masked: Bool[Tensor, "b n"], size: int
) -> dict[Subset, Float64[Tensor, " b"]]:
    """The probability of every set of so many positions: that they come first, in any order."""
    n = masked.shape[1]
    sets = {(False,) * n: torch.ones(len(masked), dtype=torch.float64)}
    for _ in range(size):
        larger: dict[Subset, Tensor] = {}
        for subset, probability in sets.items():
            following = _next_position(ranking, masked & ~torch.tensor(subset))  # (b, n)
            for i in range(n):
                if not subset[i]:
                    key = (*subset[:i], True, *subset[i + 1 :])
                    larger[key] = larger.get(key, 0) + probability * following[:, i]
        sets = larger
    return sets


def _next_position(ranking: Ranking, remaining: Bool[Tensor, "b n"]) -> Float64[Tensor, "b n"]:
    """The probability of each remaining position to come next."""
    score = ranking.score.double().masked_fill(~remaining, -torch.inf)
    if ranking.noise is None:
        first = functional.one_hot(score.argmax(dim=-1), remaining.shape[1])
        return first.double() * remaining
    # No noise is left when all tokens are revealed: then every order gives the same set.
    noise = ranking.noise.double().masked_fill(ranking.noise == 0, 1)
    return (score / noise).softmax(dim=-1).nan_to_num(0.0)  # NaN: nothing remains


def _branches(
    value: Float64[Tensor, "b n k"], masked: Bool[Tensor, "b n"], *, draws_first: bool
) -> Branches:
    """Choose first: the batch as it is. Draw first: one row for all values of all MASK tokens.

    Tokens that are not MASK keep their distribution: the choice does not look at them.
    """
    b, n, num_codes = value.shape
    if not draws_first:
        return Branches(torch.arange(b), torch.ones(b, dtype=torch.float64), value, None)
    tokens = all_states(num_codes, n)  # (v, n)
    p_drawn = value[:, torch.arange(n), tokens].masked_fill(~masked[:, None], 1.0)  # (b, v, n)
    # Of the values at positions that are not MASK one stands for all.
    stands = ((tokens == 0) | masked[:, None]).all(dim=-1)
    row, v = (stands & (p_drawn > 0).all(dim=-1)).nonzero(as_tuple=True)
    drawn = functional.one_hot(tokens[v], num_codes).double()  # (r, n, K)
    fixed = torch.where(masked[row][..., None], drawn, value[row])
    return Branches(row, p_drawn[row, v].prod(dim=-1), fixed, p_drawn[row, v].log())


def reachable(
    states: Int[Tensor, "states n"], distribution: Float64[Tensor, " states"]
) -> Iterator[tuple[Int[Tensor, "b n"], Float64[Tensor, " b"]]]:
    """The states that have mass, and their mass, in batches."""
    there = distribution > 0
    return zip(states[there].split(CHUNK), distribution[there].split(CHUNK), strict=True)


def without_mask(p: Float[Tensor, "b n k"]) -> Float64[Tensor, "b n classes"]:
    """Distributions over K codes as distributions over K + 1 classes: MASK has no mass."""
    return functional.pad(p.double(), (0, 1))
