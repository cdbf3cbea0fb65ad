"""What can be read off the text encoder: which object is where, or only which words there are?

A caption of two objects names them in either order ("a ring below a bar", "a bar above a ring").
Of the object that lies above or on the left, can a linear map of the text states tell the shape?
A bag of words cannot: it is right in half of the cases, by guessing between the two.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.data.scenes import Composition, Scene, SceneObject, describe_all, sample_scenes
from vqlearn.data.scenes.world import COLOURS, SHAPES
from vqlearn.probability import random_stream
from vqlearn.text import TextEncoder

LEARNED_FROM, TRIED_ON = 8000, 1500
CAPTIONS_AT_ONCE = 200
RIDGE = 1e-6


def first_object(scene: Scene) -> SceneObject:
    """Of two objects, the one that lies above the other or on its left."""
    first, second = scene.objects
    return first if scene.relation in ("above", "left of") else second


QUESTIONS: dict[str, tuple[int, Callable[[Scene], int]]] = {
    "shape": (len(SHAPES), lambda scene: SHAPES.index(first_object(scene).shape)),
    "colour": (len(COLOURS), lambda scene: COLOURS.index(first_object(scene).colour)),
    "direction": (2, lambda scene: int(scene.relation in ("above", "below"))),
}
"""Answers to each question, and the right one: of the first object, and whether one is above."""


@torch.no_grad()
def text_probe(encoder: TextEncoder) -> dict[str, dict[str, float]]:
    """Share of right answers of a linear reader, by composition and question.

    The reader is a least-squares fit to the states of the END token of 8,000 captions of seen
    pairs; it is tried on 1,500 others. The same encoder always gets the same numbers.
    """
    states, scenes = _states("seen", LEARNED_FROM, encoder)
    readers = {}
    for name, (answers, right) in QUESTIONS.items():
        wanted = F.one_hot(torch.tensor([right(scene) for scene in scenes]), answers).double()
        squares = states.T @ states + RIDGE * torch.eye(states.shape[1], dtype=torch.float64)
        readers[name] = torch.linalg.solve(squares, states.T @ wanted)
    return {
        composition: _tried(readers, *_states(composition, TRIED_ON, encoder))
        for composition in ("seen", "held_out")
    }


def _tried(
    readers: dict[str, Tensor], states: Float[Tensor, "b c"], scenes: list[Scene]
) -> dict[str, float]:
    shares = {}
    for name, (_, right) in QUESTIONS.items():
        wanted = torch.tensor([right(scene) for scene in scenes])
        said = (states @ readers[name]).argmax(dim=-1)
        shares[name] = round((said == wanted).double().mean().item(), 4)
    return shares


def _states(
    composition: Composition, count: int, encoder: TextEncoder
) -> tuple[Float[Tensor, "b c"], list[Scene]]:
    """The states of the END tokens, with a 1 for the constant, of `count` captions and scenes."""
    generator = random_stream("text probe", composition, count)
    drawn = sample_scenes(2 * count, generator=generator, composition=composition)
    scenes = [scene for scene in drawn if scene.relation is not None][:count]
    captions = describe_all(scenes, generator=generator)
    parts = []
    for first in range(0, len(captions), CAPTIONS_AT_ONCE):
        some = captions[first : first + CAPTIONS_AT_ONCE]
        states = encoder(some).double().cpu()
        parts.append(states[torch.arange(len(some)), end_positions(encoder, some)])
    states = torch.cat(parts)
    return torch.cat([states, torch.ones(len(states), 1, dtype=torch.float64)], dim=1), scenes


def end_positions(encoder: TextEncoder, captions: list[str]) -> Int[Tensor, " b"]:
    """At which position does each caption end? Padding may be the same token; the first counts."""
    ids = encoder.tokenize(captions)
    return (ids == encoder.tokenizer.eos_token_id).int().argmax(dim=-1)
