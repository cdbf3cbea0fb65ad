r"""Correctors: tokens that were revealed become MASK again, and get another value.

What several tokens of one step got wrong together, an unmasking rule keeps for ever. A corrector
is put around any rule, and is a rule itself:

    model.sample(8, rule=ForwardAndBack(purity(3), levels_up=2))   # two network calls a step
    model.sample(8, rule=ReMDM(purity(3), sigma=0.1))              # one, as without it

**What they keep.** With the true $p(x_0 \mid x_t)$, plain predictions and an order that does not
look at them (random, Halton), what one network call makes of the process's own x_t has the right
distribution token by token: the step of `ReMDM`, and the correction of `ForwardAndBack`. The joint
distribution of several tokens is kept only where a call draws one token at most; what is drawn
together is independent, here too. In a run, the tokens that were drawn together are
dependent in another way than the data, and what is predicted from them is a little off even for
single tokens: with a corrector as without one.

An order that looks at the predictions (purity, entropy) keeps neither: which positions are shown
then tells of values that the remasking has forgotten. Nor do sharpened values and MaskGIT's choice
by value, with or without a corrector. With a network in the place of the truth nothing is kept
exactly: no corrector knows of its errors.

Given tokens are held, and are never masked.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.counts import Binomial, log_binomial
from vqlearn.diffusion.reveal.orders import at_random
from vqlearn.diffusion.reveal.rule import Corrected, Moment
from vqlearn.diffusion.reveal.unmasking import (
    choose,
    draw_number,
    hold,
    level_after,
    level_of,
    log_values,
    look,
    one_if_equal,
    reveal,
    stepping,
)
from vqlearn.diffusion.sampler import Denoise
from vqlearn.probability import Generators, Given, finest_float, sample_categorical
from vqlearn.probability.checks import Level, check_integer, check_number, shown


@dataclass(frozen=True)
class ForwardAndBack(Corrected):
    r"""After each step to level s: forward to s + `levels_up`, then back: one more network call.

    Forward is the process's own step (`log_forward`): it masks some tokens, and replaces some where
    the process does. Back reveals as many MASK tokens as became MASK, chosen and drawn by the rule;
    so the number of MASK tokens, by which rules tell their levels, is again that of the rule. With
    the joint reverse step the pair would leave $q(x_s)$ as it is. Token by token, what two tokens
    newly masked together have in common is lost again: the error of one correction falls with the
    square of `levels_up` / T, while it mends what the step did. Correctors may be put around each
    other: two of them correct twice.

    The idea of a predictor and a corrector is that of Campbell et al. 2022. Raises `ValueError` for
    fewer than one level.
    """

    levels_up: int = 1

    def __post_init__(self) -> None:
        check_integer("levels_up", self.levels_up, 1)

    def corrected_step(
        self,
        process: MaskAndReplace,
        denoise: Denoise,
        x_t: Int[Tensor, "b n"],
        step: int,
        *,
        given: Given | None = None,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        """The step of the rule, then forward and back. Finished sequences stay as they are."""
        unfinished = level_of(process, self, x_t, step) > 0
        x_s = stepping(process, denoise, self.rule, given=given, generator=generator)(x_t, step)
        s = level_of(process, self, x_s, step + 1)
        moves = unfinished & (s < process.num_timesteps)  # above T there is nothing
        s = torch.where(moves, s, 0)
        u = self.level_above(process, s)
        x_u = hold(given, sample_categorical(log_forward(process, x_s, s, u), generator=generator))
        moment = Moment(process.schedule, step, denoise(x_u, one_if_equal(u)), x_u == process.mask)
        count = moment.masked.sum(dim=-1) - (x_s == process.mask).sum(dim=-1)
        log_p = log_values(process, self.rule, moment, x_u, (u, s))
        back = reveal(self.rule, moment, log_p, count, generator=generator)
        return torch.where(moves.to(x_s.device)[:, None], hold(given, back), x_s)

    def level_above(self, process: MaskAndReplace, s: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """The level to which the correction goes forward: T at most."""
        return (s + self.levels_up).clamp(max=process.num_timesteps)


@dataclass(frozen=True)
class ReMDM(Corrected):
    r"""In each step every revealed token is masked again with probability sigma; more come out.

    The tokens that were shown before the step are masked again, not those that it reveals. So many
    more MASK tokens are revealed, by the rule, that the distribution of the number of MASK tokens
    after the step stays what the rule makes it: with a fixed number one more for each masked one,
    with `Binomial` MASK stays MASK with $(\bar\gamma_s-(1-\bar\gamma_t)\sigma)/\bar\gamma_t$.
    What is masked again is MASK after the step, so there is a cap: $\bar\gamma_s/(1-\bar\gamma_t)$
    for sigma there, all tokens that are MASK after the step with a fixed number. Therefore the last
    step masks none.
    (`Binomial`, random, plain) on the absorbing chain is the sampler of the source, with its
    schedule "cap". For $\sigma \le \bar\gamma_s$ that is also one long step back and a step
    forward. On other processes the rest of the step is as ever, and the marginals are kept too.

    Source: Wang et al. 2025, https://arxiv.org/abs/2503.00307. Raises `ValueError` for a sigma
    outside 0..1, and `TypeError` around another corrector, whose correction would be lost.
    """

    sigma: float = 0.1

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma)
        if not 0 <= self.sigma <= 1:
            raise ValueError(f"sigma is {self.sigma}; allowed: 0 to 1")
        if isinstance(self.rule, Corrected):
            raise TypeError(f"rule is {shown(self.rule)}; allowed: a rule without a corrector")

    def corrected_step(
        self,
        process: MaskAndReplace,
        denoise: Denoise,
        x_t: Int[Tensor, "b n"],
        step: int,
        *,
        given: Given | None = None,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        """Reveal some MASK tokens, and mask some of the others: one call of the denoiser."""
        moment, t = look(process, denoise, x_t, self.rule, step)
        free = ~moment.masked if given is None else ~(moment.masked | given.where)
        count = draw_number(self.log_counts(moment), generator)
        again = draw_number(self.log_remasked(moment, free, count), generator)
        count = self.revealed(count, again)
        s = level_after(process, self.rule, moment, count - again)
        log_p = log_values(process, self.rule, moment, x_t, (t, s))
        x_s = reveal(self.rule, moment, log_p, count, generator=generator)
        remasked = choose(at_random(moment), moment._replace(masked=free), again, generator)
        return hold(given, x_s.masked_fill(remasked, process.mask))

    def log_counts(self, moment: Moment) -> Float[Tensor, "b counts"]:
        """The number of tokens that the rule reveals, before `revealed` adds to it."""
        if not isinstance(self.rule.how_many, Binomial):
            return self.rule.how_many.log_counts(moment)
        _, stay = self.rule.how_many.shares(moment.schedule, moment.step, self.sigma)
        total = moment.masked.sum(dim=-1)
        return log_binomial(total, on_device(stay, total), moment.masked.shape[1])

    def log_remasked(
        self, moment: Moment, free: Bool[Tensor, "b n"], count: Int[Tensor, " b"]
    ) -> Float[Tensor, "b counts"]:
        """The number of the free tokens that are masked again, if the rule reveals `count`."""
        total, n = free.sum(dim=-1), free.shape[1]
        if isinstance(self.rule.how_many, Binomial):
            again, _ = self.rule.how_many.shares(moment.schedule, moment.step, self.sigma)
            return log_binomial(total, on_device(1 - again, total), n)
        again = torch.tensor(self.sigma, dtype=torch.float64)
        p = log_binomial(total, on_device(1 - again, total), n).exp()  # (b, n + 1)
        most = (moment.masked.sum(dim=-1) - count)[:, None]  # MASK after the step
        number = torch.arange(n + 1, device=free.device)
        return torch.zeros_like(p).scatter_add(-1, torch.minimum(number, most), p).log()

    def revealed(self, count: Int[Tensor, " b"], again: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """How many tokens come out in all: those of `Binomial` are enough already, on average."""
        return count if isinstance(self.rule.how_many, Binomial) else count + again


def log_forward(
    process: MaskAndReplace, x_s: Int[Tensor, "b n"], s: Level, u: Level
) -> Float[Tensor, "b n classes"]:
    """log q(x_u | x_s) over all x_u, for levels s < u: the process's own step, float64.

    Raises `ValueError` unless 0 <= s < u <= T.
    """
    home = finest_float(x_s.device)
    stride = process.schedule.stride(s, u)
    alpha, beta, gamma = (rearrange(x, "b 1 -> b 1 1").to(x_s.device, home) for x in stride)
    is_mask = rearrange(x_s == process.mask, "b n -> b n 1")
    same = functional.one_hot(x_s, process.num_classes).to(home)[..., :-1]  # none for MASK
    codes = alpha * same + beta * ~is_mask  # (b, n, K)
    return torch.cat([codes, torch.where(is_mask, 1, gamma)], dim=-1).log()


def on_device(share: Float64[Tensor, ""], like: Tensor) -> Float[Tensor, ""]:
    """A share in the finest float of a device."""
    return share.to(like.device, finest_float(like.device))
