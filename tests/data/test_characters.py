"""Captions as rows of characters: nothing is lost, and what does not fit is named."""

import pytest
import torch

from vqlearn.data.characters import (
    ALPHABET,
    END,
    LENGTH,
    LONGEST_CAPTION,
    NUM_CLASSES,
    caption_rows,
    caption_split,
    decode,
    encode,
    is_real,
)
from vqlearn.data.scenes.captions import describe_all, parse
from vqlearn.data.scenes.sampling import sample_scenes
from vqlearn.evaluation.caption_entropy import CaptionDistribution

LONGEST = (
    "an orange little triangle to the right of an orange little crescent against a white background"
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def captions(count=2000, composition="any"):
    scenes = sample_scenes(count, generator=seeded(), composition=composition)
    return describe_all(scenes, generator=seeded(1))


def test_what_is_encoded_is_read_back():
    made = captions()
    rows = encode(made)
    assert rows.shape == (2000, LENGTH)
    assert rows.dtype == torch.long
    assert decode(rows) == made
    assert torch.equal(encode(decode(rows)), rows)


def test_a_row_worked_out_by_hand():
    assert ALPHABET == " abcdefghiklmnopqrstuvwy"
    assert (END, NUM_CLASSES) == (24, 25)
    row = encode(["a bar"])[0]
    assert row[:7].tolist() == [1, 0, 2, 1, 17, 24, 24]
    assert (row[5:] == END).all()


def test_the_alphabet_is_what_occurs():
    """The rarest character is in about 2 % of captions: missed once in 10^17 seeds."""
    assert set("".join(captions())) == set(ALPHABET)
    assert list(ALPHABET) == sorted(set(ALPHABET))


def test_a_row_is_as_long_as_the_longest_caption_and_its_end():
    distribution = CaptionDistribution("any")
    assert len(LONGEST) == LONGEST_CAPTION == LENGTH - 1
    assert distribution.probability(LONGEST) > 0
    longest = {name: max(map(len, phrases)) for name, phrases in distribution.relations.items()}
    objects = [max(map(len, phrases)) for phrases in distribution.objects.values()]
    ends = max(map(len, distribution.backgrounds))
    assert 2 * max(objects) + max(longest.values()) + ends == LONGEST_CAPTION
    assert encode([LONGEST])[0, -2:].tolist() == [ALPHABET.index("d"), END]


def test_nothing_to_encode_is_no_row():
    assert encode([]).shape == (0, LENGTH)
    assert decode(encode([])) == []
    assert encode([""]).unique().tolist() == [END]
    assert decode(encode([""])) == [""]


def test_rows_of_a_model_are_read_up_to_the_first_end():
    row = encode(["a red bar"])
    row[0, 12] = 3
    assert decode(row) == ["a red bar"]
    assert decode(row[:, :5]) == ["a red"]


def test_real_positions_are_the_caption_and_one_end():
    made = captions(50)
    rows = encode(made)
    assert is_real(rows).sum(dim=-1).tolist() == [len(caption) + 1 for caption in made]
    assert is_real(torch.tensor([[1, END, 2, END]])).tolist() == [[True, True, False, False]]
    assert is_real(torch.tensor([[1, 2]])).all()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (["a red bar", "a röd bar"], "caption 1 holds 'ö' at position 3; allowed: ' abcdef"),
        (["a red Bar"], "caption 0 holds 'B' at position 6"),
        (["a Röd bar"], "caption 0 holds 'R' at position 2"),
        (["a\nbar"], r"caption 0 holds '\\n' at position 1"),
        ([LONGEST + "s"], "caption 0 has 95 characters; allowed: up to 94"),
    ],
)
def test_captions_that_do_not_fit_are_named(bad, words):
    with pytest.raises(ValueError, match=words):
        encode(bad)


@pytest.mark.parametrize("token", [-1, NUM_CLASSES])
def test_numbers_outside_the_alphabet_are_named(token):
    with pytest.raises(ValueError, match=f"{token}.*; allowed: 0 to 24"):
        decode(torch.tensor([[token]]))


def test_the_same_seed_gives_the_same_rows_and_composition_is_kept():
    first, again, other = (
        caption_rows(200, generator=seeded(seed), composition="held_out") for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    held_out = CaptionDistribution("held_out")
    assert all(held_out.probability(caption) > 0 for caption in decode(first))
    assert all(parse(caption) for caption in decode(first))


def test_the_two_parts_of_a_split_are_drawn_apart():
    train, test = caption_split(300, 200, seed=0, composition="seen")
    assert (len(train), len(test)) == (300, 200)
    again, other = (caption_split(300, 200, seed=seed, composition="seen") for seed in (0, 1))
    assert torch.equal(train, again[0])
    assert torch.equal(test, again[1])
    assert not torch.equal(train, other[0])
    as_long, _ = caption_split(200, 1, seed=0, composition="seen")
    assert not torch.equal(as_long, test)
