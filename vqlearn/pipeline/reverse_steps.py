"""The reverse process in a pipeline: what VQ-Diffusion's calls share, whatever the condition is."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from einops import rearrange
from jaxtyping import Int
from torch import Tensor, nn

from vqlearn.checkpoints.folder import KINDS
from vqlearn.checkpoints.layout import SCHEDULE_FOLDER
from vqlearn.diffusion import (
    DiffusionModel,
    MaskAndReplace,
    ScheduleConfig,
    all_masked,
    levels_to_visit,
)
from vqlearn.diffusion.model import renormalises
from vqlearn.diffusion.quick import QuickDenoise, quick_denoiser, quick_walk
from vqlearn.diffusion.reference import reference_log_p_x0, replay
from vqlearn.diffusion.reveal import UnmaskingRule
from vqlearn.diffusion.reveal.unmasking import level_of
from vqlearn.pipeline.arguments import (
    Request,
    check_callback,
    check_generator,
    check_noise,
    check_output,
    check_reference_generator,
    check_rule,
    checked_latents,
)
from vqlearn.pipeline.base import ImagePipeline
from vqlearn.pipeline.output import PipelineOutput
from vqlearn.probability import Condition, Generators, Given, Sampling
from vqlearn.probability.checks import check_choice, check_integer


class ReverseSteps(ImagePipeline):
    """A pipeline whose token model is a `DiffusionModel` with `MaskAndReplace`.

    Raises `ValueError` if it is another one, if its network is of another kind, or if they do not
    fit each other: the number of codes or of levels.
    """

    network_kind: type[nn.Module]
    """What the network of the token model must be."""

    model: DiffusionModel

    def check_parts_fit(self) -> None:
        """Raise `ValueError` for parts that do not fit each other, or this pipeline."""
        _check_kind("the token model", self.model, DiffusionModel)
        _check_kind("the process", self.process, MaskAndReplace)
        _check_kind("the network", self.denoiser, self.network_kind)
        super().check_parts_fit()
        config = self.denoiser.config
        check_choice("num_codes of the denoiser", config.num_codes, (self.model.num_codes,))
        levels, least = config.num_embeds_ada_norm, self.process.num_timesteps
        check_integer("num_embeds_ada_norm of the denoiser", levels, least)

    @property
    def denoiser(self) -> nn.Module:
        """The network of the token model."""
        return self.model.network

    @property
    def schedule(self) -> ScheduleConfig:
        """The numbers of the process that files hold."""
        return self.process.schedule.config

    @property
    def process(self) -> MaskAndReplace:
        """The forward process and its exact posterior."""
        return self.model.process

    @property
    def components(self) -> dict[str, Any]:
        """The parts by the names of their folders. The process stands in place of the scheduler."""
        folder = next(name for name, kind in KINDS.items() if type(self.denoiser) is kind.network)
        return {**super().components, folder: self.denoiser, SCHEDULE_FOLDER: self.process}

    def _planned(
        self,
        count: int,
        sampling: Sampling,
        num_inference_steps: int = 100,
        generator: Generators = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, int, Tensor], Any] | None = None,
        callback_steps: int = 1,
        noise: str = "exact",
        rule: UnmaskingRule | None = None,
        level: int | None = None,
        each: int = 1,
    ) -> Request:
        """What is asked for, checked; the reverse process begins at a level, by default T.

        `count` and `each` are those of the `Request`.

        Raises `TypeError` or `ValueError` that names the argument.
        """
        check_output(output_type, return_dict)
        check_callback(callback, callback_steps)
        check_rule(rule, noise)
        level = self.process.num_timesteps if level is None else level
        if rule is None:
            check_integer("num_inference_steps", num_inference_steps, 1, level)
            check_noise(noise, num_inference_steps, self.process.num_timesteps)
        if noise == "reference":
            check_reference_generator(generator, self.device)
        plan = rule or levels_to_visit(level, int(num_inference_steps))
        watch, output = (callback, callback_steps), (output_type, return_dict)
        return Request(count, plan, sampling, generator, watch, output, each)

    def _without_prompt(
        self, count: int, options: dict[str, Any], level: int | None = None, each: int = 1
    ) -> Request:
        """What a call or an edit without a prompt asks for, with the defaults of `_planned`."""
        check_generator(options.get("generator"), count)
        scale, rate = (options.pop(name, None) for name in ("guidance_scale", "truncation_rate"))
        return self._planned(count, self.settings(scale, rate), **options, level=level, each=each)

    def _condition(self, request: Request) -> Condition | None:
        """What the model is told of every image of a request; here nothing."""

    def _generated(
        self, request: Request, latents: Tensor | None, noise: str
    ) -> PipelineOutput | tuple:
        """The images of a request, drawn from x_T on."""
        x_t = self._start(latents, request.count)  # (b, n)
        condition = self._condition(request)
        if noise == "reference":
            steps = self._reference_steps(x_t, condition, request)
        else:
            steps = self._steps(x_t, condition, request, quick=noise == "fast")
        return self.decoded(self._last(request, x_t, steps, noise=noise), *request.output)

    def _start(self, latents: Tensor | None, count: int) -> Int[Tensor, "b n"]:
        """The tokens x_T: those that the caller gives, or MASK alone."""
        shape = (count, self.model.num_positions)
        if latents is None:
            return all_masked(self.process, shape, device=self.device)
        return checked_latents(latents, shape, self.process.num_classes).to(self.device)

    def _last(
        self,
        request: Request,
        x_t: Int[Tensor, "b n"],
        steps: Iterator[tuple[int, Int[Tensor, "b n"]]],
        *,
        noise: str = "exact",
    ) -> Int[Tensor, "b n"]:
        """Take the steps from x_t, with a progress bar and the callback; the last tokens."""
        plan, (callback, callback_steps) = request.plan, request.watch
        is_rule = isinstance(plan, UnmaskingRule)
        t = int(level_of(self.process, plan, x_t, 0).max()) if is_rule else plan[0]
        total = None if is_rule or noise == "fast" else len(plan) - 1
        for i, (s, x_s) in enumerate(self.progress_bar(steps, total)):
            if callback is not None and i % callback_steps == 0:
                callback(i, t - 1, x_s)
            t, x_t = s, x_s
        return x_t

    def _denoiser(self, condition: Condition | None, request: Request) -> QuickDenoise:
        """What the model predicts, asked with the request's guidance and truncation."""
        renormalised = renormalises(request.plan)
        return quick_denoiser(self.model, condition, request.sampling, renormalised=renormalised)

    def _steps(
        self,
        x_t: Int[Tensor, "b n"],
        condition: Condition | None,
        request: Request,
        *,
        given: Given | None = None,
        quick: bool = False,
    ) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
        """The model's own steps, in fewer operations; `quick`: with fewer questions, too."""
        denoise = self._denoiser(condition, request)
        walk = partial(quick_walk, self.model) if quick else self.model.walk
        return walk(denoise, x_t, request.plan, given=given, generator=request.generator)

    def _reference_steps(
        self, x_t: Int[Tensor, "b n"], condition: Condition | None, request: Request
    ) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
        """The same walk with the references' operations and rounding."""
        sampling = request.sampling
        scores = self.model.scores(condition, guided=sampling.is_guided)

        def log_p_x0(x_t: Int[Tensor, "b n"], t: int) -> Tensor:
            return reference_log_p_x0(
                rearrange(scores(x_t, t), "b n k -> b k n"),
                guidance_scale=sampling.scale_at(t) if sampling.is_guided else None,
                truncation_rate=sampling.truncation_rate,
            )

        return replay(self.schedule, log_p_x0, x_t, generator=request.generator)


def _check_kind(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is a {type(value).__name__}; allowed: a {kind.__name__}")
