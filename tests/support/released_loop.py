"""The sampling loop of the released Improved VQ-Diffusion code, a second time and apart from ours.

Written in numpy from a written account of what that code does, by somebody who had read neither
that code nor the package's unmasking rules: where the two disagree, one has to say why.
Names are those of the released code (`prior_rule`, `prior_weight`, `prior_ps`, `n_sample`) and so
is the time: index t = T - 1, ..., 0 belongs to level t + 1. Images start as MASK everywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

FLOOR = -70.0  # stands for log 0
ALL_AT_ONCE = 1024  # prior_ps where no speed is given

Denoiser = Callable[[np.ndarray, int], np.ndarray]  # (x_t (b, n), t) -> log p(x_0 | x_t) (b, n, k)


@dataclass(frozen=True)
class Chain:
    """Levels 0..T: the chance that a code was kept as it is, became code j, became MASK."""

    kept: Sequence[float]
    replaced: Sequence[float]  # for each of the k codes
    masked: Sequence[float]
    num_codes: int

    @property
    def num_timesteps(self) -> int:
        return len(self.kept) - 1

    def from_data(self, level: int) -> np.ndarray:
        """P(x_level = column | x_0 = row)."""
        return self._matrix(self.kept[level], self.replaced[level], self.masked[level])

    def one_step(self, level: int) -> np.ndarray:
        """P(x_level = column | x_(level - 1) = row)."""
        still_code = (1 - self.masked[level]) / (1 - self.masked[level - 1])
        kept = self.kept[level] / self.kept[level - 1]
        return self._matrix(kept, (still_code - kept) / self.num_codes, 1 - still_code)

    def _matrix(self, kept: float, replaced: float, masked: float) -> np.ndarray:
        k = self.num_codes
        matrix = np.zeros((k + 1, k + 1))
        matrix[:k, :k] = kept * np.eye(k) + replaced
        matrix[:k, k] = masked
        matrix[k, k] = 1.0
        return matrix


@dataclass(frozen=True)
class Loop:
    """What one call of the released sampler is given; `n_sample[0]` is never read."""

    n_sample: Sequence[int]
    prior_rule: int = 0  # 0 ancestral, 1 few tokens at random positions, 2 few tokens by purity
    prior_weight: float = 0.0
    prior_ps: int = ALL_AT_ONCE
    guidance_scale: float = 1.0
    truncation_rate: float = 1.0


def sample(
    loop: Loop,
    chain: Chain,
    shape: tuple[int, int],
    rng: np.random.Generator,
    denoiser: Denoiser,
    null_denoiser: Denoiser | None = None,
) -> np.ndarray:
    """`shape` = (images, positions) tokens by the released loop."""
    mask = chain.num_codes
    x = np.full(shape, mask)

    def predict(t: int) -> np.ndarray:
        null = None if null_denoiser is None else null_denoiser(x, t)
        return predicted_x0(loop, denoiser(x, t), null)

    for t in reversed(range(chain.num_timesteps)):
        if loop.prior_rule == 0 or t == 0:
            x = draw(posterior(chain, predict(t), x, t), rng)
            continue
        for count in calls(loop.n_sample[t], loop.prior_ps):
            log_p, score = purity(loop, predict(t))
            values = draw(np.exp(log_p), rng)
            x = np.where(choose(score * (x == mask), count, rng), values, x)
    return x


def predicted_x0(loop: Loop, log_p: np.ndarray, log_null: np.ndarray | None) -> np.ndarray:
    """Guided, then truncated log p(x_0 | x_t), with a row for MASK; truncated it sums to less."""
    log_p = np.maximum(log_p, FLOOR)
    if log_null is not None and abs(loop.guidance_scale - 1) >= 1e-3:
        log_null = np.maximum(log_null, FLOOR)
        log_p = normalised(log_null + loop.guidance_scale * (log_p - log_null))
    mask_row = np.full((*log_p.shape[:-1], 1), FLOOR)
    log_p = np.concatenate([log_p, mask_row], axis=-1)
    order = np.argsort(-log_p, axis=-1, kind="stable")
    p_sorted = np.exp(np.take_along_axis(log_p, order, axis=-1))
    mass_before = np.cumsum(p_sorted, axis=-1) - p_sorted
    kept = np.empty(log_p.shape, dtype=bool)
    np.put_along_axis(kept, order, mass_before < loop.truncation_rate, axis=-1)
    return np.where(kept, log_p, FLOOR)


def purity(loop: Loop, log_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What values are drawn from, and the score that positions are drawn by, largest score 1."""
    score = np.exp(log_p).max(axis=-1) if loop.prior_rule == 2 else np.ones(log_p.shape[:-1])
    score = score / score.max(axis=-1, keepdims=True)
    if loop.prior_rule == 2 and loop.prior_weight > 0:
        log_p = normalised(log_p * (1 + loop.prior_weight * score[..., None]))
    return log_p, score


def posterior(chain: Chain, log_p: np.ndarray, x: np.ndarray, t: int) -> np.ndarray:
    """P(x_(level - 1) | x_level) at level t + 1 up to a factor; at t = 0 it is p(x_0 | x_1)."""
    if t == 0:
        return np.exp(log_p)
    k = chain.num_codes
    p_x_given_x0 = chain.from_data(t + 1)[:k, :].T[x]  # (b, n, k)
    possible = p_x_given_x0 > 0
    weight = np.divide(np.exp(log_p[..., :k]), p_x_given_x0, where=possible, out=0.0 * p_x_given_x0)
    return (weight @ chain.from_data(t)[:k]) * chain.one_step(t + 1).T[x]


def choose(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` positions an image without replacement, each in proportion to its weight: a race."""
    with np.errstate(divide="ignore"):
        arrival = rng.exponential(size=weights.shape) / weights  # a weight of 0 never arrives
    rank = arrival.argsort(axis=-1).argsort(axis=-1)
    return (rank < count) & (weights > 0)


def draw(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One class for each position, in proportion to its weights."""
    cumulative = weights.cumsum(axis=-1)
    level = rng.random((*weights.shape[:-1], 1)) * cumulative[..., -1:]
    return (cumulative > level).argmax(axis=-1)


def normalised(logits: np.ndarray) -> np.ndarray:
    """log softmax over classes, none below the floor."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    return np.maximum(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)), FLOOR)


def calls(count: int, prior_ps: int) -> list[int]:
    """Tokens of each network call that together show `count` tokens at one timestep."""
    shown = []
    while count > 0:
        now = count if count - prior_ps == 1 else min(count, prior_ps)  # nobody is left alone
        shown.append(now)
        count -= now
    return shown


def tokens_per_call(num_timesteps: int, speed: float | None) -> int:
    """`prior_ps` of an image of 1,024 tokens."""
    return ALL_AT_ONCE if speed is None else int(1024 // num_timesteps * speed)


def count_table(num_timesteps: int, prior_ps: int) -> list[int]:
    """`n_sample` for 1,024 tokens: how many are shown at t = 1, ..., T - 1; entry 0 is not used."""
    middle = [11, 10, 10] * 32
    tables = {
        100: [1, 10, *middle, 11, 11] if prior_ps > 10 else [1, 6, *middle, 11, 15],
        50: [10, *[21, 20] * 24, 30],
        25: [21, *[41] * 23, 60],
        10: [69, *[102] * 8, 139],
    }
    return tables[num_timesteps]


def network_evaluations(n_sample: Sequence[int], prior_ps: int) -> int:
    """Calls of the network for one image, the redraw at t = 0 included."""
    return 1 + sum(len(calls(count, prior_ps)) for count in n_sample[1:])
