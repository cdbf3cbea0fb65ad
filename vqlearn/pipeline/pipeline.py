"""VQ-Diffusion, from a prompt to images: every part of it, put together.

    from vqlearn import VQDiffusionPipeline
    pipe = VQDiffusionPipeline.from_pretrained("scenes")
    pipe("a small red circle above a large blue square").images[0]

The call takes what the call of diffusers' pipeline of the same name takes, by the same names, but
for `latents` and `return_dict`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm

from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.layout import DENOISER_FOLDER, model_folder
from vqlearn.diffusion import (
    DiffusionModel,
    MaskAndReplace,
    ScheduleConfig,
    all_masked,
    levels_to_visit,
)
from vqlearn.diffusion.reference import reference_log_p_x0, replay
from vqlearn.pipeline.arguments import check_noise, checked_prompts
from vqlearn.pipeline.text_to_image import Parts, PipelineOutput, TextToImagePipeline
from vqlearn.probability import Conditioning, Generators, Sampling
from vqlearn.probability.checks import check_choice, check_integer
from vqlearn.transformer import Denoiser


class VQDiffusionPipeline(TextToImagePipeline):
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
        self.progress_bar_config: dict[str, Any] = {"leave": False}

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

    def set_progress_bar_config(self, **config: Any) -> None:
        """Arguments of tqdm for the bar of every call, for example `disable=True`."""
        self.progress_bar_config = config

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        num_inference_steps: int = 100,
        guidance_scale: float = 5.0,
        truncation_rate: float = 1.0,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        output_type: str = "pil",
        callback: Callable[[int, int, Tensor], Any] | None = None,
        callback_steps: int = 1,
        noise: str = "exact",
    ) -> PipelineOutput:
        """Generate images from one prompt or from many.

        - `num_inference_steps`: sampling steps, 1 to T. Fewer than T means exact strides.
        - `guidance_scale`: classifier-free guidance; 1 or less: none.
        - `truncation_rate`: nucleus (top-p) sampling of the predicted x_0, 0 < r <= 1.
        - `num_images_per_prompt`: the result is prompt-major: all images of the first prompt,
          then all of the second.
        - `generator`: one, or a list with one for each image. With a list an image does not
          depend on the others in the call.
        - `output_type`: "pil", or "np" for one float32 array (images, height, width, 3) in [0, 1].
        - `callback(i, timestep, tokens)`: called after every `callback_steps`-th step i = 0, 1, …
          `timestep` is the level that the step started from, minus 1; `tokens` are the
          (images, n) int64 tokens after it, where MASK is K.
        - `noise`: "exact" draws every token from the model's own reverse steps, in float64.
          "reference" repeats the float32 noise, posterior and truncation of diffusers and of the
          official code, with all T steps and one generator: the same seed gives the tokens that
          they give (see `diffusion.reference` for what is wrong with them).

        All tokens are MASK at first, as in the released code; `model.sample` starts from the prior,
        which holds other tokens too where the schedule replaces.

        A prompt that is too long loses its last words and keeps its end token; a warning is
        logged. The empty prompt is allowed. Raises `TypeError` or `ValueError` that names the
        argument, the value seen and the values allowed.
        """
        sampling = Sampling(guidance_scale, truncation_rate)
        prompts = checked_prompts(prompt, num_images_per_prompt, generator, output_type)
        check_integer("callback_steps", callback_steps, 1)
        check_integer("num_inference_steps", num_inference_steps)
        check_noise(noise, num_inference_steps, self.process.num_timesteps, generator)
        levels = levels_to_visit(self.process.num_timesteps, num_inference_steps)
        condition = self.conditioning(prompts, num_images_per_prompt, guided=sampling.is_guided)
        shape = (len(condition), self.model.num_positions)
        x_t = all_masked(self.process, shape, device=self.device)  # (b, n)
        if noise == "exact":
            steps = self.model.steps(x_t, levels, condition, sampling=sampling, generator=generator)
        else:
            steps = self._reference_steps(x_t, condition, sampling, generator)
        bar = tqdm(steps, total=num_inference_steps, **self.progress_bar_config)
        for i, (_, x_t) in enumerate(bar):
            if callback is not None and i % callback_steps == 0:
                callback(i, levels[i] - 1, x_t)
        return self.decoded(x_t, output_type)

    def _reference_steps(
        self,
        x_t: Int[Tensor, "b n"],
        condition: Conditioning,
        sampling: Sampling,
        generator: torch.Generator | None,
    ) -> Iterator[tuple[int, Int[Tensor, "b n"]]]:
        """The same walk with the references' operations and rounding."""
        scores = self.model.scores(condition, guided=sampling.is_guided)
        scale = sampling.guidance_scale if sampling.is_guided else None

        def log_p_x0(x_t: Int[Tensor, "b n"], t: int) -> Tensor:
            return reference_log_p_x0(
                rearrange(scores(x_t, t), "b n k -> b k n"),
                guidance_scale=scale,
                truncation_rate=sampling.truncation_rate,
            )

        return replay(self.schedule, log_p_x0, x_t, generator=generator)


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
