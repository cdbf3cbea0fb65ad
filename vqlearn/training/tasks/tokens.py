"""Stage 1: learn to write images as tokens."""

from dataclasses import replace

import torch
from torch import Tensor

from vqlearn.tokens import VQVAE, CodebookEMA
from vqlearn.tokens.quantizer import Quantized
from vqlearn.training.loop import Run
from vqlearn.training.sizes import SMALL, check_parts, vqvae_config
from vqlearn.training.tasks.gumbel import GumbelTask
from vqlearn.training.tasks.reconstruction import Seen, TokenTask

COMMITMENT_WEIGHT = 0.25
REVIVE_EVERY = 20
REVIVE_UNTIL = 0.8  # of all steps: at the end every code gets time to settle
APART = 0.06  # two codes stand for the same if their squares differ by less, root mean square


class NearestTask(TokenTask):
    """Nearest codes: commitment is added; the codebook follows by moving averages."""

    def __init__(self, run: Run, vqvae: VQVAE, *, discriminator: bool) -> None:
        super().__init__(run, vqvae, discriminator=discriminator)
        self._follow_the_codebook()

    def load(self) -> None:
        super().load()
        self._follow_the_codebook()

    def _follow_the_codebook(self) -> None:
        """Counts begin anew, each at 1: every code stays where it is until vectors choose it."""
        self.codebook = CodebookEMA(
            self.vqvae.quantizer, reduce=lambda x: self.run.accelerator.reduce(x, "sum")
        )
        adversary = [] if self.adversary is None else self.adversary.parts
        self.extra_state = [*adversary, self.codebook]
        self.revived = 0  # codes, since this process began

    def code_losses(self, quantized: Quantized, step: int) -> dict[str, tuple[float, Tensor]]:
        return {"commitment": (COMMITMENT_WEIGHT, quantized.commitment_loss)}

    def code_counts(self, quantized: Quantized) -> dict[str, Tensor]:
        return {**super().code_counts(quantized), "revived": torch.tensor(self.revived)}

    def after_step(self, step: int, seen: Seen) -> None:
        quantizer, quantized = self.vqvae.quantizer, seen.quantized
        self.codebook.update(quantizer, quantized)
        if step % REVIVE_EVERY == REVIVE_EVERY - 1 and step < REVIVE_UNTIL * self.run.recipe.steps:
            self.revived += self.codebook.revive_dead_codes(
                quantizer,
                quantized,
                apart=APART * self.vqvae.config.vq_embed_dim**0.5,
                contribute=self.run.accelerator.is_main_process,
                generator=self.run.noise(step),
            )
        super().after_step(step, seen)


def tokens_task(
    run: Run,
    discriminator: bool = False,
    quantizer: str = "nearest",
    codes: int = SMALL.codes,
    downsample: int = SMALL.downsample,
    channels: int = SMALL.channels,
) -> TokenTask:
    """A fresh VQ network, which learns to write images as tokens.

    With `discriminator` a patch discriminator joins for the second half. With the quantizer
    "nearest" the codebook follows by moving averages; codes that are of no use are moved in the
    first 80 % of the batches. With "gumbel" codes are drawn, as in DALL-E (see `tasks.gumbel`).
    The sizes are those of `Sizes`. Raises `ValueError` for images that tokens do not fill.

    It sees images of all kinds, held-out pairs too: a tokeniser is not a generator.
    """
    check_parts("image_size", run.source.image_size, downsample, "tokens a side")
    run = replace(run, source=run.source.with_held_out_pairs())
    vqvae = VQVAE(replace(vqvae_config(codes, downsample, channels), quantizer=quantizer))
    kind = GumbelTask if quantizer == "gumbel" else NearestTask
    task = kind(run, vqvae, discriminator=discriminator)
    task.config |= {"codes": codes, "downsample": downsample, "channels": channels}
    return task
