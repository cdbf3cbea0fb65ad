"""The runs of the null embedding: one denoiser, and what stands for "no caption" in guidance.

A fine-tuning is what `vqlearn train diffusion --start-from` does: 10 % of the captions are
replaced. It lies in `runs/null-text`, and a command that was stopped goes on there.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from accelerate.utils import set_seed

from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.layout import DENOISER_FOLDER, INDEX_FILE, NULL_TEXT_FOLDER
from vqlearn.evaluation import Evaluation, evaluated_scenes, scene_reader
from vqlearn.evaluation.prompts import COMPOSITIONS, generate
from vqlearn.experiments.report import Run
from vqlearn.pipeline import VQDiffusionPipeline
from vqlearn.text import NullText, NullTextConfig
from vqlearn.training import record
from vqlearn.training.loop import Run as Training
from vqlearn.training.loop import best_accelerator, fit
from vqlearn.training.recipes import RECIPES
from vqlearn.training.stages.order import SCENES, open_source
from vqlearn.training.stages.taken_parts import copy_frozen_parts
from vqlearn.training.tasks.diffusion import diffusion_task

MODEL = "scenes"
FOLDER = Path("runs") / "null-text"
RECIPE = replace(
    RECIPES["diffusion"],
    steps=300,
    batch_size=32,
    learning_rate=2e-4,
    ema_decay=0.99,
    warmup_steps=50,
    save_every=25,
)
PRECISION = "bf16"
GUIDED = Evaluation(num_inference_steps=10, guidance_scale=2.0, prompts=200)
CONDITIONAL = replace(GUIDED, guidance_scale=1.0)


@dataclass(frozen=True)
class Answers:
    """One answer for each prompt: does the image show what the prompt says? 1 or 0."""

    seen: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class NullRun(Run):
    """Prompt accuracy of the shipped denoiser, fine-tuned or not, with one of its nulls.

    `tuned` None: not fine-tuned; "learned": with a null that learns; "empty": with the states of
    the empty caption, which stay. `null` None: no guidance; "own": that of `tuned`, or without
    fine-tuning the one that the denoiser was trained with from the beginning; "empty": the empty
    caption.
    """

    tuned: str | None
    null: str | None
    data: ClassVar[None] = None

    @property
    def id(self) -> str:
        """Such as "learned/own"."""
        return f"{self.tuned or 'shipped'}/{self.null or 'none'}"

    @property
    def evaluation(self) -> Evaluation:
        """With guidance, or the conditional distribution alone."""
        return CONDITIONAL if self.null is None else GUIDED

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        recipe = {name: getattr(RECIPE, name) for name in ("steps", "batch_size", "learning_rate")}
        return {
            **self.evaluation.settings(),
            **({} if self.tuned is None else {"recipe": recipe, "precision": PRECISION}),
            "start": record.digest_of(resolve(MODEL), (DENOISER_FOLDER, NULL_TEXT_FOLDER)),
        }

    def measure(self, data: None) -> Answers:
        """Fine-tune, generate, read."""
        pipeline = load_pipeline(self.tuned)
        if self.null == "empty":
            pipeline.null_text = NullText(NullTextConfig(learnable=False))
        return Answers(*(self.answers(pipeline, composition) for composition in COMPOSITIONS))

    def answers(self, pipeline: VQDiffusionPipeline, composition: str) -> tuple[int, ...]:
        """One for each prompt; all runs have the same prompts and the same random numbers."""
        captions = evaluated_scenes(composition, self.evaluation).captions
        scenes = scene_reader.read(generate(pipeline, captions, self.evaluation))
        pairs = zip(scenes, captions, strict=True)
        return tuple(int(scene_reader.agrees(scene, caption)) for scene, caption in pairs)


def load_pipeline(tuned: str | None) -> VQDiffusionPipeline:
    """The shipped model, or what became of it."""
    if tuned is None:
        return VQDiffusionPipeline.from_pretrained(MODEL)
    return VQDiffusionPipeline.from_pretrained(fine_tuned(tuned))


@cache
def fine_tuned(tuned: str) -> Path:
    """Fine-tune the model without a null; "learned" as the command line does it."""
    folder, start = FOLDER / tuned, model_without_null()
    accelerator = best_accelerator(mixed_precision=PRECISION)
    run = Training(folder, open_source(SCENES), RECIPE, accelerator, start_from=start)
    copy_frozen_parts(start, folder)
    set_seed(RECIPE.seed)
    task = diffusion_task(run)
    if tuned == "empty":
        task.network.null_text.requires_grad_(False)  # it starts as the empty caption
    task.save(fit("diffusion", task))
    return folder


def model_without_null() -> Path:
    """The shipped model, without its null embedding: a checkpoint to start from that has none."""
    folder = FOLDER / "start"
    if not (folder / INDEX_FILE).exists():
        pipeline = load_pipeline(None)
        pipeline.null_text = NullText(NullTextConfig(learnable=False))
        pipeline.save_pretrained(folder)
    return folder
