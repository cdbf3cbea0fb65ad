"""The evaluated scenes as tokens, and what is said of them."""

import math

import pytest
from torch.testing import assert_close

from vqlearn.evaluation.prompts import Evaluation, evaluated_scenes
from vqlearn.experiments import tokens as shipped
from vqlearn.experiments.tokens import EvaluatedTokens


@pytest.fixture(scope="module")
def tokens():
    return EvaluatedTokens(6)


def test_the_scenes_are_those_of_evaluate(tokens):
    """Tokens, captions and states belong together; most images survive their tokens."""
    for name, examples in tokens.examples.items():
        scenes = evaluated_scenes(name, Evaluation(prompts=6))
        assert examples.captions == scenes.captions
        assert_close(examples.text, tokens.encoder(scenes.captions))
        assert (tokens.decode(examples.x) - scenes.images).abs().mean() < 0.03
        found = tokens.accuracy(examples.x, examples.captions)
        assert found.right >= 5
        assert (found.total, found.unreadable) == (6, 0)
        assert tokens.accuracy(examples.x.roll(1, 0), examples.captions).right <= 2
    attributes = ("count", "colour", "shape", "size", "relation", "background")
    assert set(found.by_attribute) == set(attributes)
    facts = tokens.describe()
    assert facts.baselines == {"uniform guess": round(math.log2(384), 4)}
    assert facts.num_positions == 64
    assert facts.round_trip["held_out"] == found


def test_sequences_that_show_their_caption_are_those_that_count_as_right(tokens):
    """One by one, with some captions that belong to others."""
    examples = tokens.examples["seen"]
    captions = [*examples.captions[:3], *examples.captions[:2], examples.captions[5]]
    found = tokens.shows(examples.x, captions)
    alone = [
        tokens.accuracy(examples.x[i : i + 1], [caption]).right
        for i, caption in enumerate(captions)
    ]
    assert found.long().tolist() == alone
    assert 0 < sum(alone) < 6


def test_images_are_decoded_in_their_order(tokens, monkeypatch):
    expected = tokens.decode(tokens.examples["seen"].x)
    monkeypatch.setattr(shipped, "AT_ONCE", 4)
    assert_close(tokens.decode(tokens.examples["seen"].x), expected, atol=1e-5, rtol=0)
    assert 0 <= expected.min() <= expected.max() <= 1


def test_tokens_are_stored_as_text(tokens):
    x = tokens.examples["seen"].x
    shown = shipped.tokens_as_text(x, 4)
    assert shipped.tokens_from_text(shown).tolist() == x[:4].tolist()
