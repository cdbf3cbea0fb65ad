r"""Images changed by a prompt: given tokens that stay, or tokens that are corrupted and denoised.

    pipe.inpaint(image, mask, "a small red circle above a large blue square", paste=True)
    pipe.outpaint(image, "a small red circle above a large blue square", position=(0, 8))
    pipe.edit(image, "a small green circle above a large blue square", level=60)
    pipe.variations(image, level=60)
    pipe.swap_prompt("a red circle", "a red ring", level=50)

All of them end in the loop of the pipeline's call, and take its other arguments.
"""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.diffusion import all_masked
from vqlearn.diffusion.sampler import Denoise
from vqlearn.pipeline.arguments import CallOptions, PromptRequest, check_names
from vqlearn.pipeline.editing import ImageEditing
from vqlearn.pipeline.inputs import Images, checked_images
from vqlearn.pipeline.output import PipelineOutput
from vqlearn.probability import Conditioning
from vqlearn.probability.checks import Level, check_integer


class PromptEditing(ImageEditing):
    r"""What `VQDiffusionPipeline` does with an image; the images come prompt-major, as of its call.

    One image serves every prompt, or there is one for each. `options` are those arguments of the
    call that `arguments.CallOptions` names, with its defaults but for `num_inference_steps`: it
    counts the steps that are taken, 1 to the level at which they begin, and without it every level
    is visited. An unmasking `rule` starts from what is MASK, and takes no step where nothing is.

    All methods raise `TypeError` or `ValueError` that names the argument, before any work.
    """

    @torch.no_grad()
    def inpaint(
        self,
        image: Images,
        mask: Images,
        prompt: str | list[str],
        *,
        paste: bool = False,
        **options: Unpack[CallOptions],
    ) -> PipelineOutput | tuple:
        r"""Repaint where the mask is white, so that the whole image shows the prompt.

        A token is free if any pixel of its square is masked. The free ones start as MASK, the
        others are given (`Given`): they are those of the encoded image, bit for bit, to the end.
        With an absorbing process, the true $p(x_0 \mid x_t)$ and one token a step the free tokens
        have the distribution $p(x \mid \text{given}, y)$; see `DiffusionModel.sample` for the rest.

        Without `paste` all pixels are decoded from tokens, and given tokens are only as good as the
        reconstruction. With it the pixels that the mask leaves black are those of the image. There
        may be a seam, since a token reaches beyond its square. Measured on the shipped model, whose
        squares have 4 pixels a side, with 500 tokens replaced at random
        (`evaluation.edits.token_reach`): no pixel farther than 8 away changes by more than 0.1 of
        0 to 1, and in 88 % of the cases none farther than 4. Changes above 8/255 reach 6 pixels in
        the median and 16 in 99 % of the cases. By less than that a token changes all of the image.
        """
        request = self._asked("inpaint", prompt, self.process.num_timesteps, options)
        return self._inpainted(request, image, mask, paste=paste)

    @torch.no_grad()
    def outpaint(
        self,
        image: Images,
        prompt: str | list[str],
        *,
        position: tuple[int, int],
        paste: bool = False,
        **options: Unpack[CallOptions],
    ) -> PipelineOutput | tuple:
        """Paint around a smaller image, which lies at `position`: (left, top) in pixels.

        It is `inpaint` with a mask that is white outside the image. The encoder sees the edge of
        the image repeated there. Tokens that the edge of the image cuts are free.
        """
        request = self._asked("outpaint", prompt, self.process.num_timesteps, options)
        return self._outpainted(request, image, position, paste=paste)

    @torch.no_grad()
    def edit(
        self, image: Images, prompt: str | list[str], level: int, **options: Unpack[CallOptions]
    ) -> PipelineOutput | tuple:
        r"""Corrupt the image to a level of 1..T, then denoise it from there under the prompt.

        $x_t \sim q(x_t \mid x_0)$ is drawn by the model's own forward process, so x_t is a state
        that the network knows. The higher the level, the more follows the prompt and the less the
        image. Levels visited: `levels_to_visit(level, num_inference_steps)`. The idea, with this
        process in the place of Gaussian noise, is that of SDEdit: Meng et al. 2022,
        https://arxiv.org/abs/2108.01073.
        """
        check_integer("level", level, 1, self.process.num_timesteps)
        request = self._asked("edit", prompt, int(level), options)
        return self._edited(request, image, int(level), self._condition)

    @torch.no_grad()
    def variations(
        self, image: Images, level: int, **options: Unpack[CallOptions]
    ) -> PipelineOutput | tuple:
        """`edit` without a prompt: denoised under the null embedding alone.

        There is nothing to guide: `guidance_scale` and `negative_prompt` are not among its options.
        """
        check_integer("level", level, 1, self.process.num_timesteps)
        guidance = ("guidance_scale", "negative_prompt")
        check_names(
            "variations", options, [x for x in CallOptions.__annotations__ if x not in guidance]
        )
        captions = [""] * len(checked_images(image, self.image_size))
        options = {"guidance_scale": 1.0, **options}
        request = self._asked("variations", captions, int(level), options)
        return self._edited(request, image, int(level), self._null_condition)

    @torch.no_grad()
    def swap_prompt(
        self,
        prompt: str | list[str],
        then: str | list[str],
        level: int,
        **options: Unpack[CallOptions],
    ) -> PipelineOutput | tuple:
        """Begin under one prompt and go on under another, from all MASK.

        Steps that begin above the level, 0..T, attend to `prompt`, the others to `then`. High
        levels decide what lies where, low ones fill in.
        """
        check_integer("level", level, 0, self.process.num_timesteps)
        top = self.process.num_timesteps
        first, second = (self._asked("swap_prompt", p, top, options) for p in (prompt, then))
        if first.count != second.count:
            raise ValueError(
                f"the number of prompts in then is {len(second.prompts)}; "
                f"allowed: {len(first.prompts)}, one for each prompt"
            )
        above, below = (
            self._denoiser(self._condition(request), request) for request in (first, second)
        )
        x_t = all_masked(self.process, (first.count, self.model.num_positions), device=self.device)
        denoise = swapped(above, below, int(level))
        steps = self.model.walk(denoise, x_t, first.plan, generator=first.generator)
        return self.decoded(self._last(first, x_t, steps), *first.output)

    def _asked(
        self, method: str, prompt: str | list[str], level: int, options: CallOptions
    ) -> PromptRequest:
        """The options, checked; without a number of steps every level below is visited."""
        check_names(method, options, CallOptions.__annotations__)
        return self._request(prompt, **{"num_inference_steps": level, **options}, level=level)

    def _null_condition(self, request: PromptRequest) -> Conditioning:
        """The null embedding alone."""
        return Conditioning(self.conditioning(request.prompts, request.each).null_text())


def swapped(above: Denoise, below: Denoise, level: int) -> Denoise:
    """One denoiser above a level, another one at it and below."""

    def denoise(x_t: Int[Tensor, "b n"], t: Level) -> Float[Tensor, "b n k"]:
        if isinstance(t, int):
            return above(x_t, t) if t > level else below(x_t, t)
        is_above = (t > level).to(x_t.device)[:, None, None]  # under a rule sequences differ
        return torch.where(is_above, above(x_t, t), below(x_t, t))

    return denoise
