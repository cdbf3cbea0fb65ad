"""Stage 3: learn to denoise tokens, given a caption."""

from dataclasses import asdict, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.layout import DENOISER_FOLDER, INDICES, NULL_TEXT_FOLDER, SCHEDULE_FOLDER
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, build_schedule
from vqlearn.diffusion.schedule import SCHEDULES
from vqlearn.probability import Sampling
from vqlearn.probability.checks import check_choice, shown
from vqlearn.text import NullText
from vqlearn.training import record
from vqlearn.training.loop import Losses, Run
from vqlearn.training.sizes import DEFAULT_SIZE, NUM_TIMESTEPS, Size, denoiser_config
from vqlearn.training.tasks.captioned import PREVIEW, Captioned, CaptionedTask, Frozen
from vqlearn.transformer import Denoiser

PARTS = (DENOISER_FOLDER, SCHEDULE_FOLDER, NULL_TEXT_FOLDER)
"""What is taken of a checkpoint to start from, besides the frozen parts."""


class CaptionedDiffusion(Captioned):
    """A diffusion model, and the null embedding; the levels learn from all processes at once."""

    model: DiffusionModel

    @property
    def preview(self) -> Sampling:
        """As others, in at most 25 steps."""
        return replace(PREVIEW, num_inference_steps=min(25, self.model.process.num_timesteps))

    def forward(
        self, x: Int[Tensor, "b n"], text: Float[Tensor, "b l c"], generator: torch.Generator
    ) -> Losses:
        """The parts of the loss, weighted; then the levels and their bound, for `levels.update`.

        Levels and noise are drawn before captions are dropped.
        """
        noisy = self.model.corrupted(x, generator=generator)
        terms = self.model.terms(x, noisy, self.condition(text, generator))
        weight, t = noisy.weight.to(x.device), noisy.t.to(x.device)
        values = {"loss": terms.total, "bound": terms.bound, "auxiliary": terms.auxiliary}
        shown = {name: weight * value for name, value in values.items()}
        return shown, (t, terms.bound.detach())


class DiffusionTask(CaptionedTask):
    """The loss of VQ-Diffusion at levels drawn by importance, for any process and denoiser.

    Only a process with a schedule can be saved.
    """

    def after_step(self, step: int, seen: tuple[Tensor, Tensor]) -> None:
        t, bound = self.run.accelerator.gather(seen)
        self.network.model.levels.update(t.cpu(), bound.cpu())


def diffusion_task(
    run: Run,
    schedule: str | None = None,
    size: Size | None = None,
    levels: int | None = None,
) -> DiffusionTask:
    """A fresh denoiser, or that of `run.start_from` with its null embedding and its schedule.

    Where there are only tokens and text to start from, the denoiser is fresh. Where only the null
    embedding is missing, it starts as the states of the empty caption, which stood in its place,
    and learns while one caption in ten is replaced by it: so a checkpoint without a null gets one.
    figures/null_text.md has what that is worth, and what it costs.

        vqlearn train diffusion --start-from CHECKPOINT --learning-rate 2e-4 --steps 300 --out NEW

    `schedule` is a name of `SCHEDULES`, `levels` are its T. None: "released", of 100 levels, and
    `DEFAULT_SIZE` for a fresh denoiser. Raises `ValueError` if the checkpoint to start from is for
    images of another size or no VQ-Diffusion, or if a schedule or a size is named as well;
    `CheckpointError` if `run.folder` lacks tokens or text.
    """
    check_choice("schedule", schedule, (None, *SCHEDULES))
    frozen, chosen = Frozen(run), {"schedule": schedule, "size": size, "levels": levels}
    if goes_on(run.start_from):
        for name, value in chosen.items():
            if value is not None:
                raise ValueError(
                    f"{name} is {shown(value)}; allowed: none, {run.start_from} has its own"
                )
        model, null_text = _trained_before(run, frozen)
        digest = record.digest_of(run.start_from, PARTS)
        config = {"schedule": None, "start_from": digest, "start_from_name": str(run.start_from)}
    else:
        chosen = {name: value for name, value in chosen.items() if value is not None}
        config = {"schedule": "released", "size": DEFAULT_SIZE, "levels": NUM_TIMESTEPS, **chosen}
        model, null_text = _fresh(frozen, **config)
        config["size"] = asdict(config["size"])
    return DiffusionTask(run, frozen, CaptionedDiffusion(model, null_text), config)


def goes_on(start_from: Path | None) -> bool:
    """Is there a token model to go on with, which is not to be a fresh one?"""
    return start_from is not None and any((start_from / name).is_dir() for name in INDICES)


def _fresh(
    frozen: Frozen, schedule: str, size: Size, levels: int
) -> tuple[DiffusionModel, NullText]:
    config = denoiser_config(
        num_codes=frozen.num_codes,
        side=frozen.side,
        text_width=frozen.encoder.width,
        num_timesteps=levels,
        size=size,
    )
    denoiser = Denoiser(config)  # before the null embedding: both draw their first weights
    null_text = frozen.fresh_null_text()
    numbers = SCHEDULES[schedule](frozen.num_codes, levels)
    return DiffusionModel(MaskAndReplace(build_schedule(numbers)), denoiser), null_text


def _trained_before(run: Run, frozen: Frozen) -> tuple[DiffusionModel, NullText]:
    folder = run.start_from
    model = files.load_token_model(folder)
    check_choice(f"the token model of {folder}", type(model).__name__, ("DiffusionModel",))
    model.network.float()
    factor, side = frozen.vqvae.config.downsampling_factor, model.network.config.sample_size
    if frozen.side != side:
        seen = run.source.image_size
        raise ValueError(f"image_size is {seen}; allowed: {side * factor}, as in {folder}")
    null_text = files.load_null_text(folder).float()
    if not null_text.config.learnable:
        null_text = frozen.null_text_of_empty_caption()
    return model, null_text
