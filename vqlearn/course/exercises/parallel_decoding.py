"""Exercises of lesson 10: what parallel decoding loses, and what block diffusion costs.

The one about a step of MaskGIT is in `maskgit.py`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property
from vqlearn.course.exercises.maskgit import MASKGIT_STEP

Results = Sequence[np.ndarray]
Groups = tuple[tuple[int, ...], ...]  # the positions that each step reveals
Cost = tuple[int, int, int]  # evaluations, positions, pairs


def parallel_loss(joint: Tensor, groups: Groups) -> Tensor:
    """KL(data || sampler) in nats, if a step draws each of its positions independently.

    `joint` (K, …, K) has an axis for each position; `groups` has the positions of each step. The
    sampler knows the true conditional distribution of each position given the steps before.
    """
    return _divergence(joint, _sampled(joint, groups))


def _sampled(joint: Tensor, groups: Groups) -> Tensor:
    """The distribution of what is written, of the shape of the joint."""
    result, known = torch.ones_like(joint), ()
    for group in groups:
        for position in group:
            result = result * _given(joint, position, known)
        known += group
    return result


def _given(joint: Tensor, position: int, known: tuple[int, ...]) -> Tensor:
    """q(one position | known positions), with axes of length 1 for all others."""
    both, condition = _marginal(joint, (position, *known)), _marginal(joint, known)
    return torch.where(condition > 0, both / condition, 0)


def _marginal(joint: Tensor, positions: Sequence[int]) -> Tensor:
    others = [axis for axis in range(joint.ndim) if axis not in positions]
    return joint.sum(dim=others, keepdim=True) if others else joint


def _divergence(q: Tensor, p: Tensor) -> Tensor:
    return (q.xlogy(q) - q.xlogy(p)).sum()


def _entropy(joint: Tensor, positions: Sequence[int]) -> Tensor:
    return torch.special.entr(_marginal(joint, positions)).sum()


def _known_forgotten(joint: Tensor, groups: Groups) -> Tensor:
    each = sum(_entropy(joint, (i,)) for group in groups for i in group)
    return each - sum(_entropy(joint, group) for group in groups)


def _all_at_once(joint: Tensor, groups: Groups) -> Tensor:
    return parallel_loss(joint, (sum(groups, start=()),))


def _joint_entropies(joint: Tensor, groups: Groups) -> Tensor:
    total, known = torch.zeros_like(joint.sum()), ()
    for group in groups:
        total += sum(_entropy(joint, (*known, i)) for i in group)
        known += group
        total -= _entropy(joint, known)
    return total


def _bits(joint: Tensor, groups: Groups) -> Tensor:
    return parallel_loss(joint, groups) / math.log(2)


def _kl_reversed(joint: Tensor, groups: Groups) -> Tensor:
    p, possible = _sampled(joint, groups), joint > 0
    if p[possible].sum() < 1 - 1e-9:  # the sampler writes what the data exclude
        return joint.new_tensor(torch.inf)
    return _divergence(p, joint)


def _zero_log_zero(joint: Tensor, groups: Groups) -> Tensor:
    return parallel_loss(joint, groups) + 0 * (joint * joint.log()).sum()


def _p_renormalised(joint: Tensor, groups: Groups) -> Tensor:
    p = _sampled(joint, groups)
    return _divergence(joint, p / p.sum())


def block_cost(n: int, block: int, steps: int, cached: bool) -> Cost:
    """Evaluations, positions read and query-key pairs of block diffusion over n tokens.

    Blocks of `block` tokens from left to right, `steps` evaluations each. With a KV cache a
    finished block is read once more, before the next one begins.
    """
    return _cost(n // block, block, steps, cached=cached, again=n // block - 1)


def _cost(number: int, block: int, steps: int, *, cached: bool, again: int) -> Cost:
    """With a cache the first `again` blocks are read once more."""
    evaluations = positions = pairs = 0
    for j in range(number):
        read = [j] if cached else range(j + 1)
        times = steps + (cached and j < again)
        evaluations += times
        positions += times * block * len(read)
        pairs += times * sum(block * block * (i + 1) for i in read)
    return evaluations, positions, pairs


def _never_read(n: int, block: int, steps: int, cached: bool) -> Cost:
    return _cost(n // block, block, steps, cached=cached, again=0)


def _last_read_too(n: int, block: int, steps: int, cached: bool) -> Cost:
    return _cost(n // block, block, steps, cached=cached, again=n // block)


def _own_block_only(n: int, block: int, steps: int, cached: bool) -> Cost:
    evaluations, positions, _ = block_cost(n, block, steps, cached)
    return evaluations, positions, positions * block


def _causal_inside(n: int, block: int, steps: int, cached: bool) -> Cost:
    evaluations, positions, pairs = block_cost(n, block, steps, cached)
    return evaluations, positions, pairs - positions // block * (block * (block - 1) // 2)


def _all_attend(n: int, block: int, steps: int, cached: bool) -> Cost:
    evaluations, positions, pairs = block_cost(n, block, steps, cached)
    squares = steps * block**2 * sum((j + 1) ** 2 for j in range(n // block))
    return evaluations, positions, pairs if cached else squares


def _empty_blocks_read(n: int, block: int, steps: int, cached: bool) -> Cost:
    if cached:
        return block_cost(n, block, steps, cached)
    number = n // block
    evaluations = number * steps
    return evaluations, evaluations * n, evaluations * block**2 * number * (number + 1) // 2


def _joint_probes(generator: torch.Generator) -> list[Arguments]:
    """Dependent tokens; tokens that are always equal; and one position a step."""

    def probe(num_codes: int, n: int, groups: Groups) -> Arguments:
        shape = (num_codes,) * n
        scores = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
        return scores.flatten().softmax(dim=0).view(shape), groups

    shares = 0.2 + torch.rand(3, generator=generator, dtype=torch.float64)
    equal = torch.zeros(3, 3, 3, dtype=torch.float64)
    code = torch.arange(3)
    equal[code, code, code] = shares / shares.sum()
    return [
        probe(3, 3, ((0, 2), (1,))),
        probe(2, 4, ((3,), (1, 0), (2,))),
        probe(3, 4, ((1,), (0, 2, 3))),
        (equal, ((2, 0), (1,))),
        probe(2, 3, ((2,), (0,), (1,))),
        probe(4, 2, ((1, 0),)),
    ]


def _block_probes(generator: torch.Generator) -> list[Arguments]:
    """Several blocks with and without a cache, one block, and blocks of one token."""

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    block, number, steps = draw(2, 6), draw(3, 8), draw(2, 9)
    return [
        (number * block, block, steps, True),
        (number * block, block, steps, False),
        (2 * (block + 1), block + 1, 1, False),
        (2 * (block + 1), block + 1, 1, True),
        (block, block, steps + 1, True),
        (number, 1, 1, True),
    ]


def _is_not_negative(_: Arguments, results: Results) -> bool:
    return bool((results[0] > -1e-6).all())


def _one_by_one_is_exact(arguments: Arguments, results: Results) -> bool:
    return max(map(len, arguments[1])) > 1 or bool(np.allclose(results[0], 0, atol=1e-6))


def _at_most_in_one_step(arguments: Arguments, results: Results) -> bool:
    return bool(results[0] <= float(_all_at_once(*arguments)) + 1e-6)


def _three_counts(_: Arguments, results: Results) -> bool:
    return bool((results[0] > 0).all() and (results[0] == np.round(results[0])).all())


def _whole_blocks(arguments: Arguments, results: Results) -> bool:
    return not results[0][1] % arguments[1]


def _no_more_than_all(arguments: Arguments, results: Results) -> bool:
    """A position is a query of at most n keys."""
    return bool(results[0][2] <= arguments[0] * results[0][1])


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "parallel_loss",
        lesson=10,
        points=4,
        reference=parallel_loss,
        probes=_joint_probes,
        mistakes=(
            Mistake(
                "known_forgotten",
                "a step does not know what the steps before it revealed",
                _known_forgotten,
            ),
            Mistake(
                "all_at_once",
                "all positions were drawn in one step, whatever the groups are",
                _all_at_once,
            ),
            Mistake(
                "joint_entropies",
                "the known tokens' own entropy was counted again for each position of a step",
                _joint_entropies,
            ),
            Mistake("bits", "the logarithm has base 2, so the result is in bits", _bits),
            Mistake(
                "kl_reversed",
                "the divergence is that of the sampler from the data, the wrong way round",
                _kl_reversed,
            ),
            Mistake("zero_log_zero", "0 log 0 was not taken as 0", _zero_log_zero),
            Mistake(
                "p_renormalised",
                "p was normalised again, though the rest lies on sequences that the data exclude",
                _p_renormalised,
            ),
        ),
        properties=(
            Property("a divergence is 0 or more", _is_not_negative),
            Property("one position a step loses nothing", _one_by_one_is_exact),
            Property("several steps lose no more than one step for all", _at_most_in_one_step),
        ),
    ),
    Exercise(
        "block_cost",
        lesson=10,
        points=3,
        reference=block_cost,
        probes=_block_probes,
        mistakes=(
            Mistake(
                "never_read",
                "keys and values of a finished block come from an input that still had MASK in it",
                _never_read,
            ),
            Mistake(
                "last_read_too",
                "the last block was read once more, though nothing comes after it",
                _last_read_too,
            ),
            Mistake(
                "own_block_only",
                "a position attends to its own block alone, and to no finished one",
                _own_block_only,
            ),
            Mistake("causal_inside", "attention is causal inside a block", _causal_inside),
            Mistake(
                "all_attend",
                "without a cache finished blocks attend to later ones",
                _all_attend,
            ),
            Mistake(
                "empty_blocks_read",
                "without a cache the blocks that are not begun are read as well",
                _empty_blocks_read,
                "akin to the package's `without_cache`, which reads the whole sequence",
            ),
        ),
        properties=(
            Property("all three are whole numbers above 0", _three_counts),
            Property("whole blocks are read", _whole_blocks),
            Property("no position attends to more than n positions", _no_more_than_all),
        ),
    ),
    MASKGIT_STEP,
)
