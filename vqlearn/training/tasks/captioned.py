"""What the stages of token models share: any model learns the tokens of images given captions."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.checkpoints import CheckpointError
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.layout import TEXT_FOLDER, TOKENIZER_FOLDER, VQVAE_FOLDER
from vqlearn.data import Batch, Source
from vqlearn.probability import Conditioning, Sampling, TokenModel, random_stream
from vqlearn.text import NullText, NullTextConfig, drop_captions
from vqlearn.training import record
from vqlearn.training.loop import Losses, Run, Task
from vqlearn.training.optimizers import muon_weights
from vqlearn.training.preview import preview_batch
from vqlearn.training.sizes import check_parts
from vqlearn.training.tasks.encoded import encode_captions, encode_images

CAPTION_DROPOUT = 0.1
COME_FIRST = {"tokens": (VQVAE_FOLDER, "VQ network"), "text": (TEXT_FOLDER, "text encoder")}
"""The stages that write what a token model needs: the folder, and what is in it."""
PARTS = (VQVAE_FOLDER, TEXT_FOLDER, TOKENIZER_FOLDER)
PREVIEW = Sampling(guidance_scale=1.5, truncation_rate=0.9)
"""How the images of previews are sampled."""


def check_come_first(
    folder: Path, source: Source, stages: Iterable[str] = COME_FIRST, others: Iterable[Path] = ()
) -> None:
    """Raise `CheckpointError` unless the folder, or one of the others, has what they write."""
    for stage in stages:
        part, words = COME_FIRST[stage]
        if not any((place / part).is_dir() for place in (folder, *others)):
            data, out = (quote(str(path)) for path in (source.name, folder))
            raise CheckpointError(
                f"{folder} has no {words}; tokens and text come first: `vqlearn train "
                f"{stage} --data {data} --out {out}`; or take those of a checkpoint, for "
                "instance with --start-from scenes"
            )


class FrozenTokens:
    """The VQ-VAE of `run.folder`, on its device: it is read, never changed.

    Raises `CheckpointError` if the folder lacks it, and `ValueError` for images that its tokens do
    not fill.
    """

    stages: Iterable[str] = ("tokens",)
    """Those that write what is read."""
    parts: tuple[str, ...] = (VQVAE_FOLDER,)
    class_names: Sequence[str] | None = None
    """Those of the classes that captions name, if there are any."""

    def __init__(self, run: Run) -> None:
        self.device = run.accelerator.device
        check_come_first(run.folder, run.source, self.stages)
        self.vqvae = files.load_vqvae(run.folder).requires_grad_(False).to(self.device)
        self.num_codes = self.vqvae.config.num_vq_embeddings
        self.digest = record.digest_of(run.folder, self.parts)
        factor = self.vqvae.config.downsampling_factor
        check_parts("image_size", run.source.image_size, factor, "tokens a side")
        self.side = run.source.image_size // factor
        self.tokens = None

    def encode_once(self, run: Run) -> None:
        """Encode now what `read` shall only look up: all images and captions of a folder.

        Each process does it for itself. Scenes, which never end, stay as they are.
        """
        self.tokens = encode_images(self.vqvae, run)

    def read(self, batch: Batch) -> tuple[Int[Tensor, "b n"], Tensor | None]:
        """The tokens of the images, and what the network is told of the captions."""
        return self._tokens(batch), self.told(batch.captions)

    def told(self, captions: list[str]) -> Tensor | None:
        """What the network is told of these captions: nothing."""
        return None

    def _tokens(self, batch: Batch) -> Int[Tensor, "b n"]:
        if self.tokens is None:
            return self.vqvae.encode(batch.images)
        return self.tokens[batch.numbers].to(self.device, torch.long)


class Frozen(FrozenTokens):
    """The VQ-VAE and the text encoder of `run.folder`. Raises as `FrozenTokens` does."""

    stages = COME_FIRST
    parts = PARTS

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.encoder = files.load_text_encoder(run.folder).to(self.device)
        self.encoder.warn_if_cut(run.source.captions())
        self.captions = None

    def encode_once(self, run: Run) -> None:
        self.captions = encode_captions(self.encoder, run)
        super().encode_once(run)

    def told(self, captions: list[str]) -> Float[Tensor, "b l c"]:
        """The states of the captions."""
        if self.captions is None:
            return self.encoder(captions, warn=False)
        return self.captions.of(captions).to(self.device)

    def fresh_null_text(self) -> NullText:
        """States of "no caption" that still have to be learnt."""
        return NullText(NullTextConfig(True, self.encoder.width, self.encoder.length))

    @torch.no_grad()
    def null_text_of_empty_caption(self) -> NullText:
        """The same, starting from the states of the empty caption."""
        null_text = self.fresh_null_text()
        null_text.embeddings.copy_(self.encoder([""])[0])
        return null_text


class Captioned(nn.Module):
    """A token model, and the null embedding that learns together with it."""

    preview = PREVIEW

    def __init__(self, model: TokenModel, null_text: NullText) -> None:
        super().__init__()
        self.model, self.null_text = model, null_text

    def forward(
        self, x: Int[Tensor, "b n"], text: Float[Tensor, "b l c"], generator: torch.Generator
    ) -> Losses:
        """The loss of each sequence given its caption, nats per token: not yet their mean."""
        condition = self.condition(text, generator)
        return {"loss": self.model.loss(x, condition, generator=generator)}, None

    def condition(self, text: Float[Tensor, "b l c"], generator: torch.Generator) -> Conditioning:
        """The captions; one in ten is replaced by the null embedding."""
        null = self.null_text(len(text))
        return Conditioning(drop_captions(text, null, CAPTION_DROPOUT, generator=generator))

    def guided(self, text: Float[Tensor, "b l c"]) -> Conditioning:
        """The captions, and what guidance needs besides."""
        return Conditioning(text, self.null_text(1))


class CaptionedTask(Task):
    """The mean loss of a token model. Tokens and text are frozen.

    `config` is the user's choice; what is frozen decides the result as well. `recommended` goes
    into the checkpoint.
    """

    def __init__(
        self,
        run: Run,
        frozen: FrozenTokens,
        network: nn.Module,
        config: dict[str, Any],
        recommended: Sampling | None = None,
    ) -> None:
        self.run, self.frozen, self.recommended = run, frozen, recommended
        self.config = {**config, "tokens_and_text": frozen.digest}
        self.network = network.to(frozen.device)
        self.muon_weights = muon_weights(self.network)

    def begin(self) -> None:
        self.frozen.encode_once(self.run)

    def losses(self, network: nn.Module, batch: Batch, step: int) -> Losses:
        x, told = self.frozen.read(batch)
        values, seen = network(x, told, self.run.noise(step))
        return {name: value.mean() for name, value in values.items()}, seen

    def load(self) -> None:
        folder = self.run.folder
        self.network.model.load_state_dict(files.load_token_model(folder).state_dict())
        self.network.null_text.load_state_dict(files.load_null_text(folder).state_dict())

    def preview(self, trained: Captioned) -> Float[Tensor, "2 images 3 H W"]:
        """Images, and what the model draws to their captions."""
        batch = preview_batch(self.run.source)
        tokens = trained.model.sample(
            len(batch.captions),
            trained.guided(self.frozen.told(batch.captions)),
            sampling=trained.preview,
            generator=random_stream("preview noise"),
        )
        return torch.stack([batch.images, self.frozen.vqvae.decode(tokens).float().cpu()])

    def save(self, trained: Captioned) -> None:
        files.save_network(trained.null_text, self.run.folder)
        files.save_network(trained.model, self.run.folder)
        files.finish(self.run.folder, self.recommended)
