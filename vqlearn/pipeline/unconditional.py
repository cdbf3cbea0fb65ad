"""Images of a model that is told nothing: VQ-Diffusion without a condition.

pipe = load_pipeline("runs/faces")
pipe(num_images=4).images
pipe.inpaint(image, mask, num_images_per_image=3).images
pipe.variations(image, level=60).images
"""

from typing import Unpack

import torch

from vqlearn.checkpoints.layout import UNCONDITIONAL_FOLDER
from vqlearn.pipeline.arguments import (
    Request,
    StartOptions,
    StepOptions,
    check_images,
    check_names,
)
from vqlearn.pipeline.editing import ImageEditing
from vqlearn.pipeline.inputs import Images, checked_canvas, checked_images
from vqlearn.pipeline.output import PipelineOutput
from vqlearn.probability.checks import check_integer
from vqlearn.transformer import UnconditionalDenoiser


class UnconditionalPipeline(ImageEditing):
    """Images without a condition: the token model is a `DiffusionModel`, its network an
    `UnconditionalDenoiser`. Raises `ValueError` if it is another one, or if the parts do not fit.

    It changes images, too: one, or each of several. `num_images_per_image`: all results of the
    first image come first, then of the second. `options` of these methods are those that
    `arguments.StepOptions` names; without a number of steps every level is visited.

    The call and all methods raise `TypeError` or `ValueError` that names the argument, before any
    work.
    """

    token_models = (UNCONDITIONAL_FOLDER,)
    network_kind = UnconditionalDenoiser

    @torch.no_grad()
    def __call__(
        self, num_images: int = 1, **options: Unpack[StartOptions]
    ) -> PipelineOutput | tuple:
        """Generate so many images.

        `options` are those of `VQDiffusionPipeline`, with its defaults, that have nothing to do
        with a prompt: `StartOptions` names them. There is nothing to guide, so there is no
        `guidance_scale`.
        """
        check_names(type(self).__name__, options, StartOptions.__annotations__)
        check_integer("num_images", num_images, 1, self.most_images)
        latents, noise = options.pop("latents", None), options.get("noise", "exact")
        request = self._without_prompt(int(num_images), options)
        return self._generated(request, latents, noise)

    @torch.no_grad()
    def inpaint(
        self,
        image: Images,
        mask: Images,
        *,
        paste: bool = False,
        num_images_per_image: int = 1,
        **options: Unpack[StepOptions],
    ) -> PipelineOutput | tuple:
        """Repaint where the mask is white; what stays is as in `PromptEditing.inpaint`."""
        count, top = len(checked_images(image, self.image_size)), self.process.num_timesteps
        request = self._asked("inpaint", count, num_images_per_image, top, options)
        return self._inpainted(request, image, mask, paste=paste)

    @torch.no_grad()
    def outpaint(
        self,
        image: Images,
        *,
        position: tuple[int, int],
        paste: bool = False,
        num_images_per_image: int = 1,
        **options: Unpack[StepOptions],
    ) -> PipelineOutput | tuple:
        """Paint around a smaller image, which lies at `position`: (left, top) in pixels."""
        canvas, _ = checked_canvas(image, position, self.image_size)
        top = self.process.num_timesteps
        request = self._asked("outpaint", len(canvas), num_images_per_image, top, options)
        return self._outpainted(request, image, position, paste=paste)

    @torch.no_grad()
    def variations(
        self,
        image: Images,
        level: int,
        *,
        num_images_per_image: int = 1,
        **options: Unpack[StepOptions],
    ) -> PipelineOutput | tuple:
        """Corrupt the image to a level of 1..T, then denoise it from there."""
        check_integer("level", level, 1, self.process.num_timesteps)
        count = len(checked_images(image, self.image_size))
        request = self._asked("variations", count, num_images_per_image, int(level), options)
        return self._edited(request, image, int(level), self._condition)

    def _asked(
        self, method: str, count: int, each: int, level: int, options: StepOptions
    ) -> Request:
        """The options, checked, for so many images and results of each."""
        check_names(method, options, StepOptions.__annotations__)
        check_images(count, each, self.most_images, "image")
        options = {"num_inference_steps": level, **options}
        return self._without_prompt(count * int(each), options, level, int(each))
