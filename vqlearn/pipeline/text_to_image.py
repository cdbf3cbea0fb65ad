"""From a prompt to images with any token model: read the prompt, sample tokens, decode them.

    from vqlearn import TextToImagePipeline
    pipe = TextToImagePipeline.from_pretrained("runs/raster")
    pipe("a small red circle above a large blue square", guidance_scale=1.5).images[0]

`pipeline.VQDiffusionPipeline` is the one for VQ-Diffusion, with the call that diffusers' has.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

from vqlearn.checkpoints import HubOptions, find_null_text, resolve
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.layout import naming
from vqlearn.checkpoints.modules import Wanted
from vqlearn.pipeline.arguments import checked_prompts
from vqlearn.probability import Conditioning, Generators, Sampling, TokenModel
from vqlearn.probability.checks import check_choice
from vqlearn.text import NullText, TextEncoder, null_states
from vqlearn.tokens import VQVAE


@dataclass(frozen=True, eq=False)
class PipelineOutput:
    """`images`: a list of PIL images, or one float32 array (images, height, width, 3) in [0, 1]."""

    images: list[Image.Image] | np.ndarray


class Parts(NamedTuple):
    """What every pipeline has besides its token model. They must fit it, and each other."""

    vqvae: VQVAE
    text_encoder: TextEncoder
    null_text: NullText


class TextToImagePipeline:
    """Text to image with a token model.

    Raises `ValueError` if the parts do not fit: the number of codes, the shape of the text states.
    """

    def __init__(self, parts: Parts, model: TokenModel) -> None:
        _check_fit(parts, model)
        self.vqvae, self.text_encoder, self.null_text = parts
        self.model = model
        for network in self.networks:
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
    ) -> "TextToImagePipeline":
        """Load a checkpoint: one that ships with vqlearn ("scenes"), a folder, or one of the hub.

        The layout is that of diffusers, and "microsoft/vq-diffusion-ithq" is the released model.
        Without `torch_dtype` every part keeps the dtype of its file. `variant` chooses weights such
        as "fp16" that stand beside the plain ones; `revision`, `cache_dir` and `local_files_only`
        are for the hub alone (see `checkpoints.hub.HubOptions`).

        Memory: the weights in `torch_dtype`, and the largest of them once more as stored.
        Raises `CheckpointError`, a `ValueError`, that names the file and what is wrong with it.
        """
        hub = HubOptions(revision, variant, cache_dir, local_files_only)
        folder = resolve(name_or_dir, hub)
        files.check(folder)
        wanted = Wanted(torch_dtype, variant)
        parts = Parts(
            files.load_vqvae(folder, wanted),
            files.load_text_encoder(folder, wanted),
            files.load_null_text(find_null_text(name_or_dir, folder, hub), wanted),
        )
        with naming(folder, ValueError):
            return cls(parts, files.load_token_model(folder, wanted))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the folder that `from_pretrained` and, part by part, diffusers read."""
        folder = Path(folder)
        for network in (self.vqvae, self.null_text, self.model):
            files.save_network(network, folder)
        files.save_text_encoder(self.text_encoder, folder)
        files.finish(folder)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Everything with weights."""
        return self.vqvae, self.model, self.text_encoder, self.null_text

    def to(self, *device_or_dtype: torch.device | str | torch.dtype) -> "TextToImagePipeline":
        """Move every network to a device, or convert it to a dtype, or both; returns itself."""
        for network in self.networks:
            network.to(*device_or_dtype)
        return self

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the token model's weights."""
        return next(self.model.parameters()).dtype

    @property
    def image_size(self) -> int:
        """Height and width of an image, in pixels."""
        side = round(self.model.num_positions**0.5)
        return side * self.vqvae.config.downsampling_factor

    def conditioning(
        self, prompts: list[str], images: int = 1, *, guided: bool = True
    ) -> Conditioning:
        """What the model attends to: `images` times the text states of each prompt.

        The null embedding is there if guidance needs it.
        """
        # Prompt-major: all copies of the first prompt, then all of the second.
        text = repeat(self.text_encoder(prompts), "b l c -> (b images) l c", images=images)
        null = null_states(self.null_text, self.text_encoder, 1) if guided else None
        if null is not None:
            # Rounded as the text is: first to the encoder's precision, then to the model's.
            null = null.to(text.dtype).to(self.dtype)
        return Conditioning(text.to(self.dtype), null)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        guidance_scale: float = 1.0,
        truncation_rate: float = 1.0,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        output_type: str = "pil",
        num_inference_steps: int | None = None,
    ) -> PipelineOutput:
        """Generate images from one prompt or from many.

        - `guidance_scale`, `truncation_rate`, `num_inference_steps`: see `Sampling`.
        - `num_images_per_prompt`: the result is prompt-major: all images of the first prompt,
          then all of the second.
        - `generator`: one, or a list with one for each image. With a list an image does not
          depend on the others in the call.
        - `output_type`: "pil", or "np" for one float32 array (images, height, width, 3) in [0, 1].

        Raises `TypeError` or `ValueError` that names the argument, the value seen and the values
        allowed.
        """
        sampling = Sampling(guidance_scale, truncation_rate, num_inference_steps)
        prompts = checked_prompts(prompt, num_images_per_prompt, generator, output_type)
        condition = self.conditioning(prompts, num_images_per_prompt, guided=sampling.is_guided)
        tokens = self.model.sample(
            len(condition), condition, sampling=sampling, generator=generator
        )
        return self.decoded(tokens, output_type)

    def decoded(self, tokens: Int[Tensor, "b n"], output_type: str = "pil") -> PipelineOutput:
        """The images that the tokens stand for, in the form that the caller asked for."""
        images = self.vqvae.decode(tokens).float().cpu()  # (b, 3, h, w), RGB in 0 to 1
        if output_type == "np":
            return PipelineOutput(rearrange(images, "b c h w -> b h w c").numpy())
        return PipelineOutput(as_pil(images))


def as_pil(images: Float[Tensor, "b 3 h w"]) -> list[Image.Image]:
    """Images on the CPU, RGB in 0 to 1, as PIL images."""
    bytes_ = (rearrange(images, "b c h w -> b h w c") * 255).round().to(torch.uint8).numpy()
    return [Image.fromarray(image) for image in bytes_]


def _check_fit(parts: Parts, model: TokenModel) -> None:
    codes, encoder, null = parts.vqvae.config.num_vq_embeddings, parts.text_encoder, parts.null_text
    check_choice("num_codes of the token model", model.num_codes, (codes,))
    if null.config.learnable:
        check_choice("hidden_size of the null embedding", null.config.hidden_size, (encoder.width,))
        check_choice("length of the null embedding", null.config.length, (encoder.length,))
    words, room = len(encoder.tokenizer), encoder.model.config.vocab_size
    if words > room:
        raise ValueError(f"the tokenizer has {words} words; allowed: {room}, the text encoder's")
