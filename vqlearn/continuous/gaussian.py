r"""Noise on pixels: the forward process of continuous diffusion, and its exact posterior.

What keep, replace and mask are to tokens, shrinking and adding noise are to pixels. The step from
any level s < t needs one number, $\alpha_{t|s} = \bar\alpha_t / \bar\alpha_s$, because normal
distributions stay normal when they are shrunk and added. A distribution that took K probabilities
for each token takes a mean and a variance here.
"""

from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float64
from torch import Tensor

from vqlearn.continuous.normal import Images, Normal
from vqlearn.probability import Generators, finest_float
from vqlearn.probability.checks import Level, check_choice, check_level, check_stride

Variance = Literal["small", "large"]


@runtime_checkable
class Corruption(Protocol):
    """What training and sampling need to know of a process: noise, blur or anything else.

    A level is one number, or one for each image of the batch.
    """

    num_timesteps: int

    def corrupt(self, x_0: Tensor, t: Level, *, generator: Generators) -> Tensor:
        """x_t, what x_0 looks like at level t: the same shape."""


class GaussianProcess:
    r"""Shrink the image and add noise: $q(x_t|x_0) = N(\sqrt{\bar\alpha_t}\,x_0, 1-\bar\alpha_t)$.

    `alpha_bar` is `schedule.linear(T)`, `schedule.cosine(T)`, or any falling array of length
    T + 1. Images have any shape behind their batch axis; factors are formed in float64, results
    have the type of the images.

    Raises `ValueError` unless $1 = \bar\alpha_0 > \bar\alpha_1 > \dots > \bar\alpha_T > 0$.

    Source: Ho et al. 2020, section 2.
    """

    def __init__(self, alpha_bar: Float64[Tensor, " levels"]) -> None:
        _check_schedule(alpha_bar)
        self.alpha_bar = alpha_bar
        self.num_timesteps = len(alpha_bar) - 1

    def transition(self, x_s: Images, s: Level, t: Level) -> Normal:
        r"""$q(x_t|x_s)$: where x_s goes until level t. From s = 0 it is the marginal $q(x_t|x_0)$.

        It is $N(\sqrt{\alpha_{t|s}}\,x_s,\; 1 - \alpha_{t|s})$.
        Raises `ValueError` unless 0 <= s <= t <= T.
        """
        if (torch.as_tensor(s, device="cpu") > torch.as_tensor(t, device="cpu")).any():
            raise ValueError(f"the forward step goes from s = {s} to t = {t}; allowed: s up to t")
        alpha = self._at(t, x_s) / self._at(s, x_s)
        return Normal(_times(alpha.sqrt(), x_s), 1 - alpha)

    def corrupt(self, x_0: Images, t: Level, *, generator: Generators = None) -> Images:
        """Draw x_t ~ q(x_t | x_0). Raises `ValueError` if t is not in 0..T."""
        return self.transition(x_0, 0, t).draw(generator=generator)

    def posterior(self, x_0: Images, x_t: Images, s: Level, t: Level) -> Normal:
        r"""$q(x_s|x_t,x_0)$: where was the image at level s, if we KNOW the clean x_0?

        It is $N\left(\frac{\sqrt{\bar\alpha_s}\,(1-\alpha_{t|s})}{1-\bar\alpha_t}x_0 +
        \frac{\sqrt{\alpha_{t|s}}\,(1-\bar\alpha_s)}{1-\bar\alpha_t}x_t,\;
        \frac{(1-\alpha_{t|s})(1-\bar\alpha_s)}{1-\bar\alpha_t}\right)$, for every stride s < t.

        Raises `ValueError` unless 0 <= s < t <= T. Source: Ho et al. 2020, section 2, for
        s = t - 1; Bayes' rule gives the same for any s.
        """
        check_stride(s, t)
        alpha_bar_s, alpha_bar_t = self._at(s, x_t), self._at(t, x_t)  # (b, 1, …) or (1, 1, …)
        alpha = alpha_bar_t / alpha_bar_s
        # A product of two normal densities of x_s, q(x_s|x_0) and q(x_t|x_s): their precisions
        # add, and the mean is weighted by precision.
        to_x_0 = alpha_bar_s.sqrt() * (1 - alpha) / (1 - alpha_bar_t)
        to_x_t = alpha.sqrt() * (1 - alpha_bar_s) / (1 - alpha_bar_t)
        variance = (1 - alpha) * (1 - alpha_bar_s) / (1 - alpha_bar_t)
        return Normal(_times(to_x_0, x_0) + _times(to_x_t, x_t), variance)

    def reverse(
        self, guess: Images, x_t: Images, s: Level, t: Level, *, variance: Variance
    ) -> Normal:
        r"""$p(x_s|x_t)$: where was the image at level s, if we only GUESS the clean x_0?

        The mean is that of the posterior, with the guess in place of x_0. The variance is not
        learned: "small" is the posterior's, right if the data is one single image; "large" is
        $1 - \alpha_{t|s}$, right if the data is N(0, 1). The truth lies between.

        Tokens need no such choice: their network predicts a whole distribution of x_0, not one
        guess. Raises `ValueError` as `posterior` does, and for another name of a variance.
        Source: Ho et al. 2020, section 3.2.
        """
        check_choice("variance", variance, get_args(Variance))
        mean, small = self.posterior(guess, x_t, s, t)
        # The large one is the variance of the way forward, from any x_s to x_t.
        return Normal(mean, small if variance == "small" else self.transition(x_t, s, t).variance)

    def predict_x_0(self, x_t: Images, epsilon: Images, t: Level) -> Images:
        r"""The clean image behind x_t, if its noise is $\epsilon$.

        $x_0 = (x_t - \sqrt{1-\bar\alpha_t}\,\epsilon)/\sqrt{\bar\alpha_t}$
        """
        alpha_bar = self._at(t, x_t)  # (b, 1, …) or (1, 1, …)
        noise = _times((1 - alpha_bar).sqrt(), epsilon)
        return _times(alpha_bar.rsqrt(), x_t - noise)

    def predict_epsilon(self, x_t: Images, x_0: Images, t: Level) -> Images:
        r"""The noise in x_t, if the clean image is x_0: the inverse of `predict_x_0`.

        $\epsilon = (x_t - \sqrt{\bar\alpha_t}\,x_0)/\sqrt{1-\bar\alpha_t}$.
        Raises `ValueError` at level 0, where there is no noise.
        """
        alpha_bar = self._at(t, x_t)
        if (alpha_bar == 1).any():
            raise ValueError(f"level t is {t}, without noise; allowed: 1 to {self.num_timesteps}")
        return _times((1 - alpha_bar).rsqrt(), x_t - _times(alpha_bar.sqrt(), x_0))

    def _at(self, t: Level, like: Tensor) -> Tensor:
        r"""$\bar\alpha$ at each level of t, of shape (b, 1, …) or (1, 1, …)."""
        check_level(t, self.num_timesteps)
        # One axis for each of the image's, so that the numbers broadcast over its pixels.
        levels = torch.as_tensor(t, device="cpu").reshape(-1, *[1] * (like.ndim - 1))
        return self.alpha_bar[levels].to(like.device, finest_float(like.device))


def _times(factor: Tensor, image: Tensor) -> Tensor:
    """The image times a float64 number, in the type of the image."""
    return factor.to(image.dtype) * image


def _check_schedule(alpha_bar: Tensor) -> None:
    falls = bool((alpha_bar[1:] < alpha_bar[:-1]).all())
    if len(alpha_bar) < 2 or alpha_bar[0] != 1 or not falls or not alpha_bar[-1] > 0:
        raise ValueError(
            f"alpha_bar is {alpha_bar.tolist()}; allowed: 2 or more numbers that fall from 1 "
            "and stay above 0"
        )
