r"""From a network's output to the reverse step $p(x_s \mid x_t)$: four ways to read it.

1. **Mix posteriors** with a predicted distribution of x_0:
   $\sum_k q(x_s|x_t, x_0=k)\,\tilde p(x_0=k|x_t)$. That is `log_reverse` of every process, and what
   VQ-Diffusion does. The best $\tilde p$ is $p(x_0|x_t)$. Where a step has zeros, others may be as
   good for that step, but not for longer strides.
2. **Plug into Bayes' rule**: $q(x_t|x_s) \sum_k q(x_s|x_0=k) f_k$, normalised: `PluggedIntoBayes`.
   Multinomial diffusion and D3PM do this. The best f is another one: `plug_in_optimum`.
3. **Predict x_s directly**: the network's classes are those of x_{t-1}: `DirectPrediction`.
4. **Two numbers in place of K logits**, for ordered codes: `truncated_logistic` turns them into a
   distribution for 1 or 2.

2 and 3 wrap a process and change its `log_reverse` alone, so that the objective, the sampler and
the exact worlds work on them as they are.

Sources: Gu et al. 2022 (1), Hoogeboom et al. 2021 (2), Austin et al. 2021 (2, 3 and 4).
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from vqlearn.diffusion.process import Process
from vqlearn.probability import IMPOSSIBLE, at_least_float32, finest_float, log_normalise
from vqlearn.probability.checks import Level, check_sizes, check_stride

LEAST_LOG_SCALE = -20.0  # far narrower than any bin; below it float32 would overflow


class Reparameterised:
    """A process whose `log_reverse` reads another output of the network; all else is its own."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.num_timesteps = process.num_timesteps
        self.num_codes = process.num_codes
        self.num_classes = process.num_classes
        self.corrupt = process.corrupt
        self.log_marginal = process.log_marginal
        self.log_marginal_under = process.log_marginal_under
        self.log_likelihood = process.log_likelihood
        self.log_transition = process.log_transition
        self.log_posterior = process.log_posterior
        self.log_prior = process.log_prior


class PluggedIntoBayes(Reparameterised):
    r"""A reverse step by Bayes' rule, with the network's f as the distribution of x_0.

    $p(x_s = j \mid x_t) \propto q(x_t \mid x_s = j) \sum_k q(x_s = j \mid x_0 = k)\, f_k$.

    This is right for the distribution f of x_0 *before* x_t was seen. Fed with $p(x_0|x_t)$ it
    counts the evidence of x_t twice: a token with the distribution (.7, .2, .1) is sampled with
    (.57, .26, .17) in four uniform steps. Therefore train it on the variational bound without the
    auxiliary loss (`auxiliary_weight=0`), whose cross-entropy pulls f to $p(x_0|x_t)$. In the
    absorbing corner alone both are the same. For a known x_0 there is no difference either, so
    `log_posterior` stays.
    """

    def log_reverse(
        self, log_f: Float[Tensor, "b n codes"], x_t: Int[Tensor, "b n"], s: Level, t: Level
    ) -> Float[Tensor, "b n classes"]:
        """log p(x_s | x_t) as above, for any stride s < t; `log_f` must be normalised.

        Where f allows nothing that x_t can come from, it is taken to be uniform. Costs what
        `log_reverse` of the process costs. Raises `ValueError` unless 0 <= s < t <= T, and for an
        x_t that no clean token leads to.
        """
        check_stride(s, t)
        # float64, for both factors may be tiny where their product is not.
        finest = log_f.to(finest_float(log_f.device))
        log_step, log_uniform = _with_uniform_x0(self.process, x_t, s, t)
        log_p = log_step + self.process.log_marginal_under(finest, s)  # (b, n, classes)
        return _normalise_with_fallback(log_p, log_uniform, x_t, t).to(at_least_float32(log_f))


