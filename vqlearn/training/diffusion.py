"""Stage 3: learn to denoise tokens, given a caption."""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.checkpoints import folder as files
from vqlearn.data.batches import Batch
from vqlearn.diffusion.levels import ImportanceLevels
from vqlearn.diffusion.logmath import log_normalise
from vqlearn.diffusion.objective import training_loss
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import SCHEDULES, ScheduleConfig, build_schedule
from vqlearn.training.loop import Run, fit
from vqlearn.training.optimisers import hidden_matrices
from vqlearn.training.recipes import NUM_TIMESTEPS, denoiser_config
from vqlearn.transformer.denoiser import Denoiser
from vqlearn.transformer.text import NullText, NullTextConfig, drop_captions

CAPTION_DROPOUT = 0.1


class ConditionalDenoiser(nn.Module):
    """What the diffusion stage trains: the denoiser, and the states of "no sentence"."""

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
        """Logits of the clean tokens; one caption in ten is replaced by "no sentence"."""
        null = self.null_text(len(text))
        text = drop_captions(text, null, CAPTION_DROPOUT, generator=generator)
        return self.denoiser(x_t, t, text)


class DiffusionTrainee:
    """The loss of VQ-Diffusion at levels drawn by their importance. Tokens and text are frozen."""

    def __init__(self, run: Run, schedule: str | None = None) -> None:
        self.run = run
        device = run.accelerator.device
        self.vqvae = files.load_vqvae(run.folder).requires_grad_(False).to(device)
        self.encoder = files.load_text_encoder(run.folder).to(device)
        if run.start_from is None:
            schedule = schedule or "released"
            network, self.schedule = self._fresh(schedule)
        else:
            network, self.schedule = self._trained_before(run.start_from, schedule)
        self.network = network.to(device)
        self.process = MaskAndReplace(build_schedule(self.schedule))
        self.levels = ImportanceLevels(self.process.num_timesteps)
        self.choices = {"schedule": schedule}
        self.matrices = hidden_matrices(self.network.denoiser)
        self.remembered = [self.levels]

    def _fresh(self, schedule: str) -> tuple[ConditionalDenoiser, ScheduleConfig]:
        num_codes = self.vqvae.config.num_vq_embeddings
        config = denoiser_config(
            num_codes=num_codes, grid_size=self._grid_size(), text_width=self.encoder.width
        )
        network = ConditionalDenoiser(Denoiser(config), self._fresh_null_text())
        return network, SCHEDULES[schedule](num_codes, NUM_TIMESTEPS)

    def _trained_before(
        self, folder: Path, schedule: str | None
    ) -> tuple[ConditionalDenoiser, ScheduleConfig]:
        denoiser, trained_with = files.load_denoiser(folder).float(), files.load_schedule(folder)
        if schedule is not None:
            raise ValueError(f"schedule is {schedule!r}; allowed: none, {folder} has its own")
        factor, side = self.vqvae.config.downsampling_factor, denoiser.config.sample_size
        if self._grid_size() != side:
            seen = self.run.source.image_size
            raise ValueError(f"image_size is {seen}; allowed: {side * factor}, as in {folder}")
        null_text = files.load_null_text(folder).float()
        if not null_text.config.learnable:
            null_text = self._fresh_null_text()
        return ConditionalDenoiser(denoiser, null_text), trained_with

    def _fresh_null_text(self) -> NullText:
        return NullText(NullTextConfig(True, self.encoder.width, self.encoder.length))

    def _grid_size(self) -> int:
        return self.run.source.image_size // self.vqvae.config.downsampling_factor

    def losses(self, network: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        noise = self.run.noise(step)
        x_0 = self.vqvae.encode((2 * batch.images - 1).to(self.run.accelerator.device))
        t, weight = self.levels.draw(len(x_0), generator=noise)
        x_t = self.process.corrupt(x_0, t, generator=noise)
        logits = network(x_t, t.to(x_t.device), self.encoder(batch.captions), noise)
        loss = training_loss(self.process, log_normalise(logits), (x_0, x_t), t)
        self.seen = (t.to(x_t.device), loss.bound.detach())
        weight = weight.to(x_t.device)
        return {
            "loss": (weight * loss.total).mean(),
            "bound": (weight * loss.bound).mean(),
            "auxiliary": (weight * loss.auxiliary).mean(),
        }

    def after_step(self, step: int) -> None:
        t, bound = self.run.accelerator.gather(self.seen)
        self.levels.update(t.cpu(), bound.cpu())


def train_diffusion(run: Run, *, schedule: str | None = None) -> None:
    """Learn to denoise; reads what the other two stages wrote and completes the checkpoint.

    `schedule` is a name of `diffusion.schedule.SCHEDULES`, "released" if None. With
    `run.start_from` denoiser, "no sentence" and schedule are those of that checkpoint. Raises
    `ValueError` if it is for pictures of another size, or if a schedule is named as well.
    """
    trainee = DiffusionTrainee(run, schedule)
    trained = fit("diffusion", trainee, run)
    if run.accelerator.is_main_process:
        files.save_null_text(trained.null_text, run.folder)
        files.save_schedule(trainee.schedule, run.folder)
        files.save_denoiser(trained.denoiser, run.folder)
        files.finish(run.folder)
    run.accelerator.wait_for_everyone()
