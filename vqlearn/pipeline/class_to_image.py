"""From a class, or from nothing, to images: VQ-Diffusion without text.

pipe = load_pipeline("runs/imagenet")
pipe([207, "golden retriever"], num_images_per_label=2, guidance_scale=3.0).images

pipe = load_pipeline("runs/faces")
pipe(num_images=4).images
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.class_names import load_class_names, save_class_names
from vqlearn.checkpoints.layout import CLASS_FOLDER, CLASS_NAMES_FILE, UNCONDITIONAL_FOLDER
from vqlearn.diffusion import DiffusionModel
from vqlearn.pipeline.arguments import StepOptions, check_images, check_names
from vqlearn.pipeline.loading import Source
from vqlearn.pipeline.output import PipelineOutput
from vqlearn.pipeline.reverse_steps import ReverseSteps
from vqlearn.probability import ClassConditioning, GuidanceScale
from vqlearn.probability.checks import check_choice, check_integer, shown
from vqlearn.tokens import VQVAE
from vqlearn.transformer import ClassDenoiser, UnconditionalDenoiser

Label = int | str
"""A class by its number, or by a name that no other class has."""


class ClassOptions(StepOptions, total=False):
    """The arguments of a class-conditional call, besides the classes."""

    guidance_scale: GuidanceScale


class UnconditionalPipeline(ReverseSteps):
    """Images without a condition: the token model is a `DiffusionModel`, its network an
    `UnconditionalDenoiser`. Raises `ValueError` if it is another one, or if the parts do not fit.
    """

    token_models = (UNCONDITIONAL_FOLDER,)
    network_kind = UnconditionalDenoiser

    @torch.no_grad()
    def __call__(
        self, num_images: int = 1, **options: Unpack[StepOptions]
    ) -> PipelineOutput | tuple:
        """Generate so many images.

        `options` are those of `VQDiffusionPipeline`, with its defaults, that have nothing to do
        with a prompt: `StepOptions` names them. There is nothing to guide, so there is no
        `guidance_scale`. Raises `TypeError` or `ValueError` that names the argument, before any
        work.
        """
        check_names(type(self).__name__, options, StepOptions.__annotations__)
        check_integer("num_images", num_images, 1, self.most_images)
        return self._images_of(None, int(num_images), options)


class ClassToImagePipeline(ReverseSteps):
    """Images of classes: the token model is a `DiffusionModel`, its network a `ClassDenoiser`.

    `class_names` are those of the classes 0, 1, …, if they are known; a class may have several,
    with commas between them. Raises `ValueError` if the token model is another one, or if the parts
    do not fit: the number of codes, of levels or of names.
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
        class_labels: Label | Sequence[Label],
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
          with a prompt: `StepOptions` names them.

        Raises `TypeError` or `ValueError` that names the argument, before any work: also for a name
        that no class has, and for one that several have.
        """
        check_names(type(self).__name__, options, ClassOptions.__annotations__)
        labels = self.numbers(class_labels)
        check_images(len(labels), num_images_per_label, self.most_images, "label")
        scale = options.pop("guidance_scale", None)
        told = torch.tensor(labels, device=self.device).repeat_interleave(int(num_images_per_label))
        condition = ClassConditioning(told, self.denoiser.config.null_class)
        return self._images_of(condition, len(condition), options, guidance_scale=scale)

    def numbers(self, class_labels: Label | Sequence[Label]) -> list[int]:
        """The numbers of classes that are given by number or by name.

        Raises `TypeError` or `ValueError` as the call does.
        """
        several = isinstance(class_labels, list | tuple)
        labels = class_labels if several else [class_labels]
        if not labels:
            raise ValueError("class_labels is an empty list; allowed: at least one class")
        return [self._number(label) for label in labels]

    def _number(self, label: Label) -> int:
        last, names = self.denoiser.config.num_classes - 1, self.class_names
        if not isinstance(label, str):
            check_integer("a class of class_labels", label, 0, last)
            return int(label)
        seen = f"a class of class_labels is {shown(label)}; allowed:"
        if names is None:
            raise ValueError(f"{seen} 0 to {last}, for the checkpoint has no {CLASS_NAMES_FILE}")
        found = [number for number, name in enumerate(names) if label in names_in(name)]
        if not found:
            example = shown(names_in(names[0])[1])
            raise ValueError(
                f"{seen} 0 to {last}, or a name in {CLASS_NAMES_FILE} such as {example}"
            )
        if len(found) > 1:
            raise ValueError(f"{seen} a number, for classes {found} have this name")
        return found[0]


def names_in(names: str) -> list[str]:
    """All of them together, and each: "tench, Tinca tinca", "tench", "Tinca tinca"."""
    return [names, *(name.strip() for name in names.split(","))]
