"""From noise to pixels: ask for the clean image, take a reverse step, repeat.

There is one loop, `sample`, as there is for tokens. What differs from process to process is the
step: a *walk* takes a guess of x_0 and x_t and gives x_s. `Ancestral` and `DDIM` are here, the
walks without any noise are in `blur.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol, get_args, runtime_checkable

import torch

from vqlearn.continuous.gaussian import Corruption, GaussianProcess, Variance
from vqlearn.continuous.normal import Images
from vqlearn.probability import Generators
from vqlearn.probability.checks import Level, check_choice

Target = Literal["epsilon", "x_0"]
DATA_RANGE = (-1.0, 1.0)

Predict = Callable[[Images, Level], Images]
"""predict(x_t, t): what a network says about x_t."""

Restore = Callable[[Images, Level], Images]
"""restore(x_t, t): a guess of x_0."""


@dataclass(frozen=True)
class Model:
    """A network, and what its output means: the noise in x_t, or the clean image behind it.

    Both say the same, since x_t is known; they differ in which errors training counts.
    Raises `ValueError` for another target.
    """

    predict: Predict
    target: Target

    def __post_init__(self) -> None:
        check_choice("target", self.target, get_args(Target))

    def truth(self, process: Corruption, x_0: Images, x_t: Images, t: Level) -> Images:
        """The right answer of the network: x_0, or the noise in x_t."""
        return x_0 if self.target == "x_0" else _noisy(process).predict_epsilon(x_t, x_0, t)

    def restorer(self, process: Corruption, *, clip: bool) -> Restore:
        """The network as a function that guesses x_0, which is what every walk asks for.

        With `clip` a guess outside of the data's range, -1 to 1, is moved to its edge. At high
        levels a small error of epsilon is otherwise easily a guess of 50.

        Raises `ValueError` for a target of "epsilon" where the process adds no noise.
        """
        # Looked at now, not in the middle of a walk.
        noisy = _noisy(process) if self.target == "epsilon" else None

        def restore(x_t: Images, t: Level) -> Images:
            answer = self.predict(x_t, t)
            guess = answer if noisy is None else noisy.predict_x_0(x_t, answer, t)
            return guess.clamp(*DATA_RANGE) if clip else guess

        return restore


def _noisy(process: Corruption) -> GaussianProcess:
    if not isinstance(process, GaussianProcess):
        raise ValueError(
            f"target is 'epsilon'; allowed: 'x_0', since {type(process).__name__} adds no noise"
        )
    return process


@runtime_checkable
class Walk(Protocol):
    """A way to take one reverse step, from level t to s < t."""

    def step(
        self, x_0: Images, x_t: Images, levels: tuple[int, int], *, generator: Generators
    ) -> Images:
        """x_s from a guess of x_0 and from x_t, for levels (t, s)."""


@dataclass(frozen=True)
class Ancestral:
    """Draw x_s from `process.reverse`, the posterior with a guess of x_0: the sampler of DDPM.

    The last step, to level 0, adds no noise. Source: Ho et al. 2020, algorithm 2.
    """

    process: GaussianProcess
    variance: Variance = "small"

    def step(
        self, x_0: Images, x_t: Images, levels: tuple[int, int], *, generator: Generators = None
    ) -> Images:
        t, s = levels
        distribution = self.process.reverse(x_0, x_t, s, t, variance=self.variance)
        # Level 0 is the image itself: noise of the large variance would only be seen in it.
        return distribution.mean if s == 0 else distribution.draw(generator=generator)


@dataclass(frozen=True)
class DDIM:
    r"""Keep the noise that is there, and take less of it: deterministic after x_T.

    $x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1-\bar\alpha_s}\,\hat\epsilon$, where
    $\hat\epsilon$ is the noise in x_t if $\hat x_0$ is right (and if that was clipped, the noise
    of the clipped image). Source: Song et al. 2021, "Denoising Diffusion Implicit Models", with
    $\eta = 0$.
    """

    process: GaussianProcess

    def step(
        self, x_0: Images, x_t: Images, levels: tuple[int, int], *, generator: Generators = None
    ) -> Images:
        t, s = levels
        # The marginal of level s, with the noise that x_t has in place of fresh noise.
        mean, variance = self.process.transition(x_0, 0, s)
        return mean + variance.sqrt().to(mean.dtype) * self.process.predict_epsilon(x_t, x_0, t)


def sample(
    walk: Walk,
    restore: Restore,
    x_t: Images,
    levels: Sequence[int],
    *,
    generator: Generators = None,
) -> Iterator[tuple[int, Images]]:
    """Walk from x_t at levels[0] down to levels[-1]; yield (s, x_s) after every step.

    For noise start from `normal.standard_normal`. Costs one call of `restore` for each step.
    """
    for t, s in pairwise(levels):
        with torch.no_grad():
            # (b, *dims) at level t becomes (b, *dims) at level s.
            x_t = walk.step(restore(x_t, t), x_t, (t, s), generator=generator)
        yield s, x_t
