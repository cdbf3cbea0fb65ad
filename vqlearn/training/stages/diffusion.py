"""Stage 3: learn to denoise tokens, given a caption."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.checkpoints import folder as files
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, ScheduleConfig, build_schedule
from vqlearn.diffusion.schedule import SCHEDULES
from vqlearn.probability.checks import check_choice
from vqlearn.text import NullText
from vqlearn.training.loop import Run, fit
from vqlearn.training.recipes import NUM_TIMESTEPS, denoiser_config
from vqlearn.training.stages.captioned import Captioned, CaptionedTask, Losses
from vqlearn.training.stages.frozen import Frozen
from vqlearn.transformer import Denoiser


class CaptionedDiffusion(Captioned):
    """A diffusion model, and the null embedding; the levels learn from all processes at once."""

    model: DiffusionModel

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
    """The loss of VQ-Diffusion at levels drawn by importance, for any process and denoiser."""

    def after_step(self, step: int, seen: tuple[Tensor, Tensor]) -> None:
        t, bound = self.run.accelerator.gather(seen)
        self.network.model.levels.update(t.cpu(), bound.cpu())


@dataclass(frozen=True)
class DiffusionOptions:
    """`schedule` is a name of `diffusion.schedule.SCHEDULES`.

    None: "released" for a fresh denoiser, its own for one that learns on.
    """

    schedule: str | None = None

    def __post_init__(self) -> None:
        check_choice("schedule", self.schedule, (None, *SCHEDULES))


def diffusion_task(
    run: Run, options: DiffusionOptions = DiffusionOptions()
) -> tuple[DiffusionTask, ScheduleConfig]:
    """A fresh denoiser, or the one of `run.start_from` with its own schedule."""
    schedule = options.schedule
    frozen = Frozen(run)
    if run.start_from is None:
        schedule = schedule or "released"
        denoiser, null_text, numbers = _fresh(frozen, schedule)
    else:
        denoiser, null_text, numbers = _trained_before(run, frozen, schedule)
    model = DiffusionModel(MaskAndReplace(build_schedule(numbers)), denoiser)
    network = CaptionedDiffusion(model, null_text)
    return DiffusionTask(run, frozen, network, {"schedule": schedule}), numbers


Parts = tuple[Denoiser, NullText, ScheduleConfig]


def _fresh(frozen: Frozen, schedule: str) -> Parts:
    config = denoiser_config(
        num_codes=frozen.num_codes, side=frozen.side, text_width=frozen.encoder.width
    )
    denoiser = Denoiser(config)  # before the null embedding: both draw their first weights
    numbers = SCHEDULES[schedule](frozen.num_codes, NUM_TIMESTEPS)
    return denoiser, frozen.fresh_null_text(), numbers


def _trained_before(run: Run, frozen: Frozen, schedule: str | None) -> Parts:
    folder = run.start_from
    denoiser, numbers = files.load_denoiser(folder).float(), files.load_schedule(folder)
    if schedule is not None:
        raise ValueError(f"schedule is {schedule!r}; allowed: none, {folder} has its own")
    factor, side = frozen.vqvae.config.downsampling_factor, denoiser.config.sample_size
    if frozen.side != side:
        seen = run.source.image_size
        raise ValueError(f"image_size is {seen}; allowed: {side * factor}, as in {folder}")
    null_text = files.load_null_text(folder).float()
    if not null_text.config.learnable:
        null_text = frozen.fresh_null_text()
    return denoiser, null_text, numbers


def train_diffusion(run: Run, options: DiffusionOptions = DiffusionOptions()) -> None:
    """Learn to denoise; reads what the other two stages wrote and completes the checkpoint.

    With `run.start_from` denoiser, "no caption" and schedule are those of that checkpoint. Raises
    `ValueError` if it is for images of another size, or if a schedule is named as well.
    """
    task, numbers = diffusion_task(run, options)
    trained = fit("diffusion", task, run)
    if run.accelerator.is_main_process:
        files.save_network(trained.null_text, run.folder)
        files.save_schedule(numbers, run.folder)
        files.save_network(trained.model.network, run.folder)
        files.finish(run.folder)
    run.accelerator.wait_for_everyone()
