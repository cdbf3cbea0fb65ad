"""The reader of text states: it finds what is there, and nothing in a bag of words."""

from types import SimpleNamespace

import pytest
import torch
from support.on_mps import OnMps

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve
from vqlearn.data.scenes.captions import VOCABULARY, parse
from vqlearn.data.scenes.world import COLOURS, SHAPES
from vqlearn.evaluation import text_probe as probe

END = 99


def first_of(caption):
    """The upper or left object of a caption, and whether the two lie one above the other."""
    said = parse(caption)
    in_order = said.relation in ("above", "left of")
    return said.objects[0 if in_order else 1], said.relation in ("above", "below")


def states_of(caption, knows_positions):
    if not knows_positions:
        words = caption.split()
        return [float(words.count(word)) for word in VOCABULARY]
    thing, vertical = first_of(caption)
    shape, colour = SHAPES.index(thing.shape), COLOURS.index(thing.colour)
    row = torch.zeros(len(SHAPES) + len(COLOURS) + 1)
    row[shape], row[len(SHAPES) + colour], row[-1] = 1.0, 1.0, float(vertical)
    return row.tolist()


class Encoder:
    """Three positions: START, then what it knows at END, then padding that looks like END."""

    tokenizer = SimpleNamespace(eos_token_id=END)

    def __init__(self, knows_positions):
        self.knows_positions = knows_positions

    def tokenize(self, captions):
        return torch.tensor([[0, END, END]] * len(captions))

    def __call__(self, captions):
        known = torch.tensor([states_of(caption, self.knows_positions) for caption in captions])
        return torch.stack([torch.zeros_like(known), known, torch.randn(known.shape)], dim=1)


def test_what_the_states_hold_is_read_without_a_fault():
    found = probe.text_probe(Encoder(knows_positions=True))
    for shares in found.values():
        assert shares == {"shape": 1.0, "colour": 1.0, "direction": 1.0}


def test_a_bag_of_words_knows_the_direction_and_guesses_between_the_two_objects():
    shares = probe.text_probe(Encoder(knows_positions=False))["seen"]
    assert shares["direction"] == 1.0
    assert 0.4 < shares["shape"] < 0.65
    assert 0.4 < shares["colour"] < 0.65


def test_states_on_mps_are_read_on_the_cpu():
    class There(Encoder):
        def __call__(self, captions):
            return super().__call__(captions).as_subclass(OnMps)

    shares = probe.text_probe(There(knows_positions=True))["seen"]
    assert shares == {"shape": 1.0, "colour": 1.0, "direction": 1.0}


@pytest.mark.parametrize("question", ["colour", "direction"])
def test_the_shipped_encoder_knows_which_object_is_where(question):
    encoder = files.load_text_encoder(resolve("scenes"))
    assert probe.text_probe(encoder)["seen"][question] > 0.95
