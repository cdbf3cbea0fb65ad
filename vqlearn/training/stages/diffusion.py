"""Stage 3: learn to denoise tokens, given a caption."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.checkpoints import folder as files
from vqlearn.data.batches import Batch
from vqlearn.diffusion.level_sampling import ImportanceSampler
from vqlearn.diffusion.objective import training_loss
from vqlearn.diffusion.process import MaskAndReplace, Process
from vqlearn.diffusion.schedule import SCHEDULES, ScheduleConfig, build_schedule
from vqlearn.probability.log_probs import log_normalise
from vqlearn.text.null_text import NullText, drop_captions
from vqlearn.training.loop import Run, fit
from vqlearn.training.optimizers import muon_weights
from vqlearn.training.recipes import NUM_TIMESTEPS, denoiser_config
from vqlearn.training.stages.frozen import Frozen
from vqlearn.transformer.denoiser import Denoiser

CAPTION_DROPOUT = 0.1


class ConditionalDenoiser(nn.Module):
    """What the diffusion stage trains: the denoiser, and the states of "no caption"."""

    def __init__(self, denoiser: Denoiser, null_text: NullText) -> None:
        super().__init__()
        self.denoiser, self.null_text = denoiser, null_text

    def forward(
        self,
        x_t: Int[Tensor, "b n"],
        t: Int[Tensor, " b"],
        text: Float[Tensor, "b l c"],
        generator: torch.Generator,
    ) -> Float[Tensor, "b n k"]:
        """Logits of the clean tokens; one caption in ten is replaced by "no caption"."""
        null = self.null_text(len(text))
        text = drop_captions(text, null, CAPTION_DROPOUT, generator=generator)
        return self.denoiser(x_t, t, text)


class DenoiserTask:
    """The loss of VQ-Diffusion at levels drawn by their importance, for any process and denoiser.

    A subclass sets its `config`.
    """

    config: dict[str, Any]

    def __init__(
        self,
        run: Run,
        frozen: Frozen,
        network: ConditionalDenoiser,
        process: Process,
        *,
        auxiliary_weight: float = 5e-4,
    ) -> None:
        self.run, self.frozen, self.process = run, frozen, process
        self.network = network.to(frozen.device)
        self.auxiliary_weight = auxiliary_weight
        self.levels = ImportanceSampler(process.num_timesteps)
        self.muon_weights = muon_weights(self.network.denoiser)
        self.extra_state = [self.levels]

    def losses(
        self, network: nn.Module, batch: Batch, step: int
    ) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        noise = self.run.noise(step)
        x_0, text = self.frozen.read(batch)
        t, weight = self.levels.draw(len(x_0), generator=noise)
        x_t = self.process.corrupt(x_0, t, generator=noise)
        log_p_x0 = log_normalise(network(x_t, t.to(x_t.device), text, noise))
        loss = training_loss(
            self.process, log_p_x0, (x_0, x_t), t, auxiliary_weight=self.auxiliary_weight
        )
        weight = weight.to(x_t.device)
        shown = {
            "loss": (weight * loss.total).mean(),
            "bound": (weight * loss.bound).mean(),
            "auxiliary": (weight * loss.auxiliary).mean(),
        }
        return shown, (t.to(x_t.device), loss.bound.detach())

    def after_step(self, step: int, seen: tuple[Tensor, Tensor]) -> None:
        t, bound = self.run.accelerator.gather(seen)
        self.levels.update(t.cpu(), bound.cpu())


class DiffusionTask(DenoiserTask):
    """A fresh denoiser with a schedule by name, or the one of `run.start_from` with its own."""

    def __init__(self, run: Run, schedule: str | None = None) -> None:
        frozen = Frozen(run)
        if run.start_from is None:
            schedule = schedule or "released"
            network, self.schedule = _fresh(frozen, schedule)
        else:
            network, self.schedule = _trained_before(run, frozen, schedule)
        super().__init__(run, frozen, network, MaskAndReplace(build_schedule(self.schedule)))
        self.config = {"schedule": schedule}


def _fresh(frozen: Frozen, schedule: str) -> tuple[ConditionalDenoiser, ScheduleConfig]:
    config = denoiser_config(
        num_codes=frozen.num_codes, grid_size=frozen.side, text_width=frozen.encoder.width
    )
    network = ConditionalDenoiser(Denoiser(config), frozen.fresh_null_text())
    return network, SCHEDULES[schedule](frozen.num_codes, NUM_TIMESTEPS)


def _trained_before(
    run: Run, frozen: Frozen, schedule: str | None
) -> tuple[ConditionalDenoiser, ScheduleConfig]:
    folder = run.start_from
    denoiser, trained_with = files.load_denoiser(folder).float(), files.load_schedule(folder)
    if schedule is not None:
        raise ValueError(f"schedule is {schedule!r}; allowed: none, {folder} has its own")
    factor, side = frozen.vqvae.config.downsampling_factor, denoiser.config.sample_size
    if frozen.side != side:
        seen = run.source.image_size
        raise ValueError(f"image_size is {seen}; allowed: {side * factor}, as in {folder}")
    null_text = files.load_null_text(folder).float()
    if not null_text.config.learnable:
        null_text = frozen.fresh_null_text()
    return ConditionalDenoiser(denoiser, null_text), trained_with


def train_diffusion(run: Run, *, schedule: str | None = None) -> None:
    """Learn to denoise; reads what the other two stages wrote and completes the checkpoint.

    `schedule` is a name of `diffusion.schedule.SCHEDULES`, "released" if None. With
    `run.start_from` denoiser, "no caption" and schedule are those of that checkpoint. Raises
    `ValueError` if it is for images of another size, or if a schedule is named as well.
    """
    task = DiffusionTask(run, schedule)
    trained = fit("diffusion", task, run)
    if run.accelerator.is_main_process:
        files.save_null_text(trained.null_text, run.folder)
        files.save_schedule(task.schedule, run.folder)
        files.save_denoiser(trained.denoiser, run.folder)
        files.finish(run.folder)
    run.accelerator.wait_for_everyone()
