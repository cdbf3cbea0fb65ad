r"""From a network's output to the step back $p(x_s \mid x_t)$: four ways to read it.

1. **Mix posteriors** with a predicted distribution of x_0: $\sum_k q(x_s|x_t, x_0=k)\,\tilde
p(x_0=k|x_t)$. That
   is `log_reverse` of every process, and what VQ-Diffusion does. Best: $\tilde p = p(x_0|x_t)$;
   where a step has zeros, other predicted distributions may do as well for it, but not for longer
   strides.
2. **Plug into Bayes' rule**: $q(x_t|x_s) \sum_k q(x_s|x_0=k) f_k$, normalised: `PluggedIntoBayes`.
   Multinomial diffusion and D3PM do this. The best f is another one: `plug_in_optimum`.
3. **Predict x_s directly**: the network's classes are those of x_{t-1}: `DirectPrediction`.
4. For ordered codes, two numbers in place of K logits: `truncated_logistic`, a predicted
distribution for 1 or 2.

2 and 3 wrap a process and change its `log_reverse` alone, so that the objective, the sampler and
the exact worlds work on them as they are.

Sources: Gu et al. 2022 (1), Hoogeboom et al. 2021 (2), Austin et al. 2021 (2, 3 and 4).
"""

from functools import singledispatch

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from vqlearn.diffusion.d3pm import DenseProcess
from vqlearn.diffusion.process import MaskAndReplace, Process, log_like
from vqlearn.probability.checks import Level, check_tokens
from vqlearn.probability.log_probs import IMPOSSIBLE, at_least_float32, log_add, log_normalise
from vqlearn.probability.random import finest_float

LEAST_LOG_SCALE = (
    -20.0
)  # a logistic distribution far narrower than any bin; below, float32 would overflow


