"""From a caption to images: every part of VQ-Diffusion, put together.

    from vqlearn import VQDiffusionPipeline
    pipe = VQDiffusionPipeline.from_pretrained("scenes")
    pipe("a small red circle above a large blue square").images[0]

The call has the signature of diffusers' pipeline of the same name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.hub import HubOptions
from vqlearn.checkpoints.layout import CheckpointError
from vqlearn.checkpoints.modules import Wanted
from vqlearn.checkpoints.shipped import find_null_text, resolve
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reference import ReferenceDenoise, reference_log_p_x0, replay
from vqlearn.diffusion.sampler import Denoise, all_masked, levels_to_visit, sample
from vqlearn.diffusion.schedule import ScheduleConfig, build_schedule
from vqlearn.pipeline.arguments import (
    as_prompts,
    check_counts,
    check_generator,
    check_noise,
    check_numbers,
)
from vqlearn.probability.checks import check_choice, check_integer
from vqlearn.probability.filters import guide, top_p
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.random import Generators
from vqlearn.text.encoder import TextEncoder
from vqlearn.text.null_text import NullText, null_states
from vqlearn.tokens.vqvae import VQVAE
from vqlearn.transformer.denoiser import Denoiser

Callback = Callable[[int, int, Tensor], Any]
OUTPUT_TYPES = ("pil", "np")


@dataclass(frozen=True, eq=False)
class PipelineOutput:
    """`images`: a list of PIL images, or one float32 array (images, height, width, 3) in [0, 1]."""

    images: list[Image.Image] | np.ndarray


class Networks(NamedTuple):
    """The trained parts of a pipeline. They must fit each other: see `VQDiffusionPipeline`."""

    vqvae: VQVAE
    denoiser: Denoiser
    text_encoder: TextEncoder
    null_text: NullText


class VQDiffusionPipeline:
    """Text to image with VQ-Diffusion.

    Raises `ValueError` if the parts do not fit each other: the number of codes, of levels or the
    shape of the text states differ.
    """

    def __init__(self, networks: Networks, schedule: ScheduleConfig) -> None:
        _check_parts_fit(networks, schedule)
        self.vqvae, self.denoiser, self.text_encoder, self.null_text = networks
        self.schedule = schedule
        self.process = MaskAndReplace(build_schedule(schedule))
        self.progress_bar_config: dict[str, Any] = {"leave": False}
        for network in networks:
            network.eval()

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | Path,
        torch_dtype: torch.dtype | None = None,
        *,
        revision: str | None = None,
        variant: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> "VQDiffusionPipeline":
        """Load a checkpoint: one that ships with vqlearn ("scenes"), a folder, or one of the hub.

        The layout is that of diffusers, and "microsoft/vq-diffusion-ithq" is the released model.
        Without `torch_dtype` every part keeps the dtype of its file. `variant` chooses weights
        such as "fp16" that stand beside the plain ones; `revision`, `cache_dir` and
        `local_files_only` are for the hub alone (see `checkpoints.hub.HubOptions`).

        Memory: the weights in `torch_dtype`, and the largest of them once more as stored.
        Raises `CheckpointError`, a `ValueError`, that names the file and what is wrong with it.
        """
        hub = HubOptions(revision, variant, cache_dir, local_files_only)
        folder = resolve(name_or_dir, hub)
        files.check(folder)
        wanted = Wanted(torch_dtype, variant)
        networks = Networks(
            files.load_vqvae(folder, wanted),
            files.load_denoiser(folder, wanted),
            files.load_text_encoder(folder, wanted),
            files.load_null_text(find_null_text(name_or_dir, folder, hub), wanted),
        )
        try:
            return cls(networks, files.load_schedule(folder))
        except ValueError as error:
            raise CheckpointError(f"the parts of {folder} do not fit: {error}") from error

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that `from_pretrained` and, part by part, diffusers read."""
        folder = Path(folder)
        files.save_vqvae(self.vqvae, folder)
        files.save_denoiser(self.denoiser, folder)
        files.save_text_encoder(self.text_encoder, folder)
        files.save_null_text(self.null_text, folder)
        files.save_schedule(self.schedule, folder)
        files.finish(folder)

    def to(self, *device_or_dtype: torch.device | str | torch.dtype) -> "VQDiffusionPipeline":
        """Move every network to a device, or convert it to a dtype, or both; returns itself."""
        for network in (self.vqvae, self.denoiser, self.text_encoder, self.null_text):
            network.to(*device_or_dtype)
        return self

    def set_progress_bar_config(self, **config: Any) -> None:
        """Arguments of tqdm for the bar of every call, for example `disable=True`."""
        self.progress_bar_config = config

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.denoiser.to_logits.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the denoiser's weights."""
        return self.denoiser.to_logits.weight.dtype

    @property
    def image_size(self) -> int:
        """Height and width of an image, in pixels."""
        return self.denoiser.config.sample_size * self.vqvae.config.downsampling_factor

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
        """Generate images from one caption or from many.

        - `num_inference_steps`: calls of the denoiser, 1 to T. Fewer than T means exact strides.
        - `guidance_scale`: how much to exaggerate what the caption adds; 1 or less: not at all.
        - `truncation_rate`: draw only from the smallest top set of codes of this mass, 0 < r <= 1.
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
        prompts = as_prompts(prompt)
        check_numbers(guidance_scale, truncation_rate)
        check_counts(num_images_per_prompt, callback_steps)
        check_generator(generator)
        check_choice("output_type", output_type, OUTPUT_TYPES)
        check_integer("num_inference_steps", num_inference_steps)
        check_noise(noise, num_inference_steps, self.process.num_timesteps, generator)
        levels = levels_to_visit(self.process.num_timesteps, num_inference_steps)
        text = repeat(
            self.text_encoder(prompts), "b l c -> (b images) l c", images=num_images_per_prompt
        )
        x_t = all_masked(
            self.process, (len(text), self.denoiser.config.num_positions), device=self.device
        )
        if noise == "exact":
            denoise = self.denoiser_for(text, guidance_scale, truncation_rate)
            steps = sample(self.process, denoise, x_t, levels, generator=generator)
        else:
            p_x0 = self._reference_denoise_for(text, guidance_scale, truncation_rate)
            steps = replay(self.schedule, p_x0, x_t, generator=generator)
        bar = tqdm(steps, total=num_inference_steps, **self.progress_bar_config)
        for i, (_, x_t) in enumerate(bar):
            if callback is not None and i % callback_steps == 0:
                callback(i, levels[i] - 1, x_t)
        return PipelineOutput(_as_output(self.vqvae.decode(x_t), output_type))

    def denoiser_for(self, text: Tensor, guidance_scale: float, truncation_rate: float) -> Denoise:
        """The function that the sampler asks: networks, guidance and truncation in one."""
        guided = guidance_scale > 1
        logits_at = self._logits_for(text, guided)

        def denoise(x_t: Tensor, t: int) -> Tensor:
            log_p_x0 = log_normalise(logits_at(x_t, t))
            if guided:
                log_unconditional, log_conditional = log_p_x0.chunk(2)
                log_p_x0 = guide(log_conditional, log_unconditional, guidance_scale)
            return top_p(log_p_x0, truncation_rate)

        return denoise

    def _reference_denoise_for(
        self, text: Tensor, guidance_scale: float, truncation_rate: float
    ) -> ReferenceDenoise:
        guided = guidance_scale > 1
        logits_at = self._logits_for(text, guided)

        def p_x0(x_t: Tensor, t: int) -> Tensor:
            return reference_log_p_x0(
                rearrange(logits_at(x_t, t), "b n k -> b k n"),
                guidance_scale=guidance_scale if guided else None,
                truncation_rate=truncation_rate,
            )

        return p_x0

    def _logits_for(self, text: Tensor, guided: bool) -> Callable[[Tensor, int], Tensor]:
        """The denoiser with its text; if guided, the batch is there twice, first without text."""
        if guided:
            null = null_states(self.null_text, self.text_encoder, len(text))
            text = torch.cat([null.to(text.dtype), text])
        text = text.to(self.dtype)

        def logits_at(x_t: Tensor, t: int) -> Tensor:
            tokens = torch.cat([x_t, x_t]) if guided else x_t
            return self.denoiser(tokens, torch.full((len(tokens),), t, device=tokens.device), text)

        return logits_at


def _check_parts_fit(networks: Networks, schedule: ScheduleConfig) -> None:
    vqvae, denoiser = networks.vqvae.config, networks.denoiser.config
    encoder, null = networks.text_encoder, networks.null_text.config
    facts = [
        ("classes of the schedule", schedule.num_vec_classes, vqvae.num_vq_embeddings + 1),
        ("classes of the denoiser", denoiser.num_vector_embeds, vqvae.num_vq_embeddings + 1),
        ("text width of the denoiser", denoiser.cross_attention_dim, encoder.width),
    ]
    if null.learnable:
        facts.append(("width of the null text", null.hidden_size, encoder.width))
        facts.append(("length of the null text", null.length, encoder.length))
    words, room = len(encoder.tokenizer), encoder.model.config.vocab_size
    if words > room:
        raise ValueError(f"the tokenizer has {words} words; allowed: {room}, the text encoder's")
    for name, seen, allowed in facts:
        if seen != allowed:
            raise ValueError(f"{name}: {seen}; allowed: {allowed}")
    if denoiser.num_embeds_ada_norm < schedule.num_train_timesteps:
        raise ValueError(
            f"the denoiser knows {denoiser.num_embeds_ada_norm} levels; "
            f"allowed: {schedule.num_train_timesteps} or more"
        )


def _as_output(images: Tensor, output_type: str) -> list[Image.Image] | np.ndarray:
    """Decoded images (b, 3, h, w), about -1 to 1, in the form that the caller asked for."""
    zero_to_one = (images.float() / 2 + 0.5).clamp(0, 1).cpu()
    if output_type == "np":
        return rearrange(zero_to_one, "b c h w -> b h w c").numpy()
    return as_pil(zero_to_one)


def as_pil(images: Float[Tensor, "b 3 h w"]) -> list[Image.Image]:
    """Images on the CPU, RGB in 0 to 1, as PIL images."""
    bytes_ = (rearrange(images, "b c h w -> b h w c") * 255).round().to(torch.uint8).numpy()
    return [Image.fromarray(picture) for picture in bytes_]
