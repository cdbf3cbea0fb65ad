"""From a prompt to images with any token model: read the prompt, sample tokens, decode them.

    from vqlearn import TextToImagePipeline
    pipe = TextToImagePipeline.from_pretrained("runs/raster")
    pipe("a small red circle above a large blue square", guidance_scale=1.5).images[0]

`pipeline.VQDiffusionPipeline` is the one for VQ-Diffusion, with the call that diffusers' has.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import repeat
from torch import nn

from vqlearn.checkpoints import find_null_text
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.layout import INDICES, NULL_TEXT_FOLDER, TEXT_FOLDER, TOKENIZER_FOLDER
from vqlearn.pipeline.arguments import (
    check_generator,
    check_images,
    check_output,
    checked_negative,
    checked_prompts,
)
from vqlearn.pipeline.base import ImagePipeline
from vqlearn.pipeline.loading import Source
from vqlearn.pipeline.output import PipelineOutput
from vqlearn.probability import Conditioning, Generators, GuidanceScale, TokenModel
from vqlearn.probability.checks import check_choice
from vqlearn.text import NullText, TextEncoder, negative_states, null_states
from vqlearn.tokens import VQVAE


class Parts(NamedTuple):
    """What every pipeline has besides its token model. They must fit it, and each other."""

    vqvae: VQVAE
    text_encoder: TextEncoder
    null_text: NullText


class TextToImagePipeline(ImagePipeline):
    """Text to image with a token model.

    Raises `ValueError` if the parts do not fit: the number of codes, the shape of the text states.
    """

    token_models = tuple(name for name, index in INDICES.items() if TEXT_FOLDER in index)

    def __init__(self, parts: Parts, model: TokenModel) -> None:
        _, self.text_encoder, self.null_text = parts
        super().__init__(parts.vqvae, model)

    def check_parts_fit(self) -> None:
        """Raise `ValueError` for parts that do not fit each other, or this pipeline."""
        super().check_parts_fit()
        encoder, null = self.text_encoder, self.null_text
        if null.config.learnable:
            check_choice(
                "hidden_size of the null embedding", null.config.hidden_size, (encoder.width,)
            )
            check_choice("length of the null embedding", null.config.length, (encoder.length,))
        words, room = len(encoder.tokenizer), encoder.model.config.vocab_size
        if words > room:
            raise ValueError(
                f"the tokenizer has {words} words; allowed: {room}, the text encoder's"
            )

    @classmethod
    def opened(cls, source: Source) -> "TextToImagePipeline":
        """The pipeline of a checkpoint that is whole, on the CPU."""
        null_folder = find_null_text(source.name, source.folder, source.hub)
        parts = Parts(
            files.load_vqvae(*source.read),
            files.load_text_encoder(*source.read),
            files.load_null_text(null_folder, source.wanted),
        )
        return cls(parts, files.load_token_model(*source.read))

    def write_parts(self, folder: Path) -> None:
        """Write every part to a folder of its own."""
        super().write_parts(folder)
        files.save_network(self.null_text, folder)
        files.save_text_encoder(self.text_encoder, folder)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Everything with weights."""
        return *super().networks, self.text_encoder, self.null_text

    @property
    def components(self) -> dict[str, Any]:
        """The parts by the names that they have in diffusers; the classes are ours."""
        return {
            **super().components,
            TEXT_FOLDER: self.text_encoder,
            TOKENIZER_FOLDER: self.text_encoder.tokenizer,
            NULL_TEXT_FOLDER: self.null_text,
        }

    def conditioning(
        self,
        prompts: list[str],
        images: int = 1,
        *,
        guided: bool = True,
        negative: list[str] | None = None,
    ) -> Conditioning:
        """What the model attends to: `images` times the text states of each prompt.

        For guidance also what it leads away from: `negative`, one text or one for each prompt, or
        else the null embedding. Of a checkpoint that learned none it is the empty caption, [""].
        """
        # Prompt-major: all copies of the first prompt, then all of the second.
        text = repeat(self.text_encoder(prompts), "b l c -> (b images) l c", images=images)
        if not guided:
            return Conditioning(text.to(self.dtype))
        if negative is None:
            null = null_states(self.null_text, self.text_encoder, 1)
        else:
            null = negative_states(self.text_encoder, negative, images)
        # Rounded as the text is: first to the encoder's precision, then to the model's.
        return Conditioning(text.to(self.dtype), null.to(text.dtype).to(self.dtype))

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        num_inference_steps: int | None = None,
        guidance_scale: GuidanceScale | None = None,
        truncation_rate: float | None = None,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        negative_prompt: str | list[str] | None = None,
    ) -> PipelineOutput | tuple:
        """Generate images from one prompt or from many.

        - `num_inference_steps`, `guidance_scale`, `truncation_rate`: see `Sampling`. The last two
          are what the checkpoint recommends, or else 1.0.
        - `num_images_per_prompt`: all images of the first prompt come first, then of the second.
        - `generator`: one, or one for each image: then no image depends on the others in the call.
        - `output_type`: "pil", or "np" ("numpy", None): one float32 array (b, h, w, 3) in [0, 1].
        - `return_dict`: False for a tuple with the images alone.
        - `negative_prompt`: what to guide away from in place of the null embedding, one text or one
          for each prompt; "" is the empty caption. Only with guidance.

        Raises `TypeError` or `ValueError` that names the argument, and what is allowed.
        """
        sampling = replace(
            self.settings(guidance_scale, truncation_rate), num_inference_steps=num_inference_steps
        )
        prompts, each = self.checked(prompt, num_images_per_prompt, generator)
        check_output(output_type, return_dict)
        negative = checked_negative(negative_prompt, len(prompts), sampling)
        condition = self.conditioning(prompts, each, guided=sampling.is_guided, negative=negative)
        tokens = self.model.sample(
            len(condition), condition, sampling=sampling, generator=generator
        )
        return self.decoded(tokens, output_type, return_dict)

    def checked(
        self, prompt: str | list[str], num_images_per_prompt: int, generator: Generators
    ) -> tuple[list[str], int]:
        """The prompts, and the images of each, if what every call has is allowed."""
        prompts = checked_prompts(prompt)
        check_images(len(prompts), num_images_per_prompt, self.most_images)
        check_generator(generator, len(prompts) * num_images_per_prompt)
        return prompts, int(num_images_per_prompt)
