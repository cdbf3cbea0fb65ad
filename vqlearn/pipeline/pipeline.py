"""VQ-Diffusion, from a prompt to images: every part of it, put together.

    from vqlearn import VQDiffusionPipeline
    pipe = VQDiffusionPipeline.from_pretrained("scenes")
    pipe("a small red circle above a large blue square").images[0]

The call takes what the call of diffusers' pipeline of the same name takes, in the same order and by
the same names; `noise`, `rule` and `negative_prompt` come after them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.layout import DENOISER_FOLDER, SCHEDULE_FOLDER, model_folder
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
    check_noise,
    check_output,
    check_reference_generator,
    check_rule,
    checked_latents,
    checked_negative,
)
from vqlearn.pipeline.editing import ImageEditing
from vqlearn.pipeline.text_to_image import Parts, PipelineOutput, TextToImagePipeline
from vqlearn.probability import Conditioning, Generators, Given, GuidanceScale, Sampling
from vqlearn.probability.checks import check_choice, check_integer
from vqlearn.transformer import Denoiser


class VQDiffusionPipeline(ImageEditing, TextToImagePipeline):
    """Text to image with VQ-Diffusion: the token model is a `DiffusionModel` with a `Denoiser`.

    Raises `ValueError` if it is another one, another process than `MaskAndReplace`, or if the parts
    do not fit each other: the number of codes, of levels or the shape of the text states differ.
    """

    def __init__(self, parts: Parts, model: DiffusionModel) -> None:
        _check_kind("the token model", model, DiffusionModel)
        _check_kind("the process", model.process, MaskAndReplace)
        _check_kind("the network", model.network, Denoiser)
        super().__init__(parts, model)
        config, width = self.denoiser.config, parts.text_encoder.width
        check_choice("num_codes of the denoiser", config.num_codes, (model.num_codes,))
        check_choice("cross_attention_dim of the denoiser", config.cross_attention_dim, (width,))
        levels, least = config.num_embeds_ada_norm, self.process.num_timesteps
        check_integer("num_embeds_ada_norm of the denoiser", levels, least)

    @property
    def denoiser(self) -> Denoiser:
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
        """The parts by the names that they have in diffusers; the classes are ours.

        The process stands in the place of the scheduler.
        """
        own = {DENOISER_FOLDER: self.denoiser, SCHEDULE_FOLDER: self.process}
        return {**super().components, **own}

    def compile(self, **options: Any) -> None:
        """Let `torch.compile`, with its options, make the network of all calls to come faster.

        For many calls on a GPU: the first ones take a minute longer. On two CPU cores nothing was
        gained. `noise="reference"` and training stay as they are, and so does what is saved.
        """
        self.denoiser.compile(**options)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        num_inference_steps: int = 100,
        guidance_scale: GuidanceScale = 5.0,
        truncation_rate: float = 1.0,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        latents: Int[Tensor, "b n"] | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, int, Tensor], Any] | None = None,
        callback_steps: int = 1,
        noise: str = "exact",
        rule: UnmaskingRule | None = None,
        negative_prompt: str | list[str] | None = None,
    ) -> PipelineOutput | tuple:
        """Generate images from one prompt or from many.

        - `num_inference_steps`: 1 to T. Fewer: longer strides, the right posterior token by token.
        - `guidance_scale`: classifier-free guidance, 1 or less: none; or a function: see `Sampling`
        - `truncation_rate`: nucleus (top-p) sampling of the predicted x_0, 0 < r <= 1.
        - `num_images_per_prompt`: the result is prompt-major: all images of the first prompt,
          then all of the second.
        - `generator`: one, or one for each image: then no image depends on the others in the call.
        - `latents`: the tokens x_T to start from, (images, n) int64, each a code or MASK (K), not
          held. Without them all are MASK, as in the released code (`model.sample`: the prior).
        - `output_type`: "pil", or "np" for one float32 array (images, height, width, 3) in [0, 1].
        - `return_dict`: False for a tuple with the images alone.
        - `callback(i, timestep, tokens)`: called after every `callback_steps`-th step i = 0, 1, …
          `timestep`: the level it started from, minus 1; `tokens`: (images, n) int64, MASK is K.
        - `noise`: "exact" draws every token from the model's own reverse steps, in float64. "fast"
          draws from the same distribution with less work (`diffusion.quick`): without a rule a seed
          gives another image, steps in which no token can change are left out, and each image has
          a level of its own.
          "reference" repeats the float32 noise, posterior and truncation of diffusers and of the
          official code (`diffusion.reference`), all T steps, one generator: a seed's own tokens.
        - `rule`: an unmasking rule such as `diffusion.reveal.purity(32)`, not with "reference". It
          finds the steps itself, and `num_inference_steps` is not used.
        - `negative_prompt`: what to guide away from in place of the null embedding, one text or one
          for each prompt; "" is the empty caption. Only with guidance.

        A prompt that is too long loses its last words and keeps its end token; a warning is
        logged. Raises `TypeError` or `ValueError` that names the argument, before any work.
        """
        request = self._request(
            *(prompt, num_inference_steps, guidance_scale, truncation_rate),
            *(num_images_per_prompt, generator, output_type, return_dict),
            *(callback, callback_steps, noise, rule, negative_prompt),
        )
        x_t = self._start(latents, request.count)  # (b, n)
        condition = self._condition(request)
        if noise == "reference":
            steps = self._reference_steps(x_t, condition, request)
        else:
            steps = self._steps(x_t, condition, request, quick=noise == "fast")
        return self.decoded(self._last(request, x_t, steps, noise=noise), *request.output)

    def _request(
        self,
        prompt: str | list[str],
        num_inference_steps: int = 100,
        guidance_scale: GuidanceScale = 5.0,
        truncation_rate: float = 1.0,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, int, Tensor], Any] | None = None,
        callback_steps: int = 1,
        noise: str = "exact",
        rule: UnmaskingRule | None = None,
        negative_prompt: str | list[str] | None = None,
        *,
        level: int | None = None,
    ) -> Request:
        """The arguments of the call, checked; the reverse process begins at a level, by default T.

        Raises `TypeError` or `ValueError` that names the argument.
        """
        sampling = Sampling(guidance_scale, truncation_rate)
        prompts, each = self.checked(prompt, num_images_per_prompt, generator)
        negative = checked_negative(negative_prompt, len(prompts), sampling)
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
        return Request(prompts, negative, each, plan, sampling, generator, watch, output)

    def _condition(self, request: Request) -> Conditioning:
        """The text states of the prompts, once for each image, and what guidance needs."""
        how = {"guided": request.sampling.is_guided, "negative": request.negative}
        return self.conditioning(request.prompts, request.each, **how)

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

    def _denoiser(self, condition: Conditioning, request: Request) -> QuickDenoise:
        """What the model predicts, asked with the request's guidance and truncation."""
        renormalised = renormalises(request.plan)
        return quick_denoiser(self.model, condition, request.sampling, renormalised=renormalised)

    def _steps(
        self,
        x_t: Int[Tensor, "b n"],
        condition: Conditioning,
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
        self, x_t: Int[Tensor, "b n"], condition: Conditioning, request: Request
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


def load_pipeline(name_or_dir: str | Path) -> TextToImagePipeline:
    """The pipeline of any checkpoint: a `VQDiffusionPipeline` if its token model is VQ-Diffusion.

    Raises `CheckpointError` as `from_pretrained` does.
    """
    folder = resolve(name_or_dir)
    is_vq_diffusion = model_folder(folder) == DENOISER_FOLDER
    kind = VQDiffusionPipeline if is_vq_diffusion else TextToImagePipeline
    return kind.from_pretrained(folder)


def _check_kind(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is a {type(value).__name__}; allowed: a {kind.__name__}")
