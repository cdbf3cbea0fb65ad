"""From a class to images: VQ-Diffusion that is told the number of a class.

pipe = load_pipeline("runs/imagenet")
pipe([207, "golden retriever"], num_images_per_label=2, guidance_scale=3.0).images
pipe.inpaint(image, mask, 207, paste=True).images
pipe.edit(image, "golden retriever", level=60).images
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.class_labels import Labels, numbers_of
from vqlearn.checkpoints.class_names import load_class_names, save_class_names
from vqlearn.checkpoints.layout import CLASS_FOLDER
from vqlearn.diffusion import DiffusionModel
from vqlearn.pipeline.arguments import (
    ClassRequest,
    StartOptions,
    StepOptions,
    check_images,
    check_names,
)
from vqlearn.pipeline.editing import ImageEditing
from vqlearn.pipeline.inputs import Images, checked_images
from vqlearn.pipeline.loading import Source
from vqlearn.pipeline.output import PipelineOutput
from vqlearn.probability import ClassConditioning, GuidanceScale
from vqlearn.probability.checks import check_choice, check_integer
from vqlearn.tokens import VQVAE
from vqlearn.transformer import ClassDenoiser


class ClassOptions(StartOptions, total=False):
    """The arguments of a class-conditional call, besides the classes."""

    guidance_scale: GuidanceScale


class ClassEditOptions(StepOptions, total=False):
    """The arguments of editing under a class, besides image, mask and classes."""

    guidance_scale: GuidanceScale


class ClassToImagePipeline(ImageEditing):
    """Images of classes: the token model is a `DiffusionModel`, its network a `ClassDenoiser`.

    `class_names` are those of the classes 0, 1, …, if they are known; a class may have several,
    with commas between them. Raises `ValueError` if the token model is another one, or if the parts
    do not fit: the number of codes, of levels or of names.

    It changes images, too: one image serves every class, or there is one for each. `options` of
    these methods are those that `ClassEditOptions` names; without a number of steps every level is
    visited.

    The call and all methods raise `TypeError` or `ValueError` that names the argument, before any
    work: also for a name that no class has, and for one that several have.
    """

    token_models = (CLASS_FOLDER,)
    network_kind = ClassDenoiser

    def __init__(
        self, vqvae: VQVAE, model: DiffusionModel, class_names: Sequence[str] | None = None
    ) -> None:
        self.class_names = class_names
        super().__init__(vqvae, model)

    def check_parts_fit(self) -> None:
        """Raise `ValueError` for parts that do not fit each other, or this pipeline."""
        super().check_parts_fit()
        if self.class_names is not None:
            classes = self.denoiser.config.num_classes
            check_choice("the number of class names", len(self.class_names), (classes,))

    @classmethod
    def opened(cls, source: Source) -> "ClassToImagePipeline":
        """The pipeline of a checkpoint that is whole, on the CPU."""
        vqvae, model = files.load_vqvae(*source.read), files.load_token_model(*source.read)
        names = load_class_names(source.folder, model.network.config.num_classes)
        return cls(vqvae, model, names)

    def write_parts(self, folder: Path) -> None:
        """Write every part to a folder of its own, and the names of the classes."""
        super().write_parts(folder)
        if self.class_names is not None:
            save_class_names(self.class_names, folder)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Labels,
        *,
        num_images_per_label: int = 1,
        **options: Unpack[ClassOptions],
    ) -> PipelineOutput | tuple:
        """Generate images of one class or of many.

        - `class_labels`: a class or a list: each its number, 0 to C - 1, or one of its names.
        - `num_images_per_label`: all images of the first label come first, then of the second.
        - `guidance_scale`: guides away from the null class; 1 or less: not at all. Without it, what
          the checkpoint recommends, or else 1.
        - `options`: those of `VQDiffusionPipeline`, with its defaults, that have nothing to do
          with a prompt: `StartOptions` names them.
        """
        check_names(type(self).__name__, options, ClassOptions.__annotations__)
        latents, noise = options.pop("latents", None), options.get("noise", "exact")
        labels = self.numbers(class_labels)
        request = self._class_request(labels, num_images_per_label, options)
        return self._generated(request, latents, noise)

    @torch.no_grad()
    def inpaint(
        self,
        image: Images,
        mask: Images,
        class_labels: Labels,
        *,
        paste: bool = False,
        num_images_per_label: int = 1,
        **options: Unpack[ClassEditOptions],
    ) -> PipelineOutput | tuple:
        """Repaint where the mask is white; what stays is as in `PromptEditing.inpaint`."""
        top, labels = self.process.num_timesteps, self.numbers(class_labels)
        request = self._asked("inpaint", labels, num_images_per_label, top, options)
        return self._inpainted(request, image, mask, paste=paste)

    @torch.no_grad()
    def outpaint(
        self,
        image: Images,
        class_labels: Labels,
        *,
        position: tuple[int, int],
        paste: bool = False,
        num_images_per_label: int = 1,
        **options: Unpack[ClassEditOptions],
    ) -> PipelineOutput | tuple:
        """Paint around a smaller image, which lies at `position`: (left, top) in pixels."""
        top, labels = self.process.num_timesteps, self.numbers(class_labels)
        request = self._asked("outpaint", labels, num_images_per_label, top, options)
        return self._outpainted(request, image, position, paste=paste)

    @torch.no_grad()
    def edit(
        self,
        image: Images,
        class_labels: Labels,
        level: int,
        *,
        num_images_per_label: int = 1,
        **options: Unpack[ClassEditOptions],
    ) -> PipelineOutput | tuple:
        """Corrupt the image to a level of 1..T, then denoise it from there as of the class."""
        check_integer("level", level, 1, self.process.num_timesteps)
        labels = self.numbers(class_labels)
        request = self._asked("edit", labels, num_images_per_label, int(level), options)
        return self._edited(request, image, int(level), self._condition)

    @torch.no_grad()
    def variations(
        self,
        image: Images,
        level: int,
        *,
        num_images_per_label: int = 1,
        **options: Unpack[StepOptions],
    ) -> PipelineOutput | tuple:
        """`edit` without a class: denoised as of the null class. There is nothing to guide."""
        check_integer("level", level, 1, self.process.num_timesteps)
        check_names("variations", options, StepOptions.__annotations__)
        labels = [self.denoiser.config.null_class] * len(checked_images(image, self.image_size))
        options = {"guidance_scale": 1.0, **options}
        request = self._asked("variations", labels, num_images_per_label, int(level), options)
        return self._edited(request, image, int(level), self._condition)

    def numbers(self, class_labels: Labels) -> list[int]:
        """The numbers of classes that are given by number or by name. Raises as the call does."""
        return numbers_of(class_labels, self.denoiser.config.num_classes, self.class_names)

    def _asked(
        self, method: str, labels: list[int], each: int, level: int, options: ClassEditOptions
    ) -> ClassRequest:
        """The options, checked; without a number of steps every level below is visited."""
        check_names(method, options, ClassEditOptions.__annotations__)
        return self._class_request(labels, each, {"num_inference_steps": level, **options}, level)

    def _class_request(
        self, labels: list[int], each: int, options: ClassOptions, level: int | None = None
    ) -> ClassRequest:
        check_images(len(labels), each, self.most_images, "label")
        request = self._without_prompt(len(labels) * int(each), options, level, int(each))
        return ClassRequest(**vars(request), labels=labels)

    def _condition(self, request: ClassRequest) -> ClassConditioning:
        """The class of every image, and the null class for guidance."""
        labels = torch.tensor(request.labels, device=self.device).repeat_interleave(request.each)
        return ClassConditioning(labels, self.denoiser.config.null_class)
