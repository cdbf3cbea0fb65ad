"""From a prompt to images with any token model: read the prompt, sample tokens, decode them.

    from vqlearn import TextToImagePipeline
    pipe = TextToImagePipeline.from_pretrained("runs/raster")
    pipe("a small red circle above a large blue square", guidance_scale=1.5).images[0]

`pipeline.VQDiffusionPipeline` is the one for VQ-Diffusion, with the call that diffusers' has.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.checkpoints import HubOptions, find_null_text, resolve
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.layout import (
    NULL_TEXT_FOLDER,
    TEXT_FOLDER,
    TOKENIZER_FOLDER,
    VQVAE_FOLDER,
    naming,
)
from vqlearn.checkpoints.modules import Wanted
from vqlearn.pipeline.arguments import (
    check_generator,
    check_images,
    check_output,
    checked_negative,
    checked_prompts,
)
from vqlearn.pipeline.loading import check_others
from vqlearn.pipeline.members import PipelineMembers
from vqlearn.pipeline.output import PipelineOutput, as_output
from vqlearn.pipeline.placement import (
    as_device,
    as_dtype,
    check_precision,
    destination,
    memory,
    one_of,
)
from vqlearn.probability import Conditioning, Generators, GuidanceScale, Sampling, TokenModel
from vqlearn.probability.checks import check_choice, check_kind
from vqlearn.storage import as_path, check_output_folder
from vqlearn.text import NullText, TextEncoder, negative_states, null_states
from vqlearn.tokens import VQVAE

BYTES = 12  # of one score, at least: a float32 of the network, and a float64 to draw from


class Parts(NamedTuple):
    """What every pipeline has besides its token model. They must fit it, and each other."""

    vqvae: VQVAE
    text_encoder: TextEncoder
    null_text: NullText


class TextToImagePipeline(PipelineMembers):
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
        pretrained_model_name_or_path: str | Path,
        torch_dtype: torch.dtype | str | None = None,
        dtype: torch.dtype | str | None = None,
        *,
        revision: str | None = None,
        variant: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool | None = None,
        use_safetensors: bool | None = None,
        token: str | bool | None = None,
        force_download: bool = False,
        device_map: torch.device | str | None = None,
        low_cpu_mem_usage: bool = True,
        **others: Any,
    ) -> "TextToImagePipeline":
        """Load a checkpoint: shipped with vqlearn ("scenes", "emoji"), a folder, or one of the hub.

        The layout is that of diffusers, and "microsoft/vq-diffusion-ithq" is the released model.
        Arguments are those of diffusers:

        - `torch_dtype`, also called `dtype`: `torch.float16`, "float16" and so on. Without it, or
          with "auto", every part keeps the dtype of its file.
        - `variant`: weights such as "fp16" that stand beside the plain ones.
        - `use_safetensors`: True: no pickled weights; False: nothing else.
        - `revision`, `cache_dir`, `local_files_only`, `token`, `force_download`: for the hub alone
          (see `checkpoints.hub.HubOptions`).
        - `device_map`: a device, as `to` takes it.
        - `low_cpu_mem_usage` changes nothing. Memory: the weights in `torch_dtype`, and the largest
          of them once more as stored.
        - `others`, such as `custom_pipeline`, are refused with the reason unless they are None.

        Raises `CheckpointError`, a `ValueError`, that names the file and what is wrong with it;
        `TypeError` or `ValueError` that names the argument.
        """
        name_or_dir = pretrained_model_name_or_path
        as_path("pretrained_model_name_or_path", name_or_dir)
        check_others(others)
        check_kind("low_cpu_mem_usage", low_cpu_mem_usage, bool)
        kind = as_dtype("torch_dtype", one_of("torch_dtype", torch_dtype, "dtype", dtype))
        place = None if device_map is None else as_device("device_map", device_map)
        hub = HubOptions(
            *(revision, variant, cache_dir, bool(local_files_only)),
            *(use_safetensors, token, force_download),
        )
        folder = resolve(name_or_dir, hub)
        files.check(folder)
        wanted = Wanted(kind, variant, use_safetensors)
        parts = Parts(
            files.load_vqvae(folder, wanted),
            files.load_text_encoder(folder, wanted),
            files.load_null_text(find_null_text(name_or_dir, folder, hub), wanted),
        )
        with naming(folder, ValueError):
            pipeline = cls(parts, files.load_token_model(folder, wanted))
        return pipeline.to(place)

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the folder that `from_pretrained` and, part by part, diffusers read.

        A checkpoint that is there already is replaced as a whole, once all of the new one is
        written.
        """
        folder = as_path("save_directory", save_directory)
        check_output_folder("save_directory", folder)
        with files.whole_checkpoint(folder) as begun:
            for network in (self.vqvae, self.null_text, self.model):
                files.save_network(network, begun)
            files.save_text_encoder(self.text_encoder, begun)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Everything with weights."""
        return self.vqvae, self.model, self.text_encoder, self.null_text

    @property
    def components(self) -> dict[str, Any]:
        """The parts by the names that they have in diffusers; the classes are ours."""
        return {
            VQVAE_FOLDER: self.vqvae,
            TEXT_FOLDER: self.text_encoder,
            TOKENIZER_FOLDER: self.text_encoder.tokenizer,
            NULL_TEXT_FOLDER: self.null_text,
        }

    def to(
        self,
        *args: torch.device | str | int | torch.dtype | None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | str | None = None,
        torch_device: torch.device | str | int | None = None,
        torch_dtype: torch.dtype | str | None = None,
        silence_dtype_warnings: bool = False,
    ) -> "TextToImagePipeline":
        """Move every network to a device, or convert it to a dtype, or both; returns itself.

        `to("cuda")`, `to(torch.float16)`, `to("cuda", torch.float16)`, or by name. Nothing is ever
        warned of, so `silence_dtype_warnings` changes nothing. Raises `ValueError` or `TypeError`
        for what is no device of this machine, or no float type, before anything is moved.
        """
        place, kind = destination(
            *args, device=device, dtype=dtype, torch_device=torch_device, torch_dtype=torch_dtype
        )
        place = self.device if place is None else place
        check_precision(place, kind or self.dtype)
        for network in self.networks:
            network.to(place, kind)
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
        guidance_scale: GuidanceScale = 1.0,
        truncation_rate: float = 1.0,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        negative_prompt: str | list[str] | None = None,
    ) -> PipelineOutput | tuple:
        """Generate images from one prompt or from many.

        - `num_inference_steps`, `guidance_scale`, `truncation_rate`: see `Sampling`.
        - `num_images_per_prompt`: all images of the first prompt come first, then of the second.
        - `generator`: one, or one for each image: then no image depends on the others in the call.
        - `output_type`: "pil", or "np" ("numpy", None): one float32 array (b, h, w, 3) in [0, 1].
        - `return_dict`: False for a tuple with the images alone.
        - `negative_prompt`: what to guide away from in place of the null embedding, one text or one
          for each prompt; "" is the empty caption. Only with guidance.

        Raises `TypeError` or `ValueError` that names the argument, and what is allowed.
        """
        sampling = Sampling(guidance_scale, truncation_rate, num_inference_steps)
        prompts, each = self.checked(prompt, num_images_per_prompt, generator)
        check_output(output_type, return_dict)
        negative = checked_negative(negative_prompt, len(prompts), sampling)
        condition = self.conditioning(prompts, each, guided=sampling.is_guided, negative=negative)
        tokens = self.model.sample(
            len(condition), condition, sampling=sampling, generator=generator
        )
        return self.decoded(tokens, output_type, return_dict)

    @property
    def most_images(self) -> int:
        """How many images may be asked for in one call: so many scores of tokens fill the memory.

        It is an upper bound; networks need memory besides.
        """
        scores = self.model.num_positions * self.model.num_codes
        return max(1, memory(self.device) // (BYTES * scores))

    def checked(
        self, prompt: str | list[str], num_images_per_prompt: int, generator: Generators
    ) -> tuple[list[str], int]:
        """The prompts, and the images of each, if what every call has is allowed."""
        prompts = checked_prompts(prompt)
        check_images(len(prompts), num_images_per_prompt, self.most_images)
        check_generator(generator, len(prompts) * num_images_per_prompt)
        return prompts, int(num_images_per_prompt)

    def decoded(
        self, tokens: Int[Tensor, "b n"], output_type: str | None = "pil", return_dict: bool = True
    ) -> PipelineOutput | tuple:
        """The images that the tokens stand for, in the form that the caller asked for."""
        return as_output(self.pixels(tokens), output_type, return_dict)

    def pixels(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 h w"]:
        """The images that the tokens stand for, RGB in 0 to 1, on the CPU."""
        return self.vqvae.decode(tokens).float().cpu()


def _check_fit(parts: Parts, model: TokenModel) -> None:
    codes, encoder, null = parts.vqvae.config.num_vq_embeddings, parts.text_encoder, parts.null_text
    check_choice("num_codes of the token model", model.num_codes, (codes,))
    if null.config.learnable:
        check_choice("hidden_size of the null embedding", null.config.hidden_size, (encoder.width,))
        check_choice("length of the null embedding", null.config.length, (encoder.length,))
    words, room = len(encoder.tokenizer), encoder.model.config.vocab_size
    if words > room:
        raise ValueError(f"the tokenizer has {words} words; allowed: {room}, the text encoder's")
