r"""The reverse process with less work: first *where* a token can change, then *to what*.

`sampler.sample` asks for the distribution of every token in every step, and nearly all of them stay
what they are. Most of that can be known without asking:

- A MASK token stays MASK with the probability $\bar\gamma_s / \bar\gamma_t$, whatever the network
  says.
- A code i stays with $a\,p_i + b\,(1 - p_i)$, where $p_i$ is what the network says of it, and a and
  b are the probabilities to stay if the clean token is i, and if it is not. That is linear in
  $p_i$, so it stays with $\min(a, b)$ at least.

So for each token and each step two uniform numbers are drawn beforehand: u decides whether it
changes, `pick` to what. Where u is below the least probability to stay the token stays, and that is
all. The others are *asked*: the network's scores are needed at their positions alone. There a MASK
token becomes a code, and a code changes if u is not below its true probability to stay. What it
becomes is drawn from the same reverse step without the class that it has. But for rounding the
distribution is that of `sampler.sample`, token by token and step by step; the random numbers are
used in another way, so a seed gives other tokens. The pipeline calls it `noise="fast"`.

A step in which nothing is asked of a sequence needs no network: each sequence of a batch goes on to
the next level at which it is asked something. With masks alone a token is asked once: n tokens need
at most n evaluations, however many levels and sequences there are. That is the first-hitting
sampler of Zheng et al. 2024, https://arxiv.org/abs/2409.02908, with our T levels as the times.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from vqlearn.diffusion.model import DiffusionModel, predicted
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.rule import UnmaskingRule
from vqlearn.diffusion.reveal.unmasking import one_if_equal
from vqlearn.diffusion.sampler import Denoise
from vqlearn.probability import (
    IMPOSSIBLE,
    PLAIN,
    Condition,
    Generators,
    Given,
    Sampling,
    finest_float,
    inverse_cdf,
    uniform,
)
from vqlearn.probability.checks import Level, check_kind


@runtime_checkable
class QuickDenoise(Protocol):
    """`sampler.Denoise` that can be asked for some positions alone."""

    def __call__(
        self, x_t: Int[Tensor, "b n"], t: Level, positions: Int[Tensor, " m"] | None = None
    ) -> Float[Tensor, "*m k"]:
        """log p(x_0 | x_t): (m, K) at positions of the flattened batch, or (b, n, K) at all.

        Positions ascend. They are on the CPU, as the levels are.
        """


def quick_walk(
    model: DiffusionModel,
    denoise: QuickDenoise,
    x_t: Int[Tensor, "b n"],
    levels: Sequence[int] | UnmaskingRule,
    *,
    given: Given | None = None,
    generator: Generators = None,
) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
    """As `DiffusionModel.walk`, with a `quick_denoiser`: the same distribution, less work.

    It yields after every evaluation, and there may be fewer of them than levels.

    An unmasking rule looks at all tokens: there the random numbers are the same, too, and only the
    network is quicker. Raises `TypeError` for another process than `MaskAndReplace`.
    """
    check_kind("the process of quick steps", model.process, MaskAndReplace)
    where = {"given": given, "generator": generator}
    if isinstance(levels, UnmaskingRule):
        return model.walk(denoise, x_t, levels, **where)
    return quick_sample(model.process, denoise, x_t, levels, **where)


def quick_denoiser(
    model: DiffusionModel,
    condition: Condition | None = None,
    sampling: Sampling = PLAIN,
    *,
    renormalised: bool = True,
) -> QuickDenoise:
    """`DiffusionModel.denoiser` in fewer operations, without gradients, also at some positions.

    For networks that can prepare their text (`Denoiser.prepared`); others compute all that
    `denoiser` does. Raises `ValueError` as that one.
    """
    plain = model.denoiser(condition, sampling, renormalised=renormalised)  # checks what is asked
    if condition is None or not hasattr(model.network, "prepared"):
        return at_positions(torch.no_grad()(plain))
    text = model.network.prepared(*model.told(condition, guided=sampling.is_guided))

    def denoise(
        x_t: Int[Tensor, "b n"], t: Level, positions: Int[Tensor, " m"] | None = None
    ) -> Float[Tensor, "*m k"]:
        scores = model.network.quick_scores(x_t, t, text, positions)
        if positions is None:
            return predicted(scores, t, sampling, renormalised=renormalised)
        t = t if isinstance(t, int) else t[positions // x_t.shape[1]]  # one for each position
        return predicted(scores[:, None], t, sampling, renormalised=renormalised)[:, 0]

    return denoise


class Asked(NamedTuple):
    """The tokens that one evaluation may change, from what level to what, and the random numbers.

    Positions, t and s are on the CPU: no step waits for a GPU to say how many tokens there are.
    """

    positions: Int[Tensor, " m"]
    """Of the batch, flattened, ascending: sequence * n + place."""
    t: Int[Tensor, " m"]
    s: Int[Tensor, " m"]
    u: Float[Tensor, " m"]
    pick: Float[Tensor, " m"]


def quick_sample(
    process: MaskAndReplace,
    denoise: QuickDenoise,
    x_t: Int[Tensor, "b n"],
    levels: Sequence[int],
    *,
    given: Given | None = None,
    generator: Generators = None,
) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
    """As `sampler.sample`, one evaluation after the other: yields (s, x_s) after each.

    The same distribution with other random numbers. The sequences have levels of their own; s is
    the highest, from which the next evaluation starts. Given tokens are never asked. Where nothing
    can change, x_t is yielded once. What is yielded must not be changed: the steps to come are
    planned for it.
    """
    x_t = x_t.clone() if given is None else given.keep(x_t)  # (b, n)
    plan = planned(process, x_t, levels, given=given, generator=generator)
    if not plan and len(levels) > 1:  # nothing can change
        yield levels[-1], x_t
    for number, asked in enumerate(plan, 1):
        log_p_x0 = denoise(x_t, levels_of(asked, x_t), asked.positions)  # (m, K)
        x_t = take_step(process, log_p_x0, x_t, asked)
        yield levels[-1] if number == len(plan) else int(plan[number].t.max()), x_t


def levels_of(asked: Asked, x_t: Int[Tensor, "b n"]) -> Level:
    """The level of every sequence. Those that are not asked may have any."""
    levels = torch.full(x_t.shape[:1], int(asked.t.max()))
    levels[asked.positions // x_t.shape[1]] = asked.t
    return one_if_equal(levels)


def planned(
    process: MaskAndReplace,
    x_t: Int[Tensor, "b n"],
    levels: Sequence[int],
    *,
    given: Given | None = None,
    generator: Generators = None,
) -> list[Asked]:
    """What each evaluation asks: nothing that the network says is needed to know it."""
    home, finest = torch.device("cpu"), finest_float(x_t.device)
    masked = x_t.to(home) == process.mask  # (b, n)
    free = torch.ones_like(masked) if given is None else ~given.where.to(home)
    steps = []
    for t, s in pairwise(levels):
        u, pick = uniform((*x_t.shape, 2), home, generator=generator).unbind(-1)  # (b, n) each
        asked = free & (u >= least_stay(process, masked, s, t))
        masked = masked & ~asked
        (positions,) = asked.flatten().nonzero(as_tuple=True)
        t, s = (torch.full_like(positions, level) for level in (t, s))
        steps.append(Asked(positions, t, s, u[asked], pick[asked]))
    return [
        asked._replace(u=asked.u.to(x_t.device, finest), pick=asked.pick.to(x_t.device, finest))
        for asked in evaluations(steps, x_t.shape[1])
    ]


def evaluations(steps: list[Asked], num_positions: int) -> list[Asked]:
    """The same questions, put together: first what each sequence is asked first, and so on."""
    if not any(len(asked.positions) for asked in steps):
        return []
    together = Asked(*(torch.cat(each) for each in zip(*steps, strict=True)))
    sequence = together.positions // num_positions
    times, time = torch.stack([sequence, -together.t], dim=1).unique(dim=0, return_inverse=True)
    first = torch.searchsorted(times[:, 0].contiguous(), times[:, 0].contiguous())
    number = (torch.arange(len(times)) - first)[time]  # how often the sequence was asked before
    order = together.positions.argsort()
    order = order[number[order].argsort(stable=True)]
    parts = order.split(number.bincount().tolist())
    return [Asked(*(each[part] for each in together)) for part in parts]


def least_stay(
    process: MaskAndReplace, masked: Bool[Tensor, "b n"], s: int, t: int
) -> Float64[Tensor, "b n"]:
    """The probability to stay that no prediction can make smaller; of MASK it is the true one.

    It is read off three rows of the posterior: a code that is right, one that is wrong, and MASK.
    """
    gamma_bar_t = process.schedule.gamma_bar[t]
    wrong = min(1, process.num_codes - 1)
    x_0, x_t = torch.tensor([[0, wrong, 0], [0, 0, process.mask]])
    if gamma_bar_t == 0:  # nothing is MASK at this level: there is no such row
        x_t[-1] = 0
    log_p = process.log_posterior(x_0[None], x_t[None], s, t, dtype=torch.float64)
    right, wrong, mask = log_p.gather(-1, x_t[None, :, None]).exp().flatten()
    mask = mask if gamma_bar_t > 0 else torch.zeros_like(mask)  # asked, and refused there
    return torch.where(masked, mask, torch.minimum(right, wrong))


def take_step(
    process: MaskAndReplace,
    log_p_x0: Float[Tensor, "m k"],
    x_t: Int[Tensor, "b n"],
    asked: Asked,
) -> Int[Tensor, "b n"]:
    """x_s: the tokens that were asked as they are now, the others as they were."""
    tokens, positions = x_t.flatten(), asked.positions.to(x_t.device)
    before = tokens[positions]  # (m,)
    s, t = one_if_equal(asked.s), one_if_equal(asked.t)
    log_p = process.log_reverse(log_p_x0[:, None], before[:, None], s, t)[:, 0]  # (m, classes)
    others = log_p.scatter(-1, before[:, None], IMPOSSIBLE).to(asked.u.dtype)
    leaves = others.exp().sum(dim=-1)  # the probability, also where it is too small for 1 - stay
    moves = (1 - asked.u <= leaves) & (leaves > 0)
    moves |= before == process.mask  # one that is asked is revealed
    after = torch.where(moves, inverse_cdf(others, asked.pick), before)
    return tokens.index_copy(0, positions, after).view_as(x_t)


def at_positions(denoise: Denoise) -> QuickDenoise:
    """A denoiser that computes all positions, of which those that are asked for are taken."""

    def quick(x_t: Tensor, t: Level, positions: Tensor | None = None) -> Tensor:
        log_p_x0 = denoise(x_t, t)
        return log_p_x0 if positions is None else log_p_x0.flatten(0, 1)[positions.to(x_t.device)]

    return quick
