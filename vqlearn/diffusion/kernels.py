r"""Ways to corrupt a token: uniform, absorbing, Gaussian, nearest neighbour, binomial.

Each is a `Process`, made from its one-step matrices $Q_t$ (rows: from class i to class j). What
differs is which classes a token visits on its way to noise: any (uniform), MASK (absorbing),
similar grey values (Gaussian) or similar codes (nearest neighbour). Kernels without MASK have a
doubly stochastic $Q_t$, so that noise is uniform, and `num_classes` is K.

Source: Austin et al. 2021 (D3PM), appendix A.2, where no other is named.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vqlearn.diffusion.d3pm import DenseProcess
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import Schedule, build_schedule, multinomial
from vqlearn.probability.checks import check_sizes

AlphaBar = Callable[[int], Float64[Tensor, " levels"]]
"""alpha_bar(T): the cumulative share that is kept, at the levels 0..T; from 1 downwards."""

TAYLOR_TERMS = 18  # 1/19! is below the rounding of float64
INFORMATION_LEFT = 1e-4  # at level T, for after no finite time nothing is left
TIMES = 200  # rows of the table from which times are interpolated


def linear(num_timesteps: int) -> Float64[Tensor, " levels"]:
    r"""$\bar\alpha_t = 1 - t/T$, which is $\beta_t = 1/(T-t+1)$: Sohl-Dickstein et al. 2015."""
    return torch.arange(num_timesteps, -1, -1, dtype=torch.float64) / num_timesteps


def cosine(num_timesteps: int) -> Float64[Tensor, " levels"]:
    r"""$\bar\alpha_t = f(t)/f(0)$, $f(t) = \cos\frac{\pi}{2}\frac{t/T + 0.008}{1.008}$.

    Not squared: it is the square root of the schedule that Nichol and Dhariwal 2021 made for
    variances. It is computed as the sine of what is left, which is exactly 0 at T.

    Source: Hoogeboom et al. 2021, "Argmax Flows and Multinomial Diffusion".
    """
    left = linear(num_timesteps) / 1.008
    return (left * math.pi / 2).sin() / math.sin(math.pi / 2 / 1.008)


def uniform(num_codes: int, num_timesteps: int, *, alpha_bar: AlphaBar = cosine) -> DenseProcess:
    r"""Keep the token, or draw any code: $[Q_t]_{ij} = \alpha_t [i = j] + (1 - \alpha_t)/K$.

    With `linear` it is `schedule.multinomial`, whose `MaskAndReplace` costs O(K) for each token.

    Source: Hoogeboom et al. 2021; D3PM-uniform.
    """
    _check_counts(num_codes, num_timesteps)
    kept = alpha_bar(num_timesteps)

    def step(t: int) -> Tensor:
        alpha = float(kept[t] / kept[t - 1])
        return alpha * torch.eye(num_codes, dtype=torch.float64) + (1 - alpha) / num_codes

    return _without_mask(step, num_codes, num_timesteps)


def absorbing(num_codes: int, num_timesteps: int) -> DenseProcess:
    r"""Mask the token for ever with probability $\beta_t = 1/(T-t+1)$, else keep it.

    MASK is the last class, K. `schedule.absorbing` is the same at O(K) for each token.
    """
    _check_counts(num_codes, num_timesteps)

    def step(t: int) -> Tensor:
        beta = 1 / (num_timesteps - t + 1)
        return _mask_and_replace_step(1 - beta, 0.0, beta, num_codes)

    prior = torch.eye(num_codes + 1, dtype=torch.float64)[num_codes]
    return DenseProcess(step, num_timesteps, prior, num_codes=num_codes)


def mask_and_replace(schedule: Schedule) -> DenseProcess:
    r"""The process of VQ-Diffusion as matrices: the slow twin of `process.MaskAndReplace`.

    Source: Gu et al. 2022.
    """

    def step(t: int) -> Tensor:
        alpha, beta, gamma = map(float, schedule.stride(t - 1, t))
        return _mask_and_replace_step(alpha, beta, gamma, schedule.num_codes)

    prior = MaskAndReplace(schedule).log_prior().exp()
    return DenseProcess(step, schedule.num_timesteps, prior, num_codes=schedule.num_codes)


def discretised_gaussian(
    num_codes: int, num_timesteps: int, *, betas: tuple[float, float] = (1e-4, 0.02)
) -> DenseProcess:
    r"""Move to a near code rather than to a far one: for grey values and other ordered codes.

    $[Q_t]_{ij} = w_{i-j}$ off the diagonal, $w_d \propto e^{-4 d^2 / ((K-1)^2 \beta_t)}$ with a
    sum of 1 over $d = -(K-1) \ldots K-1$; the diagonal takes the rest. So $Q_t$ is symmetric and
    its rows sum to 1: noise is uniform.

    $\beta_t$ is a straight line between `betas`, which are those of the paper and mean 1,000
    steps: both are multiplied by 1000 / T. On [-1, 1] a step has the variance $\beta_t / 2$ where
    that is wide against the distance of two codes; with few codes nothing would ever move, so
    give larger ones. What x_T still tells of the data costs bits in `objective.prior_term`.
    """
    _check_counts(num_codes, num_timesteps)
    if not (betas[0] > 0 and betas[1] > 0):
        raise ValueError(f"betas are {betas}; allowed: numbers above 0")
    line = torch.linspace(*betas, num_timesteps, dtype=torch.float64) * 1000 / num_timesteps
    codes = torch.arange(num_codes)
    distance = (codes[:, None] - codes).abs()  # (K, K): |i - j|
    squares = torch.arange(1 - num_codes, num_codes, dtype=torch.float64).square()  # (2K - 1,)
    squares /= (num_codes - 1) ** 2

    def step(t: int) -> Tensor:
        # Normalised over all differences, the same for every row: that makes Q_t symmetric.
        weights = (-4 * squares / line[t - 1]).softmax(dim=0)[num_codes - 1 :]  # of |d| = 0..K-1
        matrix = weights[distance]  # (K, K)
        # Near the edges some differences lead nowhere: their weight stays on the diagonal.
        return matrix + (1 - matrix.sum(dim=-1)).diag()

    return _without_mask(step, num_codes, num_timesteps)


def nearest_neighbour(
    embeddings: Float[Tensor, "k d"], num_timesteps: int, *, num_neighbours: int = 10
) -> DenseProcess:
    r"""Move to a code with a similar embedding: $Q_t = e^{\alpha_t R}$.

    The embeddings are codebook vectors, or any others that say which codes are alike. With
    $G_{ij} = 1$ for the k nearest neighbours j of i, $A = (G + G^T)/2k$ and R is A with a diagonal
    that makes its rows sum to 0. R is symmetric, so noise is uniform. The times
    $\bar\alpha_t = \alpha_1 + \ldots + \alpha_t$ are chosen so that level t still holds the share
    1 - t/T of the information about x_0, if all codes are equally frequent (`information_times`).

    Raises `ValueError` if the neighbours fall into groups that no path connects: then x_T would
    still tell the group. Take more neighbours.
    """
    _check_counts(len(embeddings), num_timesteps)
    rates = neighbour_rates(embeddings, num_neighbours)
    times = information_times(rates, num_timesteps)
    exponential = _exponential(rates)

    def step(t: int) -> Tensor:
        return exponential(float(times[t] - times[t - 1]))

    return _without_mask(step, len(embeddings), num_timesteps)


def binomial(num_timesteps: int) -> MaskAndReplace:
    r"""Flip bits: $q(x_t = 1 \mid x_{t-1}) = x_{t-1}(1 - \beta_t) + \beta_t/2$.

    With $\beta_t = 1/(T-t+1)$ that is: keep with $1-\beta_t$, else draw one of two codes. As
    $\prod_{u \le t} (1-\beta_u) = 1 - t/T$, it is the multinomial corner with K = 2.
    Source: Sohl-Dickstein et al. 2015, "Deep Unsupervised Learning".
    """
    return MaskAndReplace(build_schedule(multinomial(2, num_timesteps)))


def neighbour_rates(
    embeddings: Float[Tensor, "k d"], num_neighbours: int
) -> Float64[Tensor, "k k"]:
    """R of `nearest_neighbour`: symmetric, rows sum to 0. Of equally near codes the first count.

    Raises `ValueError` unless 1 <= num_neighbours < K.
    """
    count = len(embeddings)
    if not 1 <= num_neighbours < count:
        raise ValueError(f"num_neighbours is {num_neighbours}; allowed: 1 to {count - 1}")
    points = embeddings.detach().to("cpu", torch.float64)
    # By differences: the quick formula with a matrix product rounds equal distances apart.
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    order = distance.fill_diagonal_(torch.inf).argsort(dim=-1, stable=True)
    graph = torch.zeros_like(distance).scatter_(-1, order[:, :num_neighbours], 1.0)
    # j may be near to i and not i to j: the mean of both is symmetric.
    near = (graph + graph.T) / (2 * num_neighbours)
    return near - near.sum(dim=-1).diag()


def information_times(
    rates: Float64[Tensor, "k k"], num_timesteps: int
) -> Float64[Tensor, " levels"]:
    r"""The times a at which the share 1 - t/T of the information is left, for the levels 0..T.

    The information of $x_t$ about a uniform $x_0$ is $\log K$ less the mean entropy of the rows
    of $e^{aR}$. It never quite vanishes: level T keeps $10^{-4}$ of it. Interpolated in a table of
    200 times. Raises `ValueError` if the codes fall into groups.
    """
    decay, modes = torch.linalg.eigh(rates)  # (K,), ascending, and (K, K)
    still = int((decay > -1e-10).sum())  # one mode for each group that keeps its probability
    if still > 1:
        raise ValueError(f"the codes fall into {still} groups of neighbours; allowed: one")
    # From next to nothing to ten times the life of the slowest mode but the constant one.
    first, last = 1e-4 / num_timesteps, float(-10 / decay[-2])
    times = torch.logspace(math.log10(first), math.log10(last), TIMES, dtype=torch.float64)
    most = math.log(len(rates))
    left = []  # share of the information, at each time of the table
    for a in times:
        rows = (modes * (a * decay).exp() @ modes.T).clamp(min=0)  # (K, K): e^{aR}
        left.append(1 - float(torch.special.entr(rows).sum(dim=-1).mean()) / most)
    wanted = linear(num_timesteps)[1:].clamp(min=INFORMATION_LEFT)
    # np.interp wants rising numbers, and the information falls.
    found = np.interp(-wanted.numpy(), -np.array(left), times.log().numpy())
    return torch.cat([torch.zeros(1, dtype=torch.float64), torch.from_numpy(found).exp()])


def _exponential(rates: Tensor) -> Callable[[float], Tensor]:
    r"""The function $a \mapsto e^{aR}$, as a sum of numbers that are not negative.

    $e^{aR} = \sum_m e^{-ac} \frac{(ac)^m}{m!} P^m$ with $P = 1 + R/c$: m jumps, Poisson many. A
    long time is halved until it holds one jump on average, and the matrix squared as often.
    """
    rate = float(-rates.diagonal().min())
    jump = (torch.eye(len(rates), dtype=torch.float64) + rates / rate).clamp(min=0)
    powers = [torch.eye(len(rates), dtype=torch.float64)]
    for m in range(1, TAYLOR_TERMS + 1):
        powers.append(powers[-1] @ jump / m)
    stacked = torch.stack(powers)  # (terms, K, K): P^m / m!

    def exponential(time: float) -> Tensor:
        halvings = max(0, math.ceil(math.log2(time * rate))) if time > 0 else 0
        jumps = torch.tensor(time * rate / 2**halvings, dtype=torch.float64)
        weights = jumps ** torch.arange(TAYLOR_TERMS + 1) * (-jumps).exp()  # (terms,)
        matrix = torch.tensordot(weights, stacked, dims=1)  # (K, K)
        for _ in range(halvings):
            matrix = matrix @ matrix
        return matrix

    return exponential


def _mask_and_replace_step(alpha: float, beta: float, gamma: float, num_codes: int) -> Tensor:
    """The matrix of keep, replace, mask; the last row is MASK, which stays. (K + 1, K + 1)."""
    step = torch.eye(num_codes + 1, dtype=torch.float64)
    step[:num_codes] *= alpha
    step[:num_codes, :num_codes] += beta
    step[:num_codes, num_codes] = gamma
    return step


def _without_mask(
    step: Callable[[int], Tensor], num_codes: int, num_timesteps: int
) -> DenseProcess:
    """The process of doubly stochastic steps: their noise is uniform."""
    prior = torch.full((num_codes,), 1 / num_codes, dtype=torch.float64)
    return DenseProcess(step, num_timesteps, prior, num_codes=num_codes)


def _check_counts(num_codes: int, num_timesteps: int) -> None:
    check_sizes({"num_codes": num_codes, "num_timesteps": num_timesteps}, num_codes=2)
