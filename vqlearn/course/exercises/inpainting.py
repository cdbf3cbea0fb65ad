r"""An exercise of lesson 06: one sampling step of inpainting, for masks only.

The given tokens are held: they are clean at every timestep, and are not masked again. With masks
only this is right token by token, since a visible token is certainly clean.
"""

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Pair = tuple[float, float]  # a masked share at timestep s, and at timestep t


def inpainting_step(
    x_t: Tensor, log_p_x0: Tensor, x_0: Tensor, known: Tensor, gamma_bar: Pair, uniform: Tensor
) -> Tensor:
    """x_s (b, n), from x_t with MASK = K, log p(x_0 | x_t) (b, n, K) and the tokens x_0 if known.

    Of `uniform` (2, b, n) the first number decides whether a masked token stays masked, with
    probability gamma_bar_s / gamma_bar_t, the second which code it becomes.
    """
    revealed = (x_t == log_p_x0.shape[-1]) & (uniform[0] >= gamma_bar[0] / gamma_bar[1])
    return torch.where(known, x_0, torch.where(revealed, _draw(log_p_x0, uniform[1]), x_t))


def _draw(log_p: Tensor, u: Tensor) -> Tensor:
    """The first code whose cumulative probability is above u."""
    passed = log_p.exp().cumsum(dim=-1) <= u[..., None]
    return passed.sum(dim=-1).clamp(max=log_p.shape[-1] - 1)


def _masked_again(
    x_t: Tensor, log_p_x0: Tensor, x_0: Tensor, known: Tensor, gamma_bar: Pair, uniform: Tensor
) -> Tensor:
    right = inpainting_step(x_t, log_p_x0, x_0, known, gamma_bar, uniform)
    return torch.where(known & (uniform[0] < gamma_bar[0]), log_p_x0.shape[-1], right)


def _known_inverted(
    x_t: Tensor, log_p_x0: Tensor, x_0: Tensor, known: Tensor, gamma_bar: Pair, uniform: Tensor
) -> Tensor:
    return inpainting_step(x_t, log_p_x0, x_0, ~known, gamma_bar, uniform)


def _share_at_s(
    x_t: Tensor, log_p_x0: Tensor, x_0: Tensor, known: Tensor, gamma_bar: Pair, uniform: Tensor
) -> Tensor:
    return inpainting_step(x_t, log_p_x0, x_0, known, (gamma_bar[0], 1.0), uniform)


def _visible_redrawn(
    x_t: Tensor, log_p_x0: Tensor, x_0: Tensor, known: Tensor, gamma_bar: Pair, uniform: Tensor
) -> Tensor:
    everything = torch.full_like(x_t, log_p_x0.shape[-1])
    return inpainting_step(everything, log_p_x0, x_0, known, gamma_bar, uniform)


def _one_number(
    x_t: Tensor, log_p_x0: Tensor, x_0: Tensor, known: Tensor, gamma_bar: Pair, uniform: Tensor
) -> Tensor:
    twice = uniform[:1].expand_as(uniform)
    return inpainting_step(x_t, log_p_x0, x_0, known, gamma_bar, twice)


def _shared_noise(
    x_t: Tensor, log_p_x0: Tensor, x_0: Tensor, known: Tensor, gamma_bar: Pair, uniform: Tensor
) -> Tensor:
    of_first = uniform[:, :1].expand_as(uniform)
    return inpainting_step(x_t, log_p_x0, x_0, known, gamma_bar, of_first)


def _at_least(
    x_t: Tensor, log_p_x0: Tensor, x_0: Tensor, known: Tensor, gamma_bar: Pair, uniform: Tensor
) -> Tensor:
    numbers = torch.stack([uniform[0], uniform[1] - 1e-12])  # where c = u, c is now above it
    return inpainting_step(x_t, log_p_x0, x_0, known, gamma_bar, numbers)


def _revealed_below(
    x_t: Tensor, log_p_x0: Tensor, x_0: Tensor, known: Tensor, gamma_bar: Pair, uniform: Tensor
) -> Tensor:
    mirrored = torch.stack([1 - uniform[0], uniform[1]])
    return inpainting_step(x_t, log_p_x0, x_0, known, gamma_bar, mirrored)


