r"""VQ-Diffusion and its relatives as token models: a process, and the network that reverses it.

model = DiffusionModel(MaskAndReplace(build_schedule(paper(27))), SequenceDenoiser(config))
model.loss(x, generator=generator).mean().backward()
model.nll(x)                                   # the negative ELBO, nats a sequence
model.sample(8, sampling=Sampling(num_inference_steps=25))
model.sample(8, rule=purity(3))                # an unmasking rule: 3 tokens a step, 9 steps
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.diffusion.level_sampling import ImportanceSampler
from vqlearn.diffusion.objective import TrainingLoss, training_loss, variational_bound
from vqlearn.diffusion.process import MaskAndReplace, Process
from vqlearn.diffusion.reveal.rule import UnmaskingRule
from vqlearn.diffusion.reveal.unmasking import unmask
from vqlearn.diffusion.sampler import Denoise, all_masked, draw_prior, levels_to_visit, sample
from vqlearn.probability import (
    PLAIN,
    Condition,
    Generators,
    Given,
    Sampling,
    check_condition,
    check_request,
    guide,
    log_normalise,
    top_p,
)
from vqlearn.probability.checks import Level, check_kind, check_sequences

Scores = Callable[[Int[Tensor, "b n"], Level], Float[Tensor, "rows n k"]]
"""scores(x_t, t): what the network says, not normalised; with guidance for twice as many rows."""


class Noisy(NamedTuple):
    """Sequences at levels t of 1..T, and what each level's loss counts (`SampledLevels`)."""

    t: Int[Tensor, " b"]
    weight: Float[Tensor, " b"]
    x_t: Int[Tensor, "b n"]


