"""What a linear map reads off the text encoder: which object is where, or only the words.

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


QUESTIONS: dict[str, Callable[[Scene], int]] = {
    "shape": lambda scene: SHAPES.index(first_object(scene).shape),
    "colour": lambda scene: COLOURS.index(first_object(scene).colour),
    "direction": lambda scene: int(scene.relation in ("above", "below")),
}
"""The right answer to each question: two ask for the first object, one if it lies above."""


@torch.no_grad()
def text_probe(encoder: TextEncoder) -> dict[str, dict[str, float]]:
    """Share of right answers of a linear reader, by composition and question.

    The reader is a least-squares fit to the states of the END token of 8,000 captions of seen
    pairs; it is tried on 1,500 others. The same encoder always gets the same numbers.
    """
    states, answers = _examples("seen", LEARNED_FROM, encoder)
    squares = states.T @ states + RIDGE * torch.eye(states.shape[1], dtype=torch.float64)
    readers = {
        name: torch.linalg.solve(squares, states.T @ F.one_hot(right).double())
        for name, right in answers.items()
    }
    shares = {}
    for composition in ("seen", "held_out"):
        states, answers = _examples(composition, TRIED_ON, encoder)
        found = {name: (states @ reader).argmax(dim=-1) for name, reader in readers.items()}
        right = {name: (found[name] == answers[name]).double().mean().item() for name in found}
        shares[composition] = {name: round(share, 4) for name, share in right.items()}
    return shares


def _examples(
    composition: Composition, count: int, encoder: TextEncoder
) -> tuple[Float[Tensor, "b c"], dict[str, Int[Tensor, " b"]]]:
    """The states of the END tokens of `count` captions, with a 1 for the constant; the answers."""
    generator = random_stream("text probe", composition, count)
    drawn = sample_scenes(2 * count, generator=generator, composition=composition)
    scenes = [scene for scene in drawn if scene.relation is not None][:count]
    captions = describe_all(scenes, generator=generator)
    parts = []
    for first in range(0, len(captions), CAPTIONS_AT_ONCE):
        some = captions[first : first + CAPTIONS_AT_ONCE]
        # Padding may be the same token as END; the first one counts.
        is_end = encoder.tokenize(some) == encoder.tokenizer.eos_token_id  # (b, l)
        states = encoder(some).cpu().double()  # (b, l, c)
        parts.append(states[torch.arange(len(some)), is_end.int().argmax(dim=-1)])
    answers = {
        name: torch.tensor([right(scene) for scene in scenes]) for name, right in QUESTIONS.items()
    }
    return F.pad(torch.cat(parts), (0, 1), value=1.0), answers
