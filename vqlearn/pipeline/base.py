"""What every pipeline has: a VQ network and a token model, read from and written to one folder.

`text_to_image.TextToImagePipeline` adds captions, `class_to_image` classes, and
`reverse_steps.ReverseSteps` the reverse process of VQ-Diffusion.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.checkpoints import HubOptions, resolve
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.layout import VQVAE_FOLDER, model_folder, naming
from vqlearn.checkpoints.modules import Wanted
from vqlearn.pipeline.loading import Source, check_others
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
from vqlearn.probability import GuidanceScale, Sampling, TokenModel
from vqlearn.probability.checks import check_choice, check_kind
from vqlearn.storage import as_path, check_output_folder
from vqlearn.tokens import VQVAE

BYTES = 12  # of one score, at least: a float32 of the network, and a float64 to draw from


class ImagePipeline(PipelineMembers):
    """A token model, and the VQ network that makes images of its tokens.

    Raises `ValueError` if they do not fit: the number of codes.
    """

    token_models: Sequence[str] = ()
    """The folders of the token models that a checkpoint may have."""
    usual = Sampling()
    """Guidance and truncation of a call that says nothing of them."""
    recommended: Sampling | None = None
    """The same where a checkpoint recommends others for its model."""

    def __init__(self, vqvae: VQVAE, model: TokenModel) -> None:
        self.vqvae, self.model = vqvae, model
        self.check_parts_fit()
        for network in self.networks:
            network.eval()

    def check_parts_fit(self) -> None:
        """Raise `ValueError` for parts that do not fit each other, or this pipeline."""
        codes = self.vqvae.config.num_vq_embeddings
        check_choice("num_codes of the token model", self.model.num_codes, (codes,))

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
    ) -> "ImagePipeline":
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
        source = Source(name_or_dir, folder, hub, Wanted(kind, variant, use_safetensors))
        files.check(folder)
        with naming(folder, ValueError):
            check_choice("the token model", model_folder(folder), cls.token_models)
            pipeline = cls.opened(source)
        pipeline.recommended = files.recommended_sampling(folder)
        return pipeline.to(place)

    @classmethod
    def opened(cls, source: Source) -> "ImagePipeline":
        """The pipeline of a checkpoint that is whole, on the CPU."""
        return cls(files.load_vqvae(*source.read), files.load_token_model(*source.read))

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the folder that `from_pretrained` reads, and of text models diffusers part by part.

        A checkpoint that is there already is replaced as a whole, once all of the new one is
        written.
        """
        folder = as_path("save_directory", save_directory)
        check_output_folder("save_directory", folder)
        with files.whole_checkpoint(folder, self.recommended) as begun:
            self.write_parts(begun)

    def settings(
        self, guidance_scale: GuidanceScale | None, truncation_rate: float | None
    ) -> Sampling:
        """Guidance and truncation of a call; None: what is recommended for the model, or usual.

        Raises `TypeError` or `ValueError` as `Sampling` does.
        """
        default = self.recommended or self.usual
        return Sampling(
            default.guidance_scale if guidance_scale is None else guidance_scale,
            default.truncation_rate if truncation_rate is None else truncation_rate,
        )

    def write_parts(self, folder: Path) -> None:
        """Write every part to a folder of its own."""
        for network in (self.vqvae, self.model):
            files.save_network(network, folder)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """Everything with weights."""
        return self.vqvae, self.model

    @property
    def components(self) -> dict[str, Any]:
        """The parts by the names that they have in diffusers; the classes are ours."""
        return {VQVAE_FOLDER: self.vqvae}

    def to(
        self,
        *args: torch.device | str | int | torch.dtype | None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | str | None = None,
        torch_device: torch.device | str | int | None = None,
        torch_dtype: torch.dtype | str | None = None,
        silence_dtype_warnings: bool = False,
    ) -> "ImagePipeline":
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

    @property
    def most_images(self) -> int:
        """How many images may be asked for in one call: so many scores of tokens fill the memory.

        It is an upper bound; networks need memory besides.
        """
        scores = self.model.num_positions * self.model.num_codes
        return max(1, memory(self.device) // (BYTES * scores))

    def decoded(
        self, tokens: Int[Tensor, "b n"], output_type: str | None = "pil", return_dict: bool = True
    ) -> PipelineOutput | tuple:
        """The images that the tokens stand for, in the form that the caller asked for."""
        return as_output(self.pixels(tokens), output_type, return_dict)

    def pixels(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 h w"]:
        """The images that the tokens stand for, RGB in 0 to 1, on the CPU."""
        return self.vqvae.decode(tokens).float().cpu()