class DiffusionModel(nn.Module):
    r"""The distribution of what the reverse process makes of noise; a `TokenModel`.

    $p(x_0) = \sum_{x_1 \ldots x_T} p(x_T) \prod_t p(x_{t-1} \mid x_t)$ with the steps of
    `process.log_reverse`. `network(x_t, t)`, or `network(x_t, t, y)` with text states or class
    labels y, gives scores of the K codes: their log-softmax is $\log p_\theta(x_0 \mid x_t, y)$.
    $-\log p$ is a sum over all paths, so `nll` is the negative ELBO (`exact` is False).

    `num_positions` is that of the network's config unless it is given; `auxiliary_weight` is that
    of `objective.training_loss`.
    """

    exact = False

    def __init__(
        self,
        process: Process,
        network: Callable[..., Tensor],
        *,
        num_positions: int | None = None,
        auxiliary_weight: float = 5e-4,
    ) -> None:
        super().__init__()
        self.process, self.network = process, network
        self.num_codes = process.num_codes
        self.num_positions = num_positions or network.config.num_positions
        self.auxiliary_weight = auxiliary_weight
        self.levels = ImportanceSampler(process.num_timesteps)

    def denoiser(
        self,
        condition: Condition | None = None,
        sampling: Sampling = PLAIN,
        *,
        renormalised: bool = True,
    ) -> Denoise:
        r"""The function that the objective and the sampler ask: $\log p_\theta(x_0 \mid x_t, y)$.

        Normalised, then guided, then truncated, as `sampling` says; an unmasking rule comes after
        both. What truncation keeps is renormalised, unless `renormalised` is False. Raises
        `ValueError` for a guidance scale above 1 without a condition, or without its null
        embedding, and for a condition that the network does not read, or lacks.
        """
        scores = self.scores(condition, guided=sampling.is_guided)
        for t in range(1, self.process.num_timesteps + 1):
            sampling.scale_at(t)  # what is wrong at any level is refused before the first step

        def denoise(x_t: Int[Tensor, "b n"], t: Level) -> Float[Tensor, "b n k"]:
            return predicted(scores(x_t, t), t, sampling, renormalised=renormalised)

        return denoise

    def scores(self, condition: Condition | None, *, guided: bool) -> Scores:
        """The network with its condition; if guided, the batch is there twice, first without."""
        told = self.told(condition, guided=guided)

        def scores(x_t: Int[Tensor, "b n"], t: Level) -> Float[Tensor, "rows n k"]:
            tokens = torch.cat([x_t, x_t]) if guided else x_t  # without and with the condition
            if not isinstance(t, int):
                t = (torch.cat([t, t]) if guided else t).to(x_t.device)
            return self.network(tokens, t, *told)

        return scores

    def told(self, condition: Condition | None, *, guided: bool) -> tuple[Tensor, ...]:
        """What the network reads besides tokens and level: nothing, text states, or class labels.

        A network says by `reads_text` and `reads_classes` what it reads; without them, text.
        Raises `ValueError` as `check_condition` does.
        """
        text = getattr(self.network, "reads_text", condition is not None)
        classes = getattr(self.network, "reads_classes", False)
        check_condition(condition, reads_text=text, reads_classes=classes, guided=guided)
        return () if condition is None else (condition.network_input(guided=guided),)

    def loss(
        self,
        x: Int[Tensor, "b n"],
        condition: Condition | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        r"""One term of the negative ELBO for each sequence, at a random level: nats per token.

        The level t is drawn by importance and the loss weighted for it, so its mean is that of the
        whole bound without the prior's term, plus the auxiliary loss (`objective.training_loss`).
        In training mode the history of the levels learns from it. One call of the network.
        """
        noisy = self.corrupted(x, generator=generator)
        terms = self.terms(x, noisy, condition)
        # Unweighted: the history decides how often a level is drawn, the weight corrects for it.
        if self.training:
            self.levels.update(noisy.t, terms.bound.detach().cpu())
        return noisy.weight.to(x.device) * terms.total

    def corrupted(
        self, x: Int[Tensor, "b n"], *, generator: torch.Generator | None = None
    ) -> Noisy:
        """The sequences at random levels, one for each: the first half of `loss`."""
        check_sequences("x", x, self.num_positions, self.num_codes)
        t, weight = self.levels.draw(len(x), generator=generator)
        with full_precision(x):
            return Noisy(t, weight, self.process.corrupt(x, t, generator=generator))

    def terms(
        self, x: Int[Tensor, "b n"], noisy: Noisy, condition: Condition | None = None
    ) -> TrainingLoss:
        """The bound and the auxiliary loss at these levels, not weighted: the second half."""
        log_p_x0 = self.denoiser(condition)(noisy.x_t, noisy.t)  # (b, n, k), under autocast if any
        with full_precision(x):
            return training_loss(
                self.process,
                log_p_x0,
                (x, noisy.x_t),
                noisy.t,
                auxiliary_weight=self.auxiliary_weight,
            )

    @torch.no_grad()
    def nll(
        self,
        x: Int[Tensor, "b n"],
        condition: Condition | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """An unbiased estimate of the negative ELBO, prior included: nats per sequence.

        Every level is visited once, with one random x_t: T calls of the network.
        """
        check_sequences("x", x, self.num_positions, self.num_codes)
        return variational_bound(self.process, self.denoiser(condition), x, generator=generator)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        condition: Condition | None = None,
        *,
        given: Given | None = None,
        sampling: Sampling = PLAIN,
        rule: UnmaskingRule | None = None,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        r"""Draw sequences: x_T from the prior, then `num_inference_steps` reverse steps.

        **With an unmasking rule** (`diffusion.reveal`) x_T is MASK alone, and the rule decides how
        many steps there are, and what each reveals: `model.sample(8, rule=purity(3))`.

        **Given tokens** are held: they stand in x_T and are put back after every step, while the
        network predicts the others from them. With masks alone, the true $p(x_0 \mid x_t)$ and one
        token revealed at a time this samples $p(x \mid \text{given})$; several tokens revealed in
        one step are drawn independently of each other, as everywhere. Where tokens are replaced,
        it is an approximation: a clean token in a noisy sequence is a state that the process does
        not reach. Where no token is ever MASK (multinomial diffusion) the network cannot tell a
        given token from a random one at high levels, so the given tokens hardly steer the first
        steps.

        Raises `ValueError` for more steps than levels, for a number of steps beside a rule, and for
        captions or given tokens that do not fit.
        """
        check_request(self, count, condition, given)
        shape = (count, self.num_positions)
        if rule is None:
            num_steps = sampling.num_inference_steps or self.process.num_timesteps
            levels = levels_to_visit(self.process.num_timesteps, num_steps)
            x_t = draw_prior(self.process, shape, device=self.device, generator=generator)
        else:
            check_no_steps(sampling)
            levels, x_t = rule, all_masked(self.process, shape, device=self.device)
        steps = self.steps(
            x_t, levels, condition, given=given, sampling=sampling, generator=generator
        )
        # The states on the way are dropped; whoever wants them calls `steps`. A rule that finds
        # every token given takes no step at all.
        *_, x_0 = (given.keep(x_t) if given else x_t, *(x for _, x in steps))
        return x_0

    def steps(
        self,
        x_t: Int[Tensor, "b n"],
        levels: Sequence[int] | UnmaskingRule,
        condition: Condition | None = None,
        *,
        given: Given | None = None,
        sampling: Sampling = PLAIN,
        generator: Generators = None,
    ) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
        """The reverse process from any x_t at levels[0]: yields (s, x_s) after every step.

        An unmasking rule in the place of the levels finds its own: `reveal.unmasking.unmask`. The
        network is asked without gradients. Raises `TypeError` for a rule with another process than
        `MaskAndReplace`.
        """
        denoise = self.denoiser(condition, sampling, renormalised=renormalises(levels))
        return self.walk(denoise, x_t, levels, given=given, generator=generator)

    def walk(
        self,
        denoise: Denoise,
        x_t: Int[Tensor, "b n"],
        levels: Sequence[int] | UnmaskingRule,
        *,
        given: Given | None = None,
        generator: Generators = None,
    ) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
        """`steps` with any denoiser, such as one whose caption changes on the way."""
        denoise = torch.no_grad()(denoise)
        if isinstance(levels, UnmaskingRule):
            check_kind("the process of an unmasking rule", self.process, MaskAndReplace)
            return unmask(self.process, denoise, x_t, levels, given=given, generator=generator)
        return sample(self.process, denoise, x_t, levels, given=given, generator=generator)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are; a network without weights is on the CPU."""
        weights = next(self.parameters(), None)
        return torch.device("cpu") if weights is None else weights.device


def predicted(
    scores: Float[Tensor, "rows *n k"], t: Level, sampling: Sampling, *, renormalised: bool = True
) -> Float[Tensor, "*b k"]:
    """Scores as log p(x_0 | x_t): normalised, guided, truncated.

    Here, and nowhere else in the model, scores of x_0 become probabilities. With guidance the first
    half of the rows is without a caption.
    """
    log_p_x0 = log_normalise(scores)
    if sampling.is_guided:
        log_unconditional, log_conditional = log_p_x0.chunk(2)
        log_p_x0 = guide(log_conditional, log_unconditional, sampling.scale_at(t))
    return top_p(log_p_x0, sampling.truncation_rate, renormalised=renormalised)


def renormalises(levels: Sequence[int] | UnmaskingRule) -> bool:
    """Whether a truncated prediction is renormalised: by all but the rules of the released code."""
    return not isinstance(levels, UnmaskingRule) or levels.compatible is None


def check_no_steps(sampling: Sampling) -> None:
    """Raise `ValueError` for a number of steps: an unmasking rule has its own."""
    if sampling.num_inference_steps is not None:
        raise ValueError(
            f"num_inference_steps is {sampling.num_inference_steps}; allowed with a rule: None"
        )


def full_precision(x: Tensor) -> torch.autocast:
    """Inside autocast, the arithmetic of a process still runs in the precision of its inputs."""
    return torch.autocast(x.device.type, enabled=False)
