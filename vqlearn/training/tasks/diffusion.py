"""Stage 3: learn to denoise tokens, given a caption, a class or nothing."""

from dataclasses import asdict, replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.class_names import save_class_names
from vqlearn.checkpoints.layout import (
    CLASS_NAMES_FILE,
    DENOISER_FOLDERS,
    NULL_TEXT_FOLDER,
    SCHEDULE_FOLDER,
)
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, build_schedule
from vqlearn.diffusion.schedule import SCHEDULES
from vqlearn.probability import ClassConditioning, Condition, Sampling
from vqlearn.probability.checks import check_choice, shown
from vqlearn.text import NullText
from vqlearn.training import record
from vqlearn.training.loop import Losses, Run
from vqlearn.training.sizes import DEFAULT_SIZE, NUM_TIMESTEPS, Size, denoiser_config
from vqlearn.training.tasks.captioned import (
    CAPTION_DROPOUT,
    PREVIEW,
    Captioned,
    CaptionedTask,
    Frozen,
    FrozenTokens,
)
from vqlearn.training.tasks.start import FrozenLabels, check_fits, goes_on, is_textless
from vqlearn.transformer import ClassDenoiser, Denoiser, UnconditionalDenoiser

PARTS = (*DENOISER_FOLDERS, CLASS_NAMES_FILE, SCHEDULE_FOLDER, NULL_TEXT_FOLDER)
"""What is taken of a checkpoint to start from, besides the frozen parts."""


class DiffusionLoss:
    """The loss of a diffusion model, told what `condition` makes of the captions of a batch.

    The levels learn from all processes at once.
    """

    model: DiffusionModel

    @property
    def preview(self) -> Sampling:
        """As others, in at most 25 steps."""
        return replace(PREVIEW, num_inference_steps=min(25, self.model.process.num_timesteps))

    def forward(
        self, x: Int[Tensor, "b n"], told: Tensor | None, generator: torch.Generator
    ) -> Losses:
        """The parts of the loss, weighted; then the levels and their bound, for `levels.update`.

        Levels and noise are drawn before captions are dropped.
        """
        noisy = self.model.corrupted(x, generator=generator)
        terms = self.model.terms(x, noisy, self.condition(told, generator))
        weight, t = noisy.weight.to(x.device), noisy.t.to(x.device)
        values = {"loss": terms.total, "bound": terms.bound, "auxiliary": terms.auxiliary}
        shown = {name: weight * value for name, value in values.items()}
        return shown, (t, terms.bound.detach())


class CaptionedDiffusion(DiffusionLoss, Captioned):
    """A diffusion model, and the null embedding."""


class ClassDiffusion(DiffusionLoss, nn.Module):
    """A diffusion model of images of classes; one label in ten is replaced by the null class."""

    def __init__(self, model: DiffusionModel) -> None:
        super().__init__()
        self.model = model

    def condition(self, labels: Int[Tensor, " b"], generator: torch.Generator) -> Condition:
        """The labels, some of them dropped."""
        return self.guided(labels).dropped(CAPTION_DROPOUT, generator=generator)

    def guided(self, labels: Int[Tensor, " b"]) -> ClassConditioning:
        """The labels, and what guidance needs besides."""
        return ClassConditioning(labels, self.model.network.config.null_class)


class UnconditionalDiffusion(ClassDiffusion):
    """A diffusion model of images that is told nothing of them."""

    @property
    def preview(self) -> Sampling:
        """As others, not guided."""
        return replace(super().preview, guidance_scale=1.0)

    def condition(self, told: None, generator: torch.Generator) -> None:
        """Nothing."""

    def guided(self, told: None) -> None:
        """Nothing."""


class DiffusionTask(CaptionedTask):
    """The loss of VQ-Diffusion at levels drawn by importance, for any process and denoiser.

    Only a process with a schedule can be saved.
    """

    def after_step(self, step: int, seen: tuple[Tensor, Tensor]) -> None:
        t, bound = self.run.accelerator.gather(seen)
        self.network.model.levels.update(t.cpu(), bound.cpu())


class TextlessTask(DiffusionTask):
    """The same of a model of classes, or of images alone: it has no null embedding."""

    def load(self) -> None:
        model = files.load_token_model(self.run.folder)
        self.network.model.load_state_dict(model.state_dict())

    def save(self, trained: ClassDiffusion) -> None:
        if self.frozen.class_names is not None:
            save_class_names(self.frozen.class_names, self.run.folder)
        files.save_network(trained.model, self.run.folder)
        files.finish(self.run.folder, self.recommended)


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
    figures/null_text.md has what that is worth, and what it costs. Of a model of classes each
    caption is the number or the name of one; of a model without a condition captions are not read.

        vqlearn train diffusion --start-from CHECKPOINT --learning-rate 2e-4 --steps 300 --out NEW

    `schedule` is a name of `SCHEDULES`, `levels` are its T. None: "released", of 100 levels, and
    `DEFAULT_SIZE` for a fresh denoiser. Raises `ValueError` if a schedule or a size is named beside
    a checkpoint to start from, or as `check_fits` does; `CheckpointError` if `run.folder` lacks
    tokens or text.
    """
    check_choice("schedule", schedule, (None, *SCHEDULES))
    chosen = {"schedule": schedule, "size": size, "levels": levels}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if goes_on(run.start_from):
        for name, value in chosen.items():
            raise ValueError(
                f"{name} is {shown(value)}; allowed: none, {run.start_from} has its own"
            )
        return _going_on(run, run.start_from)
    frozen = Frozen(run)
    config = {"schedule": "released", "size": DEFAULT_SIZE, "levels": NUM_TIMESTEPS, **chosen}
    model, null_text = _fresh(frozen, **config)
    config["size"] = asdict(config["size"])
    return DiffusionTask(run, frozen, CaptionedDiffusion(model, null_text), config)


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


def _going_on(run: Run, start: Path) -> DiffusionTask:
    check_fits(start, run.source)
    model = files.load_token_model(start)
    model.network.float()
    digest = record.digest_of(start, PARTS)
    config = {"schedule": None, "start_from": digest, "start_from_name": str(start)}
    recommended = files.recommended_sampling(start)
    if isinstance(model.network, ClassDenoiser):
        frozen, network = FrozenLabels(run), ClassDiffusion(model)
    elif isinstance(model.network, UnconditionalDenoiser):
        frozen, network = FrozenTokens(run), UnconditionalDiffusion(model)
    else:
        frozen = Frozen(run)
        network = CaptionedDiffusion(model, _null_text(start, frozen))
    task = TextlessTask if is_textless(start) else DiffusionTask
    return task(run, frozen, network, config, recommended)


def _null_text(start: Path, frozen: Frozen) -> NullText:
    null_text = files.load_null_text(start).float()
    return null_text if null_text.config.learnable else frozen.null_text_of_empty_caption()