def _probes(generator: torch.Generator) -> list[Arguments]:
    """Random tokens, and in the first five positions cases that tell all mistakes apart."""

    def random(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    def probe(b: int, n: int, num_codes: int, gamma_bar: Pair) -> Arguments:
        s, t = gamma_bar
        codes = torch.randint(num_codes, (2, b, n), generator=generator)
        x_t, x_0 = codes[0].masked_fill(random(b, n) < t, num_codes), codes[1]
        known, log_p = random(b, n) < 0.4, (2 * random(b, n, num_codes)).log_softmax(dim=-1)
        uniform = random(2, b, n)
        # Held, revealed at u = 0 with a code excluded, staying, visible, and not as in the batch.
        known[0, :4] = torch.tensor([True, False, False, False])
        x_t[0, :3], x_t[0, 3] = num_codes, (x_0[0, 3] + 1) % num_codes
        uniform[0, 0, :4] = torch.tensor([s / 2, 0.99, (s + s / t) / 2, s / 2])
        uniform[1, 0, 1], log_p[0, 1, 0] = 0, -torch.inf
        log_p[0, 1] = log_p[0, 1].log_softmax(dim=-1)
        known[:, 4], x_t[:, 4], uniform[0, :, 4], uniform[0, 0, 4] = False, num_codes, 0.99, s / 2
        return x_t, log_p, x_0, known, gamma_bar, uniform

    return [
        probe(2, 8, 3, (0.5, 0.8)),
        probe(3, 6, 5, (0.0, 0.4)),
        probe(2, 10, 4, (0.3, 1.0)),
    ]


def _held(arguments: Arguments, results: list[np.ndarray]) -> bool:
    _, _, x_0, known, _, _ = arguments
    return bool((results[0] == x_0.numpy())[known.numpy()].all())


def _visible_stay(arguments: Arguments, results: list[np.ndarray]) -> bool:
    x_t, log_p_x0, _, known, _, _ = arguments
    visible = (x_t < log_p_x0.shape[-1]) & ~known
    return bool((results[0] == x_t.numpy())[visible.numpy()].all())


def _nothing_masked_at_zero(arguments: Arguments, results: list[np.ndarray]) -> bool:
    return arguments[4][0] > 0 or bool((results[0] < arguments[1].shape[-1]).all())


def _possible(arguments: Arguments, results: list[np.ndarray]) -> bool:
    x_t, log_p_x0, _, known, _, _ = arguments
    num_codes = log_p_x0.shape[-1]
    x_s = torch.from_numpy(results[0]).long().clamp(0, num_codes)
    drawn = (x_t == num_codes) & (x_s < num_codes) & ~known
    log_p = log_p_x0.gather(-1, x_s.clamp(max=num_codes - 1)[..., None])[..., 0]
    return not bool((log_p[drawn] == -torch.inf).any())


INPAINTING_STEP = Exercise(
    id="inpainting_step",
    lesson=6,
    points=4,
    reference=inpainting_step,
    probes=_probes,
    mistakes=(
        Mistake("masked_again", "known tokens were masked again", _masked_again),
        Mistake("known_inverted", "the tokens that are not known were held", _known_inverted),
        Mistake(
            "share_at_s",
            "a masked token stays masked with the share at s, not divided by that at t",
            _share_at_s,
        ),
        Mistake(
            "visible_redrawn",
            "tokens that were visible already were treated as if they were masked",
            _visible_redrawn,
        ),
        Mistake(
            "one_number",
            "one random number decides both whether a token is revealed and what it becomes",
            _one_number,
        ),
        Mistake(
            "shared_noise",
            "all sequences got the random numbers of the first one",
            _shared_noise,
        ),
        Mistake(
            "at_least",
            "the code is the first whose cumulative sum is at least u, not above it",
            _at_least,
            "lesson 06, By hand, part 1",
        ),
        Mistake(
            "revealed_below",
            "small first numbers reveal a token, and large ones keep it masked",
            _revealed_below,
        ),
    ),
    properties=(
        Property("known tokens are those of x_0", _held),
        Property("a token that was visible stays as it was", _visible_stay),
        Property("nothing is masked at s = 0", _nothing_masked_at_zero),
        Property("no code of probability 0 is drawn", _possible),
    ),
)
