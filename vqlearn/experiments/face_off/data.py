"""What every system is measured on: the same scenes, seen and held out, with their captions."""

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve
from vqlearn.evaluation.prompts import COMPOSITIONS, Evaluation, describe_accuracy, evaluated_scenes
from vqlearn.evaluation.scene_reader import agrees, prompt_accuracy, read

AT_ONCE = 100


def by_row(values: Float[Tensor, "b n"] | Bool[Tensor, "b n"]) -> list[float]:
    """The mean in each row of the square grid, from the top."""
    rows = rearrange(values, "b (r c) -> r (b c)", r=math.isqrt(values.shape[1]))
    return [round(mean, 4) for mean in rows.double().mean(dim=1).tolist()]


class Examples:
    """Scenes as tokens, their captions, and the states of these."""

    def __init__(self, x: Int[Tensor, "b n"], captions: list[str], text: Tensor) -> None:
        self.x, self.captions, self.text = x, captions, text


class TokenWorld:
    """The scenes of `vqlearn evaluate`, as tokens of the shipped VQ-VAE."""

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        shipped = resolve("scenes")
        self.device = device
        self.vqvae = files.load_vqvae(shipped).requires_grad_(False).eval().to(device)
        self.encoder = files.load_text_encoder(shipped).to(device)
        self.num_codes = self.vqvae.config.num_vq_embeddings
        self.examples = {name: self._examples(name, count) for name in COMPOSITIONS}

    def describe(self) -> dict[str, Any]:
        """What an image is, and how many captions come out right after a round trip."""
        examples = self.examples
        return {
            "unit": "bits per token",
            "num_codes": self.num_codes,
            "num_positions": examples["seen"].x.shape[1],
            "uniform guess": round(math.log2(self.num_codes), 4),
            "round trip": {name: self.right(each.x, each) for name, each in examples.items()},
        }

    @torch.no_grad()
    def right(self, x: Int[Tensor, "b n"], examples: Examples) -> dict[str, Any]:
        """How many of these rows, as images, show what their captions say?

        "right" of "total", their "share", those that are "unreadable"; and the shares by attribute.
        """
        found = describe_accuracy(prompt_accuracy(self.decode(x), examples.captions))
        short = {key: found[key] for key in ("right", "total", "share", "unreadable")}
        attributes = found["by_attribute"].items()
        return {**short, "by_attribute": {name: part["share"] for name, part in attributes}}

    @torch.no_grad()
    def shows(self, x: Int[Tensor, "b n"], examples: Examples) -> Bool[Tensor, " b"]:
        """Which of these rows, as images, show what their captions say?"""
        scenes = zip(read(self.decode(x)), examples.captions, strict=True)
        return torch.tensor([agrees(scene, caption) for scene, caption in scenes], device=x.device)

    @torch.no_grad()
    def decode(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b 3 h w"]:
        """The images that the tokens spell, RGB in 0 to 1."""
        return torch.cat([self.vqvae.decode(part) for part in x.split(AT_ONCE)])

    @torch.no_grad()
    def _examples(self, composition: str, count: int) -> Examples:
        scenes = evaluated_scenes(composition, Evaluation(prompts=count))
        parts = [self.vqvae.encode(part) for part in scenes.images.split(AT_ONCE)]
        return Examples(torch.cat(parts), scenes.captions, self.encoder(scenes.captions))
