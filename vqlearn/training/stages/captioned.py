"""What the stages of token models share: any model learns the tokens of images given captions."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.checkpoints import folder as files
from vqlearn.data import Batch
from vqlearn.probability import Conditioning, TokenModel
from vqlearn.text import NullText, drop_captions
from vqlearn.training.loop import Run, fit
from vqlearn.training.optimizers import muon_weights
from vqlearn.training.stages.frozen import Frozen

CAPTION_DROPOUT = 0.1

Losses = tuple[dict[str, Tensor], Any]
"""Numbers of each sequence to show, of which "loss" is minimised; and what `after_step` needs."""


class Captioned(nn.Module):
    """A token model, and the null embedding that learns together with it."""

    def __init__(self, model: TokenModel, null_text: NullText) -> None:
        super().__init__()
        self.model, self.null_text = model, null_text

    def forward(
        self, x: Int[Tensor, "b n"], text: Float[Tensor, "b l c"], generator: torch.Generator
    ) -> Losses:
        """The loss of each sequence given its caption: nats per token."""
        condition = self.condition(text, generator)
        return {"loss": self.model.loss(x, condition, generator=generator)}, None

    def condition(self, text: Float[Tensor, "b l c"], generator: torch.Generator) -> Conditioning:
        """The captions; one in ten is replaced by the null embedding."""
        null = self.null_text(len(text))
        return Conditioning(drop_captions(text, null, CAPTION_DROPOUT, generator=generator))


class CaptionedTask:
    """The mean loss of a token model. Tokens and text are frozen; `config` is the user's choice."""

    def __init__(self, run: Run, frozen: Frozen, network: Captioned, config: dict[str, Any]):
        self.run, self.frozen, self.config = run, frozen, config
        self.network = network.to(frozen.device)
        self.muon_weights = muon_weights(self.network)
        self.extra_state = []

    def losses(self, network: nn.Module, batch: Batch, step: int) -> tuple[dict[str, Tensor], Any]:
        x, text = self.frozen.read(batch)
        values, seen = network(x, text, self.run.noise(step))
        return {name: value.mean() for name, value in values.items()}, seen

    def after_step(self, step: int, seen: Any) -> None:
        """Nothing learns without the gradient."""


def train_captioned(name: str, task: CaptionedTask, run: Run) -> Captioned:
    """Train, and complete the checkpoint of `run.folder`; returns the mean, on the CPU."""
    trained = fit(name, task, run)
    if run.accelerator.is_main_process:
        files.save_network(trained.null_text, run.folder)
        files.save_network(trained.model, run.folder)
        files.finish(run.folder)
    run.accelerator.wait_for_everyone()
    return trained
