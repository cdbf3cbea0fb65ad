"""Stage 2: learn to read captions, by matching them with images."""

from dataclasses import asdict, astuple, replace

from torch import nn
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
from vqlearn.training.loop import Losses, Run, Task
from vqlearn.training.optimizers import linear_weights
from vqlearn.training.sizes import SMALL, Size


class TextTask(Task):
    """A small CLIP learns; `tokenizer/`, `text_encoder/` and, for scoring, `clip/` are written.

    The vocabulary and the encoder see what `run.source` shows, and nothing else. Its scenes come
    with their hard negatives: without them no batch asks which object has which colour, and the
    encoder does not tell (a linear reader of its states finds the shape of the upper or left
    object in 6 of 10 captions). The sizes are those of `Sizes`.
    """

    def __init__(
        self,
        run: Run,
        vocabulary: int = SMALL.vocabulary,
        text_length: int = SMALL.text_length,
        text_size: Size = SMALL.text_size,
    ) -> None:
        self.run = replace(run, source=run.source.with_hard_negatives())
        self.device = run.accelerator.device
        captions = run.source.captions()
        tokenizer = build_tokenizer(captions, vocab_size=vocabulary, max_length=text_length)
        width, layers, heads = astuple(text_size)
        text_model = build_text_model(tokenizer, width=width, layers=layers, heads=heads)
        self.network = build_clip(text_model, run.source.image_size).to(self.device)
        self.encoder = TextEncoder(tokenizer, text_model)
        self.encoder.warn_if_cut(captions)
        # The maps into the space where images and captions meet are outputs, not hidden layers.
        outputs = [self.network.text_projection, self.network.visual_projection]
        self.muon_weights = linear_weights([self.network], except_for=outputs)
        told = {"vocabulary": vocabulary, "text_length": text_length}
        self.config = {**told, "text_size": asdict(text_size)}

    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        pixels = pixel_values(batch.images).to(self.device)
        ids = self.encoder.tokenize(batch.captions, warn=False).to(self.device)
        scores = network(input_ids=ids, pixel_values=pixels).logits_per_text
        return {"loss": contrastive_loss(scores)}, None

    def load(self) -> None:
        self.network.load_state_dict(files.load_clip(self.run.folder).state_dict())

    def save(self, trained: CLIPModel) -> None:
        files.save_clip(trained, self.run.folder)
        encoder = TextEncoder(self.encoder.tokenizer, trained.text_model)
        files.save_text_encoder(encoder, self.run.folder)
