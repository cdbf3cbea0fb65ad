"""What all ways to change an image end in, whatever the model is told.

Some tokens stay and the others are drawn anew, or all are corrupted and denoised. An image becomes
tokens by the encoder, which looks at all of it, under the mask too. The methods are in
`prompt_editing`, `class_to_image` and `unconditional`; `inputs` says which images there are.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.pipeline.arguments import Request
from vqlearn.pipeline.inputs import (
    Images,
    checked_canvas,
    checked_images,
    checked_masks,
    free_tokens,
)
from vqlearn.pipeline.output import PipelineOutput, as_output
from vqlearn.pipeline.reverse_steps import ReverseSteps
from vqlearn.probability import Condition, Given
from vqlearn.probability.checks import check_kind


class ImageEditing(ReverseSteps):
    """Inpainting, outpainting and editing of a request that is checked.

    One image serves all that the model is told, or there is one for each (`Request.told`).
    """

    def _inpainted(
        self, request: Request, image: Images, mask: Images, *, paste: bool
    ) -> PipelineOutput | tuple:
        """Drawn anew where the mask is white."""
        check_kind("paste", paste, bool)
        images = checked_images(image, self.image_size, request.told)
        masks = checked_masks(mask, self.image_size, request.told)
        return self._repainted(request, images, masks, paste=paste)

    def _outpainted(
        self, request: Request, image: Images, position: tuple[int, int], *, paste: bool
    ) -> PipelineOutput | tuple:
        """Drawn around a smaller image."""
        check_kind("paste", paste, bool)
        images, empty = checked_canvas(image, position, self.image_size, request.told)
        return self._repainted(request, images, empty, paste=paste)

    def _edited(
        self,
        request: Request,
        image: Images,
        level: int,
        condition: Callable[[Request], Condition | None],
    ) -> PipelineOutput | tuple:
        """All tokens corrupted to a level, then denoised from there under a condition."""
        x_0 = self._tokens(request, checked_images(image, self.image_size, request.told))
        x_t = self.process.corrupt(x_0, level, generator=request.generator)
        steps = self._steps(x_t, condition(request), request)
        return self.decoded(self._last(request, x_t, steps), *request.output)

    def _tokens(self, request: Request, images: Float[Tensor, "b 3 h w"]) -> Int[Tensor, "b n"]:
        """The encoded images, so often as the request has images of each."""
        return self.vqvae.encode(images).repeat_interleave(request.each, dim=0)

    def _repainted(
        self,
        request: Request,
        images: Float[Tensor, "b 3 h w"],
        masks: Bool[Tensor, "b h w"],
        *,
        paste: bool,
    ) -> PipelineOutput | tuple:
        """Free tokens from MASK to codes; the others are given."""
        x_0 = self._tokens(request, images)  # (b, n)
        free = free_tokens(masks, self.vqvae.config.downsampling_factor)
        given = Given(x_0, ~free.to(x_0.device).repeat_interleave(request.each, dim=0))
        x_t = given.keep(torch.full_like(x_0, self.process.mask))
        steps = self._steps(x_t, self._condition(request), request, given=given)
        found = self.pixels(self._last(request, x_t, steps))
        if paste:
            images, masks = (x.repeat_interleave(request.each, dim=0) for x in (images, masks))
            found = torch.where(masks[:, None], found, images)
        return as_output(found, *request.output)
