"""Captions and digits: their units, their floor and baselines, what is said of samples."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from vqlearn.data.characters import ALPHABET, END, LENGTH, caption_rows, decode, encode, is_real
from vqlearn.data.digit_images import binarised, digits
from vqlearn.data.scenes.captions import parse
from vqlearn.diffusion.kernels import neighbour_rates
from vqlearn.evaluation.caption_entropy import CaptionDistribution
from vqlearn.experiments import data, style
from vqlearn.experiments.data import Budget, Captions, DigitImages, EarlyStopping
from vqlearn.experiments.processes import letter_embeddings
from vqlearn.training.recipes import Recipe

TINY = Budget(Recipe(steps=2, batch_size=4, learning_rate=1e-6, ema_decay=0.9), 6, samples=5)
MANY = Budget(TINY.recipe, 400, samples=5)


def test_the_three_units_of_captions_are_one_cost():
    captions = Captions(TINY)
    nll = torch.linspace(50, 80, 6)
    found, real = captions.bits(nll), float(is_real(captions.test).sum())
    total = float(nll.sum()) / math.log(2)
    assert found["bits"].mean == pytest.approx(total / real, abs=1e-4)
    assert found["bits_per_position"].mean == pytest.approx(total / 6 / LENGTH, abs=1e-4)
    floor = captions.describe().floor_on_test
    assert found["bits_above_floor"].mean == pytest.approx(found["bits"].mean - floor, abs=2e-4)


def test_the_test_captions_cost_the_distribution_what_it_says():
    """Their own negative log-likelihood, caption by caption; many come near to the entropy."""
    captions, distribution = Captions(TINY), CaptionDistribution("seen")
    texts, facts = decode(captions.test), captions.describe()
    bits = -sum(distribution.log_probability(text) for text in texts) / math.log(2)
    per_character = bits / sum(len(text) + 1 for text in texts)
    assert facts.floor_on_test == pytest.approx(per_character, abs=1e-4)
    assert facts.floor == round(distribution.bits().per_character, 4)
    cost = Captions(MANY).bits(torch.zeros(400))["bits_above_floor"].mean
    assert -cost == pytest.approx(distribution.bits().per_character, rel=0.05)


@pytest.mark.parametrize(
    ("opened", "classes"),
    [
        (lambda: Captions(TINY), 25),
        (lambda: DigitImages(digits(), TINY), 17),
        (lambda: DigitImages(binarised(digits()), TINY), 2),
    ],
)
def test_the_baselines_lie_in_their_order(opened, classes):
    facts = opened().describe()
    bits = list(facts.baselines.values())
    assert bits[0] == round(math.log2(classes), 4)
    assert bits == sorted(bits, reverse=True)
    assert bits[-1] > (facts.floor or 0)


def test_the_baselines_count_as_many_captions_as_a_network_sees():
    captions = Captions(TINY)
    assert len(captions.train) == TINY.recipe.steps * TINY.recipe.batch_size
    assert not (captions.train[:6] == captions.test).all()


def test_the_data_would_be_accepted():
    rows = caption_rows(50, generator=torch.Generator().manual_seed(0), composition="seen")
    samples = Captions(TINY).samples(rows)
    assert samples.parsed.right == samples.possible.right == samples.parsed.total == 50
    assert len(samples.shown) == data.SHOWN


def test_parse_lets_more_pass_than_the_grammar_says():
    rows = encode(["a red circle on white", "a  red circle", "a orange ring", "a rde circle", ""])
    samples = Captions(TINY).samples(rows)
    assert (samples.parsed.right, samples.possible.right) == (3, 1)
    assert len(parse("a orange ring").objects) == 1


def test_digits_are_written_pixel_by_pixel():
    shown = DigitImages(digits(), TINY).samples(digits().test).shown
    images = style.to_grey(shown, 17)
    assert images.shape == (12, 1, 8, 8)
    assert ((1 - images).reshape(12, 64) * 16).round().tolist() == digits().test[:12].tolist()


@pytest.mark.parametrize("source", [digits(), binarised(digits())])
def test_digits_are_measured_on_held_out_images(source):
    stopping = replace(TINY, early_stopping=EarlyStopping(held_back=150, every=100))
    images = DigitImages(source, stopping)
    assert images.test.tolist() == source.test[:6].tolist()
    batch = images.rows(200, generator=torch.Generator().manual_seed(0))
    learnt = {tuple(row) for row in source.train[:-150].tolist()}
    assert {tuple(row) for row in batch.tolist()} <= learnt
    assert torch.equal(images.validation.sequences, source.train[-150:])
    assert images.validation.every == 100
    assert DigitImages(source, TINY).validation is None


def test_letters_are_alike_if_they_have_the_same_neighbours():
    """Counted by a loop; and vowels lie near vowels."""
    rows = caption_rows(300, generator=torch.Generator().manual_seed(0), composition="seen")
    following = torch.zeros(25, 25, dtype=torch.float64)
    before = torch.zeros(25, 25, dtype=torch.float64)
    for caption in decode(rows):
        letters = [ALPHABET.index(letter) for letter in caption] + [END]
        for first, second in pairwise(letters):
            following[first, second] += 1
            before[second, first] += 1
    counts = torch.cat(
        [part / part.sum(dim=1, keepdim=True).clamp(min=1) for part in (following, before)], dim=1
    )
    found = letter_embeddings(rows, 25)
    torch.testing.assert_close(found, counts.sqrt())
    assert following[END].sum() == 0
    vowels = [ALPHABET.index(letter) for letter in "aeiou"]
    near = neighbour_rates(found, 4)[vowels] > 0
    assert near[:, vowels].sum() > 2 * near.sum() * len(vowels) / 25
