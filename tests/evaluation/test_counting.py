"""Counted distributions: proper, equal to a plain reading of their formula, above the floor."""

import math
from collections import Counter

import pytest
import torch
from einops import rearrange

from vqlearn.data.characters import LENGTH, caption_split, decode, encode
from vqlearn.data.digit_images import binarised, digits
from vqlearn.data.rgb import rgb_scenes
from vqlearn.evaluation.caption_entropy import CaptionDistribution
from vqlearn.evaluation.counting import (
    counted_probability,
    grid_bits,
    ngram_bits,
    rgb_bits,
)

K = 5


@pytest.fixture(scope="module")
def split():
    return caption_split(2000, 500, seed=0, composition="seen")


def random_tokens(count, classes=K, seed=0):
    return torch.randint(classes, (count,), generator=torch.Generator().manual_seed(seed))


def test_after_any_contexts_the_probabilities_sum_to_one():
    """Also after contexts that were never counted, and for tokens that never occurred."""
    tokens = random_tokens(300, classes=K - 1)
    contexts = [tokens * 0, random_tokens(300, 4, 1), random_tokens(300, 90, 2)]
    after = [torch.zeros(50, dtype=torch.long), random_tokens(50, 8, 3), random_tokens(50, 200, 4)]
    p = torch.stack(
        [
            counted_probability((tokens, contexts), (torch.full((50,), token), after), K)
            for token in range(K)
        ]
    )
    assert (p.sum(dim=0) - 1).abs().max() < 1e-14
    assert (p > 0).all()


def test_three_tokens_worked_out_by_hand():
    r"""Tokens 0 0 1 of 2 in one context: T = 2, p(0) = (2 + 2/2) / 5."""
    one = torch.zeros(3, dtype=torch.long)
    tokens = torch.tensor([0, 0, 1])
    p = counted_probability((tokens, [one]), (torch.tensor([0, 1]), [one[:2]]), 2)
    assert p.tolist() == [3 / 5, 2 / 5]
    longer = torch.tensor([7, 7, 9])
    asked = (torch.tensor([0, 0, 0]), [one, torch.tensor([7, 9, 8])])
    p = counted_probability((tokens, [one, longer]), asked, 2)
    assert p.tolist() == pytest.approx([(2 + 3 / 5) / 3, (3 / 5) / 2, 3 / 5], abs=1e-15)


def plain_ngram_bits(train, test, order, num_classes):
    """The formula read aloud, on strings: counters of what follows what."""
    after = {m: {} for m in range(order)}
    for text in train:
        marked = "^" * (order - 1) + text + "$"
        for position in range(order - 1, len(marked)):
            for m in range(order):
                seen = after[m].setdefault(marked[position - m : position], Counter())
                seen[marked[position]] += 1
    total = characters = 0
    for text in test:
        marked = "^" * (order - 1) + text + "$"
        for position in range(order - 1, len(marked)):
            p = 1 / num_classes
            for m in range(order):
                seen = after[m].get(marked[position - m : position])
                if seen:
                    p = (seen[marked[position]] + len(seen) * p) / (seen.total() + len(seen))
            total -= math.log2(p)
            characters += 1
    return total / len(test), characters / len(test)


@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_ngrams_are_those_of_the_plain_formula(split, order):
    train, test = (rows[:200] for rows in split)
    bits = ngram_bits(train, test, order)
    expected, characters = plain_ngram_bits(decode(train), decode(test), order, 25)
    assert bits.per_caption == pytest.approx(expected, rel=1e-12)
    assert bits.characters == characters
    assert bits.per_position == pytest.approx(expected / LENGTH, rel=1e-12)


def test_longer_contexts_cost_less_and_none_is_below_the_floor(split):
    """The floor is what the true distribution pays for the same captions."""
    distribution = CaptionDistribution("seen")
    floor = -sum(distribution.log_probability(text) for text in decode(split[1])) / len(split[1])
    costs = [ngram_bits(*split, order).per_caption for order in range(1, 7)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] < math.log2(25) * 50
    assert costs[-1] > floor / math.log(2)


def test_test_rows_teach_nothing():
    """A caption of one character that the training caption lacks costs more than chance."""
    train = encode(["a red bar"])
    unseen, seen = (ngram_bits(train, rows, 2) for rows in (encode(["yyyy"]), train))
    assert unseen.per_caption > 5 * math.log2(25)
    assert seen.per_caption < 10 * math.log2(25) / 3


@pytest.mark.parametrize("order", [0, -1, 14])
def test_orders_that_cannot_be_counted_are_named(split, order):
    with pytest.raises(ValueError, match=f"order is {order}; allowed: 1 to 13"):
        ngram_bits(*split, order)


def test_the_highest_order_is_counted_without_overflow(split):
    train, test = (rows[:50] for rows in split)
    expected, _ = plain_ngram_bits(decode(train), decode(test), 13, 25)
    assert ngram_bits(train, test, 13).per_caption == pytest.approx(expected, rel=1e-12)