class DirectPrediction(Reparameterised):
    r"""The network predicts $x_{t-1}$ itself: a distribution over all `num_classes` classes.

    It holds for the stride that it was trained with, which is one level (`objective.bound_term`):
    the price of predicting x_{t-1} in place of x_0 is that no level can be skipped. The best output
    is `log_reverse` of the process for the true $p(x_0|x_t)$. There is no cross-entropy with x_0 to
    add: train it with `auxiliary_weight=0`.
    """

    def log_reverse(
        self, log_x_s: Float[Tensor, "b n classes"], x_t: Int[Tensor, "b n"], s: Level, t: Level
    ) -> Float[Tensor, "b n classes"]:
        """`log_x_s` without the classes that cannot lie between any x_0 and x_t, renormalised.

        MASK is such a class at level 0. Where nothing remains, x_0 is taken to be uniform. Raises
        `ValueError` unless s = t - 1 and 1 <= t <= T, and for an x_t that no clean token leads to.
        """
        if (torch.as_tensor(t, device="cpu") - torch.as_tensor(s, device="cpu") != 1).any():
            raise ValueError(f"a direct prediction goes from t = {t} to s = {s}; allowed: t - 1")
        _, log_uniform = _with_uniform_x0(self.process, x_t, s, t)
        # What a uniform x_0 cannot lead to, no x_0 can.
        log_p = at_least_float32(log_x_s).masked_fill(log_uniform.isneginf(), IMPOSSIBLE)
        return _normalise_with_fallback(log_p, log_uniform.to(log_p), x_t, t)


def plug_in_optimum(
    process: Process, log_p_x0: Float[Tensor, "b n codes"], x_t: Int[Tensor, "b n"], t: Level
) -> Float[Tensor, "b n codes"]:
    r"""The f with which `PluggedIntoBayes` steps as mixing with $\tilde p$ does: log f, normalised.

    $f_k \propto \tilde p(x_0 = k \mid x_t) / q(x_t \mid x_0 = k)$, for then
    $q(x_t|x_s) \sum_k q(x_s|k) f_k \propto \sum_k q(x_s|x_t,k)\, \tilde p(k|x_t)$. It does not
    depend on s. For one token and its true $p(x_0|x_t)$ it is the distribution of the data, at
    every x_t.

    Codes that x_t cannot come from get 0; where $\tilde p$ allows no other, it is returned as it
    is.
    """
    log_p_x0 = at_least_float32(log_p_x0)
    finest = finest_float(log_p_x0.device)
    log_likelihood = process.log_likelihood(x_t, t, dtype=finest)  # (b, n, K)
    # -inf - -inf is NaN: a code that x_t cannot come from is left out, whatever p says.
    impossible = log_likelihood.isneginf()
    log_f = (log_p_x0.to(finest) - log_likelihood).masked_fill(impossible, IMPOSSIBLE)
    nothing = log_f.amax(dim=-1, keepdim=True).isneginf()  # (b, n, 1)
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
    check_sizes({"num_codes": num_codes}, num_codes=2)
    mean, log_scale = at_least_float32(mean), at_least_float32(log_scale)
    centres = torch.linspace(-1, 1, num_codes, dtype=mean.dtype, device=mean.device)  # (K,)
    half = 1 / (num_codes - 1)  # of a bin
    distance = centres - rearrange(mean, "b n -> b n 1")  # (b, n, K)
    inverse_scale = rearrange(-log_scale.clamp(min=LEAST_LOG_SCALE), "b n -> b n 1").exp()
    log_below_upper = functional.logsigmoid((distance + half) * inverse_scale)  # log s(u)
    log_above_lower = functional.logsigmoid((half - distance) * inverse_scale)  # log s(-l)
    return log_normalise(log_below_upper + log_above_lower)


def _with_uniform_x0(
    process: Process, x_t: Int[Tensor, "b n"], s: Level, t: Level
) -> tuple[Float[Tensor, "b n classes"], Float[Tensor, "b n classes"]]:
    r"""$\log q(x_t|x_s)$, and the logarithm of $q(x_t|x_s)\,q(x_s)$ for a uniform x_0."""
    log_step = process.log_transition(x_t, s, t, dtype=finest_float(x_t.device))
    scores = torch.zeros(*x_t.shape, process.num_codes, dtype=log_step.dtype, device=x_t.device)
    return log_step, log_step + process.log_marginal_under(log_normalise(scores), s)


def _normalise_with_fallback(
    log_p: Float[Tensor, "b n classes"],
    fallback: Float[Tensor, "b n classes"],
    x_t: Int[Tensor, "b n"],
    t: Level,
) -> Float[Tensor, "b n classes"]:
    """Normalise; a token for which nothing is possible takes the distribution of the fallback.

    Raises `ValueError` for a token for which the fallback allows nothing either.
    """
    nothing = log_p.amax(dim=-1, keepdim=True).isneginf()  # (b, n, 1)
    if x_t.device.type == "cpu" and nothing.any():
        never = fallback.amax(dim=-1).isneginf()  # (b, n)
        if never.any():
            raise ValueError(
                f"x_t holds class {int(x_t[never][0])} at level t = {t}; "
                "allowed: classes that some clean token leads to"
            )
    return log_normalise(torch.where(nothing, fallback, log_p))
