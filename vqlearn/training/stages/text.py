"""Stage 2: learn to read captions, by matching them with images."""

from dataclasses import replace

from torch import Tensor, nn
from transformers import CLIPModel

from vqlearn.checkpoints import folder as files
from vqlearn.data import Batch
from vqlearn.text import (
    TextEncoder,
    build_clip,
    build_text_model,
    build_tokenizer,
    contrastive_loss,
    pixel_values,
)
from vqlearn.training.loop import Run, fit
from vqlearn.training.optimizers import linear_weights
from vqlearn.training.recipes import TEXT_WIDTH

VOCABULARY = 1024
LENGTH = 32


class TextTask:
    """A small CLIP."""

    def __init__(self, run: Run) -> None:
        self.device = run.accelerator.device
        captions = run.source.captions()
        tokenizer = build_tokenizer(captions, vocab_size=VOCABULARY, max_length=LENGTH)
        text_model = build_text_model(tokenizer, width=TEXT_WIDTH, layers=2, heads=4)
        image_size = run.source.image_size
        self.network = build_clip(text_model, image_size).to(self.device)
        self.encoder = TextEncoder(tokenizer, text_model)
        self.muon_weights = linear_weights([self.network], except_for=projections(self.network))
        self.config, self.extra_state = {}, []

    def losses(self, network: nn.Module, batch: Batch, step: int) -> tuple[dict[str, Tensor], None]:
        pixels = pixel_values(batch.images).to(self.device)
        ids = self.encoder.tokenize(batch.captions).to(self.device)
        scores = network(input_ids=ids, pixel_values=pixels).logits_per_text
        return {"loss": contrastive_loss(scores)}, None

    def after_step(self, step: int, seen: None) -> None:
        """Nothing learns without the gradient."""


def projections(clip: CLIPModel) -> list[nn.Module]:
    """The two maps into the space where images and captions meet: outputs, not hidden layers."""
    return [clip.text_projection, clip.visual_projection]


def train_text(run: Run) -> None:
    """Learn to read captions; writes `tokenizer/`, `text_encoder/` and, for scoring, `clip/`.

    The vocabulary and the encoder see what `run.source` shows, and nothing else. Its scenes come
    with their hard negatives: without them no batch asks which object has which colour, and the
    encoder does not tell (a linear reader of its states finds the shape of the upper or left
    object in 6 of 10 captions).
    """
    run = replace(run, source=run.source.with_hard_negatives())
    task = TextTask(run)
    clip = fit("text", task, run)
    if run.accelerator.is_main_process:
        files.save_clip(clip, run.folder)
        encoder = TextEncoder(task.encoder.tokenizer, clip.text_model)
        files.save_text_encoder(encoder, run.folder)
    run.accelerator.wait_for_everyone()
