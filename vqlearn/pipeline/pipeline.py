"""VQ-Diffusion, from a prompt to images: every part of it, put together.

    from vqlearn import VQDiffusionPipeline
    pipe = VQDiffusionPipeline.from_pretrained("scenes")
    pipe("a small red circle above a large blue square").images[0]

The call takes what the call of diffusers' pipeline of the same name takes, in the same order and by
the same names; `noise`, `rule` and `negative_prompt` come after them.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from vqlearn.diffusion.reveal import UnmaskingRule
from vqlearn.pipeline.arguments import PromptRequest, checked_negative
from vqlearn.pipeline.output import PipelineOutput
from vqlearn.pipeline.prompt_editing import PromptEditing
from vqlearn.pipeline.text_to_image import TextToImagePipeline
from vqlearn.probability import Conditioning, Generators, GuidanceScale, Sampling
from vqlearn.probability.checks import check_choice
from vqlearn.transformer import Denoiser


class VQDiffusionPipeline(PromptEditing, TextToImagePipeline):
    """Text to image with VQ-Diffusion: the token model is a `DiffusionModel` with a `Denoiser`.

    Raises `ValueError` if it is another one, another process than `MaskAndReplace`, or if the parts
    do not fit each other: the number of codes, of levels or the shape of the text states differ.
    """

    network_kind = Denoiser
    usual = Sampling(5.0)

    def check_parts_fit(self) -> None:
        """Raise `ValueError` for parts that do not fit each other, or this pipeline."""
        super().check_parts_fit()
        read, width = self.denoiser.config.cross_attention_dim, self.text_encoder.width
        check_choice("cross_attention_dim of the denoiser", read, (width,))

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
        guidance_scale: GuidanceScale | None = None,
        truncation_rate: float | None = None,
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
        - `truncation_rate`: nucleus (top-p) sampling of the predicted x_0, 0 < r <= 1. Without it
          or a scale it is what the checkpoint recommends, or else 1.0 and a scale of 5.0.
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
          a level of its own: `timestep` counts from the highest.
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
        return self._generated(request, latents, noise)

    def _request(
        self,
        prompt: str | list[str],
        num_inference_steps: int = 100,
        guidance_scale: GuidanceScale | None = None,
        truncation_rate: float | None = None,
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
    ) -> PromptRequest:
        """The arguments of the call, checked; the reverse process begins at a level, by default T.

        Raises `TypeError` or `ValueError` that names the argument.
        """
        sampling = self.settings(guidance_scale, truncation_rate)
        prompts, each = self.checked(prompt, num_images_per_prompt, generator)
        negative = checked_negative(negative_prompt, len(prompts), sampling)
        request = self._planned(
            *(len(prompts) * each, sampling, num_inference_steps, generator),
            *(output_type, return_dict, callback, callback_steps, noise, rule),
            *(level, each),
        )
        return PromptRequest(**vars(request), prompts=prompts, negative=negative)

    def _condition(self, request: PromptRequest) -> Conditioning:
        """The text states of the prompts, once for each image, and what guidance needs."""
        how = {"guided": request.sampling.is_guided, "negative": request.negative}
        return self.conditioning(request.prompts, request.each, **how)
