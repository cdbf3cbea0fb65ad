"""Scenes as tokens of the shipped VQ-VAE: measured, sampled, and read for what was asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints import resolve
from vqlearn.data.scenes import Composition
from vqlearn.evaluation import Evaluation, evaluated_scenes, scene_reader
from vqlearn.evaluation.prompts import COMPOSITIONS
from vqlearn.experiments.data import SHOWN
from vqlearn.experiments.report import DIGITS, Facts
from vqlearn.probability import Conditioning, Sampling, TokenModel

AT_ONCE = 100
"""Sequences in one batch: a network and the random numbers of a run see them in these parts."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Scenes as tokens, their captions, and the text states of these."""

    x: Int[Tensor, "b n"]
    captions: list[str]
    text: Float[Tensor, "b l c"]


@dataclass(frozen=True)
class Trained:
    """A system after its training, the null embedding, and the number of all weights.

    It sees `AT_ONCE` sequences at a time.
    """

    model: TokenModel
    null: Float[Tensor, "1 l c"]
    weights: int

    def sample(
        self, examples: Examples, sampling: Sampling, generator: torch.Generator
    ) -> Int[Tensor, "b n"]:
        """One sequence for each caption."""
        how, parts = {"sampling": sampling, "generator": generator}, examples.text.split(AT_ONCE)
        conditions = [Conditioning(text, self.null) for text in parts]
        return torch.cat([self.model.sample(len(each), each, **how) for each in conditions])

    def nll(self, examples: Examples, generator: torch.Generator) -> Float[Tensor, " b"]:
        """Negative log-likelihood of each sequence given its caption, or a bound: nats."""
        parts = zip(examples.x.split(AT_ONCE), examples.text.split(AT_ONCE), strict=True)
        return torch.cat(
            [self.model.nll(x, Conditioning(text), generator=generator) for x, text in parts]
        )


class ShippedTokens:
    """The frozen parts that all systems share: images to tokens and back, captions to states."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device, self.shipped = device, resolve("scenes")
        self.vqvae = files.load_vqvae(self.shipped).requires_grad_(False).eval().to(device)
        self.encoder = files.load_text_encoder(self.shipped).to(device)
        self.num_codes = self.vqvae.config.num_vq_embeddings

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Int[Tensor, "b n"]:
        """The tokens of images in 0 to 1."""
        return torch.cat(
            [self.vqvae.encode(part) for part in images.to(self.device).split(AT_ONCE)]
        )

    @torch.no_grad()
    def examples_of(self, images: Float[Tensor, "b 3 h w"], captions: list[str]) -> Examples:
        """Their tokens and their captions, for models of tokens."""
        starts = range(0, len(captions), AT_ONCE)
        text = [self.encoder(captions[start : start + AT_ONCE]) for start in starts]
        return Examples(self.encode(images), captions, torch.cat(text))

    def evaluated(self, composition: Composition, count: int) -> Examples:
        """The first scenes of `vqlearn evaluate`."""
        scenes = evaluated_scenes(composition, Evaluation(prompts=count))
        return self.examples_of(scenes.images, scenes.captions)

    @torch.no_grad()
    def decode(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 h w"]:
        """The images that they stand for, RGB in 0 to 1."""
        return torch.cat([self.vqvae.decode(part) for part in tokens.split(AT_ONCE)])

    def accuracy(self, tokens: Int[Tensor, "b n"], captions: list[str]) -> scene_reader.Accuracy:
        """How many of these sequences, as images, show what their captions say?"""
        return scene_reader.prompt_accuracy(self.decode(tokens), captions)

    def shows(self, tokens: Int[Tensor, "b n"], captions: list[str]) -> Bool[Tensor, " b"]:
        """Which of them do?"""
        scenes = zip(scene_reader.read(self.decode(tokens)), captions, strict=True)
        found = [scene_reader.agrees(scene, caption) for scene, caption in scenes]
        return torch.tensor(found, device=tokens.device)


class EvaluatedTokens(ShippedTokens):
    """The scenes of `vqlearn evaluate`, as tokens of the shipped VQ-VAE."""

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self.examples = {name: self.evaluated(name, count) for name in COMPOSITIONS}

    def describe(self) -> Facts:
        """What an image is, and how many captions come out right after a round trip."""
        return Facts(
            unit="bits per token",
            num_codes=self.num_codes,
            num_positions=self.examples["seen"].x.shape[1],
            baselines={"uniform guess": round(math.log2(self.num_codes), DIGITS)},
            round_trip={
                name: self.accuracy(each.x, each.captions) for name, each in self.examples.items()
            },
        )


def by_grid_row(values: Float[Tensor, "b n"] | Bool[Tensor, "b n"]) -> tuple[float, ...]:
    """The mean in each row of the square grid, from the top."""
    rows = rearrange(values, "b (r c) -> r (b c)", r=math.isqrt(values.shape[1]))
    return tuple(round(mean, DIGITS) for mean in rows.double().mean(dim=1).tolist())


def tokens_as_text(x: Int[Tensor, "b n"], count: int = SHOWN) -> tuple[str, ...]:
    """The first sequences as numbers with spaces between, as they are stored."""
    return tuple(" ".join(map(str, row)) for row in x[:count].tolist())


def tokens_from_text(shown: Sequence[str]) -> Int[Tensor, "b n"]:
    """The inverse of `tokens_as_text`."""
    return torch.tensor([list(map(int, row.split())) for row in shown])
