"""VQ-Diffusion, from a prompt to images: every part of it, put together.

    from vqlearn import VQDiffusionPipeline
    pipe = VQDiffusionPipeline.from_pretrained("scenes")
    pipe("a small red circle above a large blue square").images[0]

The call takes what the call of diffusers' pipeline of the same name takes, by the same names.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.modules import Wanted
from vqlearn.diffusion import (
    DiffusionModel,
    MaskAndReplace,
    ScheduleConfig,
    all_masked,
    build_schedule,
    levels_to_visit,
)
from vqlearn.diffusion.reference import reference_log_p_x0, replay
from vqlearn.pipeline.arguments import OUTPUT_TYPES, as_prompts, check_generator, check_noise
from vqlearn.pipeline.text_to_image import Parts, PipelineOutput, TextToImagePipeline, check_facts
from vqlearn.probability import Conditioning, Generators, Sampling
from vqlearn.probability.checks import check_choice, check_integer
from vqlearn.text import NullText, TextEncoder
from vqlearn.tokens import VQVAE
from vqlearn.transformer import Denoiser

Callback = Callable[[int, int, Tensor], Any]
Steps = Iterator[tuple[int, Int[Tensor, "b n"]]]


class Networks(NamedTuple):
    """The trained parts of the pipeline. They must fit each other: see `VQDiffusionPipeline`."""

    vqvae: VQVAE
    denoiser: Denoiser
    text_encoder: TextEncoder
    null_text: NullText


class VQDiffusionPipeline(TextToImagePipeline):
    """Text to image with VQ-Diffusion.

    Raises `ValueError` if the parts do not fit each other: the number of codes, of levels or the
    shape of the text states differ.
    """

    def __init__(self, networks: Networks, schedule: ScheduleConfig) -> None:
        _check_networks_fit(networks, schedule)
        vqvae, denoiser, text_encoder, null_text = networks
        process = MaskAndReplace(build_schedule(schedule))
        super().__init__(Parts(vqvae, text_encoder, null_text), DiffusionModel(process, denoiser))
        self.schedule = schedule
        self.progress_bar_config: dict[str, Any] = {"leave": False}

    @classmethod
    def _put_together(cls, parts: Parts, folder: Path, wanted: Wanted) -> "VQDiffusionPipeline":
        denoiser = files.load_denoiser(folder, wanted)
        networks = Networks(parts.vqvae, denoiser, parts.text_encoder, parts.null_text)
        return cls(networks, files.load_schedule(folder))

    def _save_model(self, folder: Path) -> None:
        files.save_denoiser(self.denoiser, folder)
        files.save_schedule(self.schedule, folder)

    @property
    def denoiser(self) -> Denoiser:
        """The network of the token model."""
        return self.model.network

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
        callback: Callback | None = None,
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
        - `noise`: "exact" draws every token from the model's own distribution, in float64.
          "reference" repeats the float32 noise, posterior and truncation of diffusers and of the
          official code, with all T steps and one generator: the same seed gives the tokens that
          they give (see `diffusion.replay` for what is wrong with them).

        A prompt that is too long loses its last words and keeps its end token; a warning is
        logged. The empty prompt is allowed. Raises `TypeError` or `ValueError` that names the
        argument, the value seen and the values allowed.
        """
        prompts, sampling = as_prompts(prompt), Sampling(guidance_scale, truncation_rate)
        check_integer("num_images_per_prompt", num_images_per_prompt, 1)
        check_integer("callback_steps", callback_steps, 1)
        check_generator(generator)
        check_choice("output_type", output_type, OUTPUT_TYPES)
        check_integer("num_inference_steps", num_inference_steps)
        check_noise(noise, num_inference_steps, self.process.num_timesteps, generator)
        levels = levels_to_visit(self.process.num_timesteps, num_inference_steps)
        condition = self.conditioning(prompts, num_images_per_prompt, guided=sampling.is_guided)
        shape = (len(condition), self.model.num_positions)
        x_t = all_masked(self.process, shape, device=self.device)
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
    ) -> Steps:
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


def _check_networks_fit(networks: Networks, schedule: ScheduleConfig) -> None:
    codes, denoiser = networks.vqvae.config.num_vq_embeddings, networks.denoiser.config
    check_facts(
        [
            ("classes of the schedule", schedule.num_vec_classes, codes + 1),
            ("classes of the denoiser", denoiser.num_vector_embeds, codes + 1),
            (
                "text width of the denoiser",
                denoiser.cross_attention_dim,
                networks.text_encoder.width,
            ),
        ]
    )
    if denoiser.num_embeds_ada_norm < schedule.num_train_timesteps:
        raise ValueError(
            f"the denoiser knows {denoiser.num_embeds_ada_norm} levels; "
            f"allowed: {schedule.num_train_timesteps} or more"
        )
