"""An exercise of lesson 04: what a denoiser can know at best, with and without a causal mask."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Results = Sequence[np.ndarray]


def best_predictions(start: Tensor, transition: Tensor, x_t: Tensor, causal: bool) -> Tensor:
    """p(x_0^i = k | what position i may attend to), masks only, data of a Markov chain: (n, K).

    `start` (K,), `transition` (from, to), tokens (n,) with MASK = K. If `causal`, position i sees
    itself and those before it, else all of them.
    """
    open_to = _all_open(x_t)
    return _predictions(start, transition, x_t, open_to.tril() if causal else open_to)


def _all_open(x_t: Tensor) -> Tensor:
    return torch.ones(len(x_t), len(x_t), dtype=torch.bool)


def _predictions(start: Tensor, transition: Tensor, x_t: Tensor, open_to: Tensor) -> Tensor:
    """By a list of all K^n sequences; `open_to` (n, n): may the row's position see the column's?"""
    num_codes, n = len(start), len(x_t)
    states = torch.cartesian_prod(*[torch.arange(num_codes)] * n)  # (K^n, n)
    p = start[states[:, 0]] * transition[states[:, :-1], states[:, 1:]].prod(dim=1)
    fits = (states == x_t) | (x_t == num_codes)  # (K^n, n)
    joint = [
        torch.bincount(states[:, i], p * fits[:, open_to[i]].all(dim=1), minlength=num_codes)
        for i in range(n)
    ]
    return _shares(torch.stack(joint))


def _shares(joint: Tensor) -> Tensor:
    return joint / joint.sum(dim=-1, keepdim=True)


def _later_seen(start: Tensor, transition: Tensor, x_t: Tensor, causal: bool) -> Tensor:
    return best_predictions(start, transition, x_t, False)


def _mask_reversed(start: Tensor, transition: Tensor, x_t: Tensor, causal: bool) -> Tensor:
    open_to = _all_open(x_t)
    return _predictions(start, transition, x_t, open_to.triu() if causal else open_to)


def _own_token_unseen(start: Tensor, transition: Tensor, x_t: Tensor, causal: bool) -> Tensor:
    open_to = _all_open(x_t)
    return _predictions(start, transition, x_t, open_to.tril(-1) if causal else open_to)


def _neighbours_only(start: Tensor, transition: Tensor, x_t: Tensor, causal: bool) -> Tensor:
    near = _all_open(x_t).triu(-1).tril(0 if causal else 1)
    return _predictions(start, transition, x_t, near)


def _prior_twice(start: Tensor, transition: Tensor, x_t: Tensor, causal: bool) -> Tensor:
    before = _predictions(start, transition, x_t, _all_open(x_t).tril())
    after = _predictions(start, transition, x_t, _all_open(x_t).triu())
    return before if causal else _shares(before * after)


def _transposed(start: Tensor, transition: Tensor, x_t: Tensor, causal: bool) -> Tensor:
    return best_predictions(start, transition.mT, x_t, causal)


def _chains(generator: torch.Generator) -> list[Arguments]:
    """Rows and columns of `transition` sum to 1: its transpose, too, is a Markov chain."""

    def probe(num_codes: int, pattern: str, causal: bool) -> Arguments:
        start = 0.1 + torch.rand(num_codes, generator=generator, dtype=torch.float64)
        moves = torch.randn(num_codes, generator=generator, dtype=torch.float64).softmax(dim=0)
        codes = torch.arange(num_codes)
        transition = moves[(codes - codes[:, None]) % num_codes]
        seen = torch.randint(num_codes, (len(pattern),), generator=generator)
        masked = torch.tensor([letter == "M" for letter in pattern])
        return start / start.sum(), transition, torch.where(masked, num_codes, seen), causal

    return [
        probe(3, "MMMa", False),
        probe(3, "aMMbM", True),
        probe(4, "MaMMb", False),
        probe(2, "MaMMMb", True),
    ]


def _sums_to_one(_: Arguments, results: Results) -> bool:
    return bool(np.allclose(results[0].sum(axis=-1), 1))


def _visible_is_known(arguments: Arguments, results: Results) -> bool:
    start, _, x_t, _ = arguments
    visible = (x_t < len(start)).numpy()
    return bool(np.allclose(results[0][visible], np.eye(len(start))[x_t.numpy()[visible]]))


BEST_PREDICTIONS = Exercise(
    id="best_predictions",
    lesson=4,
    points=4,
    reference=best_predictions,
    probes=_chains,
    mistakes=(
        Mistake("later_seen", "later tokens were seen in spite of the causal mask", _later_seen),
        Mistake(
            "mask_reversed",
            "the causal mask is reversed: a position sees itself and those after it",
            _mask_reversed,
        ),
        Mistake(
            "own_token_unseen",
            "with the causal mask a position does not see its own token",
            _own_token_unseen,
            "right for an autoregressive model, which predicts the next token",
        ),
        Mistake(
            "neighbours_only",
            "a position reads its neighbours only, and nothing behind a masked one",
            _neighbours_only,
        ),
        Mistake(
            "prior_twice",
            "the predictions from both sides were multiplied, which counts the prior twice",
            _prior_twice,
        ),
        Mistake("transposed", "rows and columns of `transition` were exchanged", _transposed),
    ),
    properties=(
        Property("every row of the result sums to 1", _sums_to_one),
        Property("an unmasked token is known", _visible_is_known),
    ),
)