class Reparameterised:
    """A process whose `log_reverse` reads another output of the network; all else is its own."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.num_timesteps = process.num_timesteps
        self.num_codes = process.num_codes
        self.num_classes = process.num_classes
        self.corrupt = process.corrupt
        self.log_marginal = process.log_marginal
        self.log_likelihood = process.log_likelihood
        self.log_posterior = process.log_posterior
        self.log_prior = process.log_prior


class PluggedIntoBayes(Reparameterised):
    r"""The step back in which the network's f stands where the distribution of x_0 belongs.

    $p(x_s = j \mid x_t) \propto q(x_t \mid x_s = j) \sum_k q(x_s = j \mid x_0 = k)\, f_k$.

    It is Bayes' rule for the distribution f of x_0 *before* x_t was seen. Fed with $p(x_0|x_t)$ it
    counts what x_t says twice: a token of the distribution (.7, .2, .1) comes out as (.57, .26,
    .17) in four uniform steps. Therefore train it on the bound alone (`auxiliary_weight=0`): the
    cross-entropy pulls f to $p(x_0|x_t)$. Only in the absorbing corner are both the same. For a
    known x_0 there is no difference either, so `log_posterior` stays.
    """

    def log_reverse(
        self, log_f: Float[Tensor, "b n codes"], x_t: Int[Tensor, "b n"], s: Level, t: Level
    ) -> Float[Tensor, "b n classes"]:
        """The distribution above, for any stride s < t; `log_f` must be normalised.

        Where f allows nothing that x_t can come from, it is taken to be uniform. Costs what
        `log_reverse` of the process costs. Raises `ValueError` as that does.
        """
        if (torch.as_tensor(s, device="cpu") >= torch.as_tensor(t, device="cpu")).any():
            raise ValueError(f"the way back goes from t = {t} to s = {s}; allowed: s below t")
        finest = log_f.to(finest_float(log_f.device))
        log_seen, log_even = _if_all_codes_were_equal(self.process, x_t, s, t)
        log_p = log_seen + log_marginal_under(self.process, finest, s)
        return _normalise_or(log_p, log_even, x_t, t).to(at_least_float32(log_f))


class DirectPrediction(Reparameterised):
    r"""The network names the distribution of $x_{t-1}$ itself, over all `num_classes` classes.

    It holds for the stride that it was trained with, which is one level (`objective.bound_term`):
    the price of naming x_s in place of x_0 is that no step can be skipped. The best output is
    `log_reverse` of the process for the true predicted distribution. There is no cross-entropy with
    x_0 to add: train it with `auxiliary_weight=0`.
    """

    def log_reverse(
        self, log_x_s: Float[Tensor, "b n classes"], x_t: Int[Tensor, "b n"], s: Level, t: Level
    ) -> Float[Tensor, "b n classes"]:
        """`log_x_s`, without the classes that cannot lie between any x_0 and x_t.

        MASK is such a class at level 0. If nothing remains, every code is taken to be as likely.
        Raises `ValueError` unless s = t - 1, and as the process does.
        """
        if (torch.as_tensor(t, device="cpu") - torch.as_tensor(s, device="cpu") != 1).any():
            raise ValueError(f"a direct prediction goes from t = {t} to s = {s}; allowed: t - 1")
        _, log_even = _if_all_codes_were_equal(self.process, x_t, s, t)
        log_p = at_least_float32(log_x_s).masked_fill(log_even.isneginf(), IMPOSSIBLE)
        return _normalise_or(log_p, log_even.to(log_p), x_t, t)


def plug_in_optimum(
    process: Process, log_p_x0: Float[Tensor, "b n codes"], x_t: Int[Tensor, "b n"], t: Level
) -> Float[Tensor, "b n codes"]:
    r"""Which f makes `PluggedIntoBayes` step as mixing with this predicted distribution does? log
    f, normalised.

    $f_k \propto \tilde p(x_0 = k \mid x_t) / q(x_t \mid x_0 = k)$, for then
    $q(x_t|x_s) \sum_k q(x_s|k) f_k \propto \sum_k q(x_s|x_t,k)\, \tilde p(k|x_t)$. It does not
    depend on s. For one token and its true predicted distribution it is the distribution of the
    data, at every x_t.

    Codes that x_t cannot come from get 0; if the predicted distribution allows no other, it is
    returned as it is.
    """
    log_p_x0 = at_least_float32(log_p_x0)
    finest = finest_float(log_p_x0.device)
    log_seen = process.log_likelihood(x_t, t, dtype=finest)
    log_f = (log_p_x0.to(finest) - log_seen).masked_fill(log_seen.isneginf(), IMPOSSIBLE)
    nothing = log_f.amax(dim=-1, keepdim=True).isneginf()
    return log_normalise(torch.where(nothing, log_p_x0.to(finest), log_f)).to(log_p_x0)


def truncated_logistic(
    mean: Float[Tensor, "b n"], log_scale: Float[Tensor, "b n"], num_codes: int
) -> Float[Tensor, "b n codes"]:
    r"""A predicted distribution over ordered codes from two numbers: log p(x_0 = k), normalised.

    The codes 0..K-1 lie evenly on [-1, 1], each in the middle of a bin of the width
    $w = 2/(K-1)$. Code k gets the share of its bin of a logistic distribution,
    $\sigma(u_k) - \sigma(l_k)$ with $u_k, l_k = (c_k \pm w/2 - \mu)/e^{\log s}$, cut off outside
    of the bins. As $\sigma(u) - \sigma(l) = \sigma(u)\,\sigma(-l)\,(1 - e^{l-u})$ and u - l is the
    same for every code, $\log\sigma(u_k) + \log\sigma(-l_k)$ is all that is needed: no difference
    of two equal numbers, however far the mean lies from the code.

    A `log_scale` below -20 is read as -20. Costs O(K). The network may add what it likes to the
    mean, such as x_t. Raises `ValueError` for fewer than 2 codes.
    Source: Austin et al. 2021, appendix on the truncated logistic distribution.
    """
    if num_codes < 2:
        raise ValueError(f"num_codes is {num_codes}; allowed: 2 or more")
    mean, log_scale = at_least_float32(mean), at_least_float32(log_scale)
    centres = torch.linspace(-1, 1, num_codes, dtype=mean.dtype, device=mean.device)
    half = 1 / (num_codes - 1)
    away = centres - rearrange(mean, "b n -> b n 1")
    narrow = rearrange(-log_scale.clamp(min=LEAST_LOG_SCALE), "b n -> b n 1").exp()
    log_below = functional.logsigmoid((away + half) * narrow)
    log_above = functional.logsigmoid((half - away) * narrow)
    return log_normalise(log_below + log_above)


@singledispatch
def log_transition(
    process: Process, x_t: Int[Tensor, "b n"], s: Level, t: Level
) -> Float[Tensor, "b n classes"]:
    r"""$\log q(x_t \mid x_s = j)$ for every class j of x_s, float64 (float32 on MPS); s < t.

    Written once for each kind of process. Raises `TypeError` for a kind that it does not know.
    """
    raise TypeError(f"log_transition of {type(process).__name__}; allowed: {KINDS}")


@singledispatch
def log_marginal_under(
    process: Process, log_p_x0: Float[Tensor, "b n codes"], s: Level
) -> Float[Tensor, "b n classes"]:
    r"""$\log \sum_k q(x_s = j \mid x_0 = k)\,\tilde p(x_0 = k)$ for every class j of x_s.

    Written once for each kind of process. Raises `TypeError` for a kind that it does not know.
    """
    raise TypeError(f"log_belief_at of {type(process).__name__}; allowed: {KINDS}")


KINDS = "MaskAndReplace, DenseProcess"


@log_transition.register
def _(process: DenseProcess, x_t: Tensor, s: Level, t: Level) -> Tensor:
    return process.log_transition(x_t, s, t, dtype=finest_float(x_t.device))


@log_marginal_under.register
def _(process: DenseProcess, log_p_x0: Tensor, s: Level) -> Tensor:
    return process.log_marginal_under(log_p_x0, s)


@log_transition.register
def _(process: MaskAndReplace, x_t: Tensor, s: Level, t: Level) -> Tensor:
    r"""$\alpha_{t|s}[j = i] + \beta_{t|s}$ for codes, $\gamma_{t|s}$ for MASK, which stays MASK."""
    check_tokens("x_t", x_t, process.num_classes)
    (alpha_s, beta_s, gamma_s), (alpha_t, beta_t, gamma_t) = (
        process.cumulative(s),
        process.cumulative(t),
    )
    alpha = alpha_t / alpha_s
    beta = ((beta_t - alpha * beta_s) / (1 - gamma_s)).clamp(min=0)
    like = torch.empty(0, dtype=finest_float(x_t.device), device=x_t.device)
    dropped = (gamma_t - gamma_s) / (1 - gamma_s)
    same, other, masked = log_like(like, alpha + beta, beta, dropped)
    seen = rearrange(x_t, "b n -> b n 1")
    codes = torch.arange(process.num_codes, device=x_t.device)
    is_mask = seen == process.mask
    from_code = torch.where(is_mask, masked, torch.where(seen == codes, same, other))
    from_mask = torch.zeros_like(seen, dtype=like.dtype).masked_fill(~is_mask, IMPOSSIBLE)
    return torch.cat([from_code, from_mask], dim=-1)


@log_marginal_under.register
def _(process: MaskAndReplace, log_p_x0: Tensor, s: Level) -> Tensor:
    r"""$\bar\alpha_s p_j + \bar\beta_s$ for codes and $\bar\gamma_s$ for MASK."""
    keep, replace, mask = log_like(log_p_x0, *process.cumulative(s))
    log_codes = log_add(log_p_x0 + keep, replace)
    return torch.cat([log_codes, mask.expand(*log_p_x0.shape[:2], 1)], dim=-1)


def _if_all_codes_were_equal(
    process: Process, x_t: Tensor, s: Level, t: Level
) -> tuple[Tensor, Tensor]:
    r"""$\log q(x_t|x_s)$, and with the distribution of x_s of evenly drawn codes added to it."""
    log_seen = log_transition(process, x_t, s, t)
    even = torch.zeros(*x_t.shape, process.num_codes, dtype=log_seen.dtype, device=x_t.device)
    return log_seen, log_seen + log_marginal_under(process, log_normalise(even), s)


def _normalise_or(log_p: Tensor, otherwise: Tensor, x_t: Tensor, t: Level) -> Tensor:
    """Rows with nothing possible are those of `otherwise`; if that has nothing, x_t is refused."""
    nothing = log_p.amax(dim=-1, keepdim=True).isneginf()
    if x_t.device.type == "cpu" and nothing.any():
        never = otherwise.amax(dim=-1).isneginf()
        if never.any():
            raise ValueError(
                f"x_t holds class {int(x_t[never][0])} at level t = {t}; "
                "allowed: classes that some clean token leads to"
            )
    return log_normalise(torch.where(nothing, otherwise, log_p))