def test_no_rows_are_refused(split):
    with pytest.raises(ValueError, match="the number of sequences is 0; allowed: 1 or more"):
        ngram_bits(split[0][:0], split[1], 2)
    with pytest.raises(ValueError, match="the number of sequences is 0; allowed: 1 or more"):
        ngram_bits(split[0], split[1][:0], 2)


@pytest.mark.parametrize("token", [-1, K])
def test_tokens_outside_the_classes_are_named(token):
    zero = torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match=f"{token}.*; allowed: 0 to 4"):
        counted_probability((torch.tensor([token]), [zero]), (zero, [zero]), K)
    with pytest.raises(ValueError, match=f"{token}.*; allowed: 0 to 4"):
        counted_probability((zero, [zero]), (torch.tensor([token]), [zero]), K)


def pixel_bits(data, neighbours):
    return grid_bits(data.train, data.test, data.num_classes, neighbours=neighbours)


def plain_digit_bits(data, neighbours):
    counts = {}

    def contexts(row, position):
        left = row[position - 1] if position % 8 else "edge"
        above = row[position - 8] if position >= 8 else "edge"
        if neighbours:
            return [(), ("l", left), (left, above), (left, above, position)]
        return [(), ("place", position)]

    for row in data.train.tolist():
        for position, token in enumerate(row):
            for context in contexts(row, position):
                counts.setdefault(context, Counter())[token] += 1
    total = 0.0
    for row in data.test.tolist():
        for position, token in enumerate(row):
            p = 1 / data.num_classes
            for context in contexts(row, position):
                seen = counts.get(context)
                if seen:
                    p = (seen[token] + len(seen) * p) / (seen.total() + len(seen))
            total -= math.log2(p)
    return total / data.test.numel()


@pytest.mark.parametrize("neighbours", [False, True])
def test_digits_cost_what_the_plain_formula_says(neighbours):
    for data in (digits(), binarised(digits())):
        expected = plain_digit_bits(data, neighbours)
        assert pixel_bits(data, neighbours) == pytest.approx(expected, rel=1e-12)


def test_neighbours_help_and_both_are_better_than_generator():
    for data in (digits(), binarised(digits())):
        alone, together = (pixel_bits(data, n) for n in (False, True))
        assert together < alone < math.log2(data.num_classes)


def plain_rgb_bits(train, test, neighbours):
    counts = {}

    def contexts(row, i):
        if not neighbours:
            return [(), ("place", i)]
        colour, pixel = i % 3, i // 3
        own = (colour, *row[i - colour : i])
        left = row[i - 3] if pixel % 2 else "edge"
        above = row[i - 6] if pixel >= 2 else "edge"
        return [(), (colour,), ("own", *own), ("left", *own, left), ("above", *own, left, above)]

    for row in train:
        for i, token in enumerate(row):
            for context in contexts(row, i):
                counts.setdefault(context, Counter())[token] += 1
    total = 0.0
    for row in test:
        for i, token in enumerate(row):
            p = 1 / 256
            for context in contexts(row, i):
                seen = counts.get(context)
                if seen:
                    p = (seen[token] + len(seen) * p) / (seen.total() + len(seen))
            total -= math.log2(p)
    return total / (len(test) * len(test[0]))


@pytest.mark.parametrize("neighbours", [False, True])
def test_colours_cost_what_the_plain_formula_says(neighbours):
    """Images of 2 x 2 pixels with few levels, so that every context is met again."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([0, 7, 255])
    rows = levels[torch.randint(3, (600, 12), generator=generator)]
    rows[:, 1::3] = rows[:, 0::3]  # green follows red
    train, test = rows[:500], rows[500:]
    expected = plain_rgb_bits(train.tolist(), test.tolist(), neighbours)
    assert rgb_bits(train, test, neighbours=neighbours) == pytest.approx(expected, rel=1e-12)


def test_colours_of_scenes_are_guessed_from_their_neighbours():
    rows = rgb_scenes(400, 8, generator=torch.Generator().manual_seed(0), composition="seen")
    alone, together = (rgb_bits(rows[:300], rows[300:], neighbours=n) for n in (False, True))
    assert together < alone / 4 < 2


def test_grids_of_another_side_cost_what_digits_cost():
    """An image of 4 x 4 with the same pixels as the middle of a digit has contexts of its own."""
    data = digits()
    parts = (rearrange(rows, "b (h w) -> b h w", h=8) for rows in (data.train, data.test))
    train, test = (rearrange(part[:, 2:6, 2:6], "b h w -> b (h w)") for part in parts)
    by_position = grid_bits(train, test, 17, neighbours=False)
    counts = [Counter(train[:, position].tolist()) for position in range(16)]
    overall = Counter(train.flatten().tolist())
    total = 0.0
    for row in test.tolist():
        for position, token in enumerate(row):
            p = (overall[token] + len(overall) / 17) / (overall.total() + len(overall))
            seen = counts[position]
            total -= math.log2((seen[token] + len(seen) * p) / (seen.total() + len(seen)))
    assert by_position == pytest.approx(total / test.numel(), rel=1e-12)
    assert grid_bits(train, test, 17, neighbours=True) < by_position
