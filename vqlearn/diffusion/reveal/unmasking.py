r"""From MASK to tokens by an unmasking rule: one step, and the loop over the steps.

A MASK token that the rule reveals takes its value from the rule's prediction p, carried to the
lower level s of the step: $(\bar\alpha_s p_j + \bar\beta_s)/(1 - \bar\gamma_s)$. That is p itself
on the absorbing chain, and at s = 0. A token that is not MASK takes its row of the ancestral
posterior. So a binomial number of tokens at random positions with the plain prediction is the
ancestral sampler (`sampler.sample`), on every schedule.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.rule import Corrected, Moment, Ranking, UnmaskingRule, plain
from vqlearn.diffusion.sampler import Denoise
from vqlearn.probability import (
    Generators,
    Given,
    log_one_hot,
    sample_categorical,
    uniform,
)
from vqlearn.probability.checks import Level

Step = Callable[[Int[Tensor, "b n"], int], Int[Tensor, "b n"]]
"""step(x_t, i): x_s after step i = 0, 1, …"""

REDRAW_LEVEL = 1  # the lowest one at which the network can be asked


def unmask(
    process: MaskAndReplace,
    denoise: Denoise,
    x_t: Int[Tensor, "b n"],
    rule: UnmaskingRule,
    *,
    given: Given | None = None,
    generator: Generators = None,
) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
    """Reveal the MASK tokens of x_t step by step; yield (s, x_s) after every step.

    Start from `sampler.all_masked`. Sequences whose numbers of MASK tokens differ have levels of
    their own; s is the highest of the batch. Given tokens are held, as in `sampler.sample`. One
    call of the denoiser a step. The exact distribution of the result is
    `exact.revealed.unmasking_distribution`.

    `rule.compatible` = "released" does what the released code of Tang et al. 2022 does: values come
    from p itself whatever the level is, tokens once drawn stay as they are, and one more step at
    level 1 redraws all of them, each on its own, from p. Where tokens are also replaced, this
    changes the distribution, and more levels do not bring it back. A truncated prediction should
    come as it is cut, not renormalised (`DiffusionModel.steps` asks for that): then the purity of a
    position is that of the whole prediction. The numbers of tokens are those of the rule; the
    released code's own are `released.released_counts`.

    A rule with a corrector around it (`correctors.py`) takes its own steps.

    Raises `ValueError` for more tokens a step than positions, and for a process without MASK.
    """
    take_step = stepping(process, denoise, rule, given=given, generator=generator)
    x_t = hold(given, x_t)
    step, t = 0, level_of(process, rule, x_t, 0)
    while (t > 0).any():
        x_t = take_step(x_t, step)
        step, t = step + 1, level_of(process, rule, x_t, step + 1)
        if rule.compatible is None or (t > 0).any():
            yield int(t.max()), x_t
        else:
            yield REDRAW_LEVEL, x_t
    if rule.compatible is not None:
        redrawn = sample_categorical(denoise(x_t, REDRAW_LEVEL), generator=generator)
        yield 0, hold(given, redrawn)


def stepping(
    process: MaskAndReplace,
    denoise: Denoise,
    rule: UnmaskingRule,
    *,
    given: Given | None = None,
    generator: Generators = None,
) -> Step:
    """step(x_t, i) draws x_s: step i of the rule, or of the corrector around it. Given tokens stay.

    A corrector asks the denoiser as often as it says; a rule asks it once.
    """
    if isinstance(rule, Corrected):
        return partial(rule.corrected_step, process, denoise, given=given, generator=generator)

    def step(x_t: Int[Tensor, "b n"], i: int) -> Int[Tensor, "b n"]:
        return hold(given, unmasking_step(process, denoise, x_t, rule, i, generator=generator))

    return step


def unmasking_step(
    process: MaskAndReplace,
    denoise: Denoise,
    x_t: Int[Tensor, "b n"],
    rule: UnmaskingRule,
    step: int,
    *,
    generator: Generators = None,
) -> Int[Tensor, "b n"]:
    """Draw x_s by the three answers of the rule: how many, which positions, which values."""
    moment, t = look(process, denoise, x_t, rule, step)
    count = draw_number(rule.how_many.log_counts(moment), generator)
    s = level_after(process, rule, moment, count)
    log_p = log_values(process, rule, moment, x_t, (t, s))  # (b, n, K)
    return reveal(rule, moment, log_p, count, generator=generator)


def reveal(
    rule: UnmaskingRule,
    moment: Moment,
    log_p: Float[Tensor, "b n k"],
    count: Int[Tensor, " b"],
    *,
    generator: Generators = None,
) -> Int[Tensor, "b n"]:
    """Draw x_s, once the number of tokens that are revealed is known, and `log_values`."""
    if rule.draws_first:
        token = sample_categorical(log_p, generator=generator)
        log_drawn = log_p.gather(-1, token[..., None])[..., 0]
        chosen = choose(rule.ranking(moment, count, log_drawn), moment, count, generator)
    else:
        chosen = choose(rule.ranking(moment, count, None), moment, count, generator)
        token = sample_categorical(log_p, generator=generator)
    return token.masked_fill(moment.masked & ~chosen, log_p.shape[-1])  # MASK follows the K codes


def look(
    process: MaskAndReplace,
    denoise: Denoise,
    x_t: Int[Tensor, "b n"],
    rule: UnmaskingRule,
    step: int,
) -> tuple[Moment, Int[Tensor, " b"]]:
    """Ask the denoiser: what the rule is told of step i, and the levels t at which it begins."""
    t = level_of(process, rule, x_t, step)
    # A sequence that is finished (t = 0) stays as it is; the network knows the levels 1..T.
    log_p_x0 = denoise(x_t, one_if_equal(t.clamp(min=1)))
    return Moment(process.schedule, step, log_p_x0, x_t == process.mask), t


def level_of(
    process: MaskAndReplace, rule: UnmaskingRule, x_t: Int[Tensor, "b n"], step: int
) -> Int[Tensor, " b"]:
    """The level at which step i begins for each sequence."""
    num_masked = (x_t == process.mask).sum(dim=-1)
    return rule.how_many.level(process.schedule, num_masked, x_t.shape[1], step)


def level_after(
    process: MaskAndReplace, rule: UnmaskingRule, moment: Moment, count: Int[Tensor, " b"]
) -> Int[Tensor, " b"]:
    """The level at which the step ends, when so many tokens are revealed."""
    left = moment.masked.sum(dim=-1) - count
    return rule.how_many.level(process.schedule, left, moment.masked.shape[1], moment.step + 1)


def log_values(
    process: MaskAndReplace,
    rule: UnmaskingRule,
    moment: Moment,
    x_t: Int[Tensor, "b n"],
    levels: tuple[Int[Tensor, " b"], Int[Tensor, " b"]],
) -> Float[Tensor, "b n k"]:
    """The distribution over the K codes of every token of x_s that is not MASK, not normalised.

    Of a MASK token: what it becomes if it is revealed. Of another one: its row of the posterior.
    The sum of a MASK token's row is the same at all positions of a sequence.
    """
    is_mask = moment.masked[..., None]
    log_p = moment.log_p_x0
    if rule.prediction is not plain:
        log_p = torch.where(is_mask, rule.prediction(log_p), log_p)
    if rule.compatible is not None:
        return torch.where(is_mask, log_p, unchanged(process, x_t, log_p.dtype))
    t, s = levels
    # With more tokens than levels a step may end at the level where it began. Then what is not MASK
    # stays, and what is revealed is still carried to s: the row for MASK does not depend on t.
    above = torch.maximum(t, s + 1).clamp(max=process.num_timesteps)
    below = torch.minimum(s, above - 1)
    row = process.log_reverse(log_p, x_t, one_if_equal(below), one_if_equal(above))[..., :-1]
    if (s < t).all():
        return row
    moves = is_mask | (s < t).to(x_t.device)[:, None, None]
    return torch.where(moves, row, unchanged(process, x_t, row.dtype))


def unchanged(
    process: MaskAndReplace, x_t: Int[Tensor, "b n"], dtype: torch.dtype
) -> Float[Tensor, "b n k"]:
    """All mass on the code that a token has; what it says of MASK is not used."""
    return log_one_hot(x_t.clamp(max=process.num_codes - 1), process.num_codes, dtype)


def choose(
    ranking: Ranking, moment: Moment, count: Int[Tensor, " b"], generator: Generators
) -> Bool[Tensor, "b n"]:
    """The `count` masked positions that come first."""
    key = ranking.score
    if ranking.noise is not None:
        u = 1 - uniform(key.shape, key.device, generator=generator)  # in (0, 1]
        key = key - ranking.noise * (-u.log()).log()  # plus Gumbel noise
    key = key.masked_fill(~moment.masked, -torch.inf)
    rank = key.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return moment.masked & (rank < count[:, None])


def one_if_equal(t: Int[Tensor, " b"]) -> Level:
    """One level for the batch where all sequences have the same."""
    return int(t[0]) if (t == t[0]).all() else t


def draw_number(log_p: Float[Tensor, "b counts"], generator: Generators) -> Int[Tensor, " b"]:
    """One number for each sequence."""
    return sample_categorical(log_p[:, None], generator=generator)[:, 0]


def hold(given: Given | None, x: Int[Tensor, "b n"]) -> Int[Tensor, "b n"]:
    """The sequences with their given tokens, if there are any."""
    return x if given is None else given.keep(x)
