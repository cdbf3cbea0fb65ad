r"""The sampler of the official code and of diffusers, rounding included: token for token.

Both draw with float32 Gumbel noise, from a posterior in float32. Both are slightly off: the noise
lies in [-4.24, 16.64], so that rare codes are too rare, and the posterior is right to about
$10^{-6}$. Nobody should copy that; but a published seed stands for their rounding too, so here it
is repeated, operation for operation. `sampler.py` has the exact distribution of each step.

They differ from each other in two places. Before guidance the official code raises
log-probabilities to -70, diffusers does not: here they are raised, for guidance would make much of
what is less likely. In the step to x_0 the official code draws a number for MASK too, which cannot
be chosen; here none is drawn, as in diffusers, so that its seeds stand for the same tokens.

The class axis is the second one here, (b, k, n), because a sum rounds as its axes lie.
"""

from collections.abc import Callable, Iterator

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.diffusion.schedule import ScheduleConfig
from vqlearn.probability import finest_float

LEAST_LOG = -70.0
TINY = 1e-30

Logits = Float[Tensor, "b k n"]
ReferenceDenoise = Callable[[Int[Tensor, "b n"], int], Logits]
"""p_x0(x_t, t): the log-probabilities of x_0 that the references hand to their posterior."""


def reference_log_p_x0(
    logits: Float[Tensor, "rows k n"], *, guidance_scale: float | None, truncation_rate: float
) -> Logits:
    """Guidance, truncation and a floor, in the references' order and rounding.

    With a `guidance_scale` the first half of the batch is unconditional, the second conditional.
    Each has the floor before they are combined, too.
    Unlike in `filters.top_p` nothing is renormalised, and a rate of 1 still cuts what lies behind
    a float32 sum of 1.
    """
    log_p_x0 = logits.to(finest_float(logits.device)).log_softmax(dim=1).float()
    if guidance_scale is not None:
        unconditional, conditional = log_p_x0.clamp(LEAST_LOG).chunk(2)
        log_p_x0 = unconditional + guidance_scale * (conditional - unconditional)
        log_p_x0 = log_p_x0 - log_p_x0.logsumexp(dim=1, keepdim=True)
    ranked, order = log_p_x0.sort(dim=1, descending=True)
    mass = ranked.exp().cumsum(dim=1)  # (b, k, n)
    # A code is kept if the likelier ones have not reached the rate: the first one always is.
    kept = torch.cat([torch.zeros_like(mass[:, :1]), mass[:, :-1]], dim=1) < truncation_rate
    kept = kept.gather(1, order.argsort(dim=1))  # from ranks back to codes
    return log_p_x0.masked_fill(~kept, -torch.inf).clamp(LEAST_LOG)


def replay(
    config: ScheduleConfig,
    p_x0: ReferenceDenoise,
    x_t: Int[Tensor, "b n"],
    *,
    generator: torch.Generator | None,
) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
    """Sample from x_T to x_0, every level once; yields (s, x_s) as `sampler.sample` does."""
    steps = _ReferenceSteps(config, x_t.device)
    for t in range(config.num_train_timesteps, 0, -1):
        log_p_x0 = p_x0(x_t, t)
        # The references take x_0 itself at the last step, without a posterior.
        log_p = log_p_x0 if t == 1 else steps.log_posterior(log_p_x0, x_t, t)
        x_t = (_gumbel(log_p, generator) + log_p).argmax(dim=1)
        yield t - 1, x_t


def _gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    uniform = torch.rand(like.shape, device=like.device, generator=generator)
    return -torch.log(-torch.log(uniform + TINY) + TINY)


class _ReferenceSteps:
    r"""The logarithms of alpha, beta and gamma of each step, and of all steps up to each level.

    They are computed in float64 and kept in float32. Row t - 1 of each table belongs to level t.
    The numbers are those of `schedule.py`, with the rounding of the references: $\beta$ is what is
    left of 1.
    """

    def __init__(self, config: ScheduleConfig, device: torch.device) -> None:
        self.num_codes = config.num_vec_classes - 1
        count = config.num_train_timesteps
        ramp = torch.arange(count, dtype=torch.float64) / (count - 1)
        alpha = ramp * (config.alpha_cum_end - config.alpha_cum_start) + config.alpha_cum_start
        gamma = ramp * (config.gamma_cum_end - config.gamma_cum_start) + config.gamma_cum_start
        alpha_before = torch.cat([torch.ones(1, dtype=torch.float64), alpha[:-1]])
        unmasked_before = 1 - torch.cat([torch.zeros(1, dtype=torch.float64), gamma[:-1]])
        self.upto = self._logs(alpha, gamma, device)
        self.one = self._logs(alpha / alpha_before, 1 - (1 - gamma) / unmasked_before, device)

    def _logs(self, alpha: Tensor, gamma: Tensor, device: torch.device) -> tuple[Tensor, ...]:
        beta = (1 - alpha - gamma) / self.num_codes
        return tuple(number.log().float().to(device) for number in (alpha, beta, gamma))

    def log_posterior(self, log_p_x0: Logits, x_t: Int[Tensor, "b n"], t: int) -> Tensor:
        r"""$\log \sum_{x_0} q(x_{t-1}|x_t,x_0)\,\tilde p(x_0)$ for all K + 1 classes.

        Divide $\tilde p$ by $q(x_t|x_0)$, normalise, go to level t - 1, multiply by
        $q(x_t|x_{t-1})$, and undo the normalising.
        """
        hot = torch.nn.functional.one_hot(x_t, self.num_codes + 1).float()
        log_hot = rearrange(hot.clamp(min=TINY).log(), "b n k -> b k n")
        weighted = log_p_x0 - self._log_likelihood(self.upto, log_hot, x_t, t)
        total = weighted.logsumexp(dim=1, keepdim=True)  # (b, 1, n)
        alpha, beta, gamma = (table[t - 2] for table in self.upto)
        moved = ((weighted - total) + alpha).logaddexp(beta)
        from_mask = repeat(gamma, " -> b 1 n", b=len(x_t), n=x_t.shape[1])
        from_any = torch.cat(
            [self._log_likelihood(self.one, log_hot, x_t, t), log_hot[:, -1:]], dim=1
        )
        return torch.cat([moved, from_mask], dim=1) + from_any + total

    def _log_likelihood(
        self, tables: tuple[Tensor, ...], log_hot: Tensor, x_t: Int[Tensor, "b n"], t: int
    ) -> Logits:
        """log q(x_t | code) for every code, one step or all steps before."""
        alpha, beta, gamma = (table[t - 1] for table in tables)
        log_q = (log_hot[:, :-1] + alpha).logaddexp(beta)
        masked = rearrange(x_t == self.num_codes, "b n -> b 1 n")
        return torch.where(masked, gamma, log_q)
