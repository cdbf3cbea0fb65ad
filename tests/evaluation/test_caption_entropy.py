"""The distribution of the captions, against every choice of the code that makes them."""

import math
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import product

import pytest
import torch
from scipy.stats import chisquare

from vqlearn.data.scenes import captions, world
from vqlearn.data.scenes import sampling as scenes
from vqlearn.data.scenes.captions import RELATION_WORDS, SIZE_WORDS, describe_all
from vqlearn.data.scenes.sampling import COMPOSITIONS, sample_scenes
from vqlearn.evaluation.caption_entropy import CaptionBits, CaptionDistribution

SAMPLES = 34_000


@cache
def distribution_of(composition):
    return CaptionDistribution(composition)


SAMPLING = f"""
import torch
from vqlearn.data.scenes.captions import describe_all
from vqlearn.evaluation.caption_entropy import CaptionDistribution
from vqlearn.data.scenes.sampling import COMPOSITIONS, sample_scenes

generator = torch.Generator().manual_seed(0)
for composition in COMPOSITIONS:
    distribution = CaptionDistribution(composition)
    scenes = sample_scenes({SAMPLES}, generator=generator, composition=composition)
    for caption in describe_all(scenes, generator=generator):
        print(composition, distribution.log_probability(caption), caption, sep="/")
"""


@pytest.fixture(scope="module")
def all_sampled():
    """102,000 captions and their log-probabilities, by a program of its own.

    There the annotations are not checked at every call, which takes ten times as long.
    """
    run = subprocess.run(
        [sys.executable, "-c", SAMPLING], capture_output=True, text=True, check=True
    )
    return [line.split("/") for line in run.stdout.splitlines()]


@pytest.fixture(params=COMPOSITIONS)
def sampled(all_sampled, request):
    """A distribution, 34,000 captions of it, and their log-probabilities."""
    mine = [
        (caption, float(log_p)) for name, log_p, caption in all_sampled if name == request.param
    ]
    made, log_p = zip(*mine, strict=True)
    assert len(made) == SAMPLES
    return distribution_of(request.param), made, torch.tensor(log_p, dtype=torch.float64)


SMALL_WORLDS = {  # the pairs that are seen, and those held out
    "seen": ((("red", "bar"), ("blue", "moon")), (("pink", "bar"),)),
    "held_out": ((("red", "bar"),), (("blue", "bar"), ("orange", "moon"))),
    "any": ((("red", "bar"),), (("orange", "moon"),)),
}


def shrink(monkeypatch, composition):
    """Two or three pairs, one word for most things, two backgrounds: all can be listed.

    Two relations of scenes, so that their inverses are only said where the order is turned round.
    """
    seen, held_out = SMALL_WORLDS[composition]
    first = {"seen": seen, "held_out": tuple(sorted(held_out)), "any": seen + held_out}
    monkeypatch.setattr(scenes, "FIRST_PAIRS", first)
    for module in (scenes, world):
        monkeypatch.setattr(module, "PAIRS", seen + held_out)
        monkeypatch.setattr(module, "TRAINING_PAIRS", seen)
        monkeypatch.setattr(module, "HELD_OUT_PAIRS", frozenset(held_out))
        monkeypatch.setattr(module, "BACKGROUNDS", ("white", "grey"))
        monkeypatch.setattr(module, "RELATIONS", ("above", "left of"))
    monkeypatch.setattr(captions, "BACKGROUND_PHRASES", ("on {}",))
    for table in (SIZE_WORDS, RELATION_WORDS):
        for name, words in table.items():
            monkeypatch.setitem(table, name, words[-1:])


def even(count):
    """Numbers in 0 to 1 that stand for `count` even choices, and their probabilities."""
    return [((i + 0.5) / count, Fraction(1, count)) for i in range(count)]


def share(part, inside, outside=1):
    """As `even`, for a choice with probability `part` that is followed by `inside` even ones."""
    exact = Fraction(str(part))
    return [(part * x, exact * p) for x, p in even(inside)] + [
        (part + (1 - part) * x, (1 - exact) * p) for x, p in even(outside)
    ]


ANY = [(0.5, Fraction(1))]  # a number that no word depends on
OBJECT = [even(2), share(0.8, 1), even(2)]  # shape word, size word, position of the size word
BACKGROUND = [share(0.6, 1), ANY]


def one_object(num_first):
    scene = [[(0.1, Fraction(3, 10))], even(2), even(num_first), ANY, ANY, even(2)]
    return scene + [ANY] * 4, [*OBJECT, *[ANY] * 5, *BACKGROUND]


def two_objects(num_first, num_second):
    scene = [[(0.9, Fraction(7, 10))], even(2), even(num_first), even(num_second), even(2)]
    scene += [even(2), even(2), even(2), ANY, ANY]
    return scene, [*OBJECT, *OBJECT, even(2), ANY, *BACKGROUND]


def rows_and_weights(columns):
    rows = list(product(*columns))
    values = torch.tensor([[value for value, _ in row] for row in rows], dtype=torch.float64)
    return values, [math.prod((p for _, p in row), start=Fraction(1)) for row in rows]


def scripted(monkeypatch, columns):
    """Let the generating code meet every combination of its choices, with these weights."""
    rows, weights = rows_and_weights(columns)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: rows)
    return weights


def listed_distribution(monkeypatch, composition):
    """The distribution by brute force: the generating code is run on every combination of its
    choices."""
    num_first, num_second = {"seen": (2, 1), "held_out": (2, 2), "any": (2, 1)}[composition]
    distribution = Counter()
    for scene_columns, word_columns in (
        one_object(num_first),
        two_objects(num_first, num_second),
    ):
        weights = scripted(monkeypatch, scene_columns)
        made = sample_scenes(len(weights), generator=torch.Generator(), composition=composition)
        together = Counter()
        for scene, weight in zip(made, weights, strict=True):
            together[scene] += weight
        weights = scripted(monkeypatch, word_columns)
        for scene, weight in together.items():
            said = describe_all([scene] * len(weights), generator=torch.Generator())
            for caption, p in zip(said, weights, strict=True):
                distribution[caption] += weight * p
    return distribution


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_in_a_small_world_the_distribution_is_that_of_the_generating_code(monkeypatch, composition):
    """Exact: fractions on both sides. The entropy is the plain sum over all captions."""
    shrink(monkeypatch, composition)
    listed = listed_distribution(monkeypatch, composition)
    distribution = CaptionDistribution(composition)
    assert sum(listed.values()) == 1
    assert len(listed) > 1000
    assert all(distribution.probability(caption) == p for caption, p in listed.items())
    bits = distribution.bits()
    plain = -math.fsum(p * math.log2(p) for p in listed.values())
    assert bits.per_caption == pytest.approx(plain, abs=1e-11)
    length = sum(p * (len(caption) + 1) for caption, p in listed.items())
    assert bits.characters == pytest.approx(float(length), abs=1e-11)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_every_choice_sums_to_exactly_one(composition):
    distribution = distribution_of(composition)
    tables = [
        distribution.counts,
        distribution.single,
        distribution.double,
        distribution.backgrounds,
    ]
    tables += [*distribution.objects.values(), *distribution.relations.values()]
    assert all(sum(table.values()) == 1 for table in tables)
    assert all(p > 0 for table in tables for p in table.values())


def test_no_two_ways_to_choose_phrases_give_one_sentence():
    """Else the entropy of the choices would be more than that of the captions."""
    distribution = distribution_of("any")
    for tables in (distribution.objects, distribution.relations):
        words = [phrase for table in tables.values() for phrase in table]
        assert len(set(words)) == len(words)
    objects = {phrase for table in distribution.objects.values() for phrase in table}
    links = [phrase for table in distribution.relations.values() for phrase in table]
    ends = [phrase for phrase in distribution.backgrounds if phrase]
    assert len(objects) == 968
    for text in objects:
        assert not any(link in f"{text} " for link in links)
        assert not any(text.endswith(end) for end in ends)
    for link, shorter in product(links, links):
        if link != shorter and link.endswith(shorter):
            left = link.removesuffix(shorter)
            assert not any(text.endswith(left) for text in objects)


def test_the_entropy_of_all_pairs_worked_out_by_hand():
    wording = 3 / 8 + 0.2 * math.log2(5) + 0.4 * math.log2(15) + 0.4 * math.log2(10)
    relation = 2 + (math.log2(3) + 1) / 2
    count = -0.3 * math.log2(0.3) - 0.7 * math.log2(0.7)
    background = 0.4 * math.log2(2.5) + 0.6 * math.log2(20)
    one, two = math.log2(64) + wording, math.log2(64 * 63) + 2 * wording + relation
    expected = count + 0.3 * one + 0.7 * two + background
    assert distribution_of("any").bits().per_caption == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("composition", "caption", "p"),
    [
        # how many, which pairs, named sizes and synonyms, [relation, its words], background
        ("any", "a red ring", "3/10 * 1/64 * 1/5 * 2/5"),
        ("any", "a tiny red ring", "3/10 * 1/64 * 4/5 * 1/2 * 1/3 * 1/2 * 2/5"),
        ("any", "an orange big disc on grey", "3/10 * 1/64 * 1/2 * 4/5 * 1/8 * 3/5 * 1/12"),
        ("any", "a red ring over a red bar", "7/10 * 1/64 * 1/63 * 1/25 * 1/4 * 1/3 * 2/5"),
        ("held_out", "a red ring", "0"),
        ("held_out", "a red square", "3/10 * 1/16 * 1/5 * 2/5"),
        ("held_out", "a red square over a red bar", "7/10 * 1/2016 * 1/25 * 1/4 * 1/3 * 2/5"),
        ("seen", "a red ring", "3/10 * 1/48 * 1/5 * 2/5"),
        ("seen", "a red square", "0"),
        ("seen", "a red square over a red bar", "0"),
        ("seen", "a red ring over a red bar", "7/10 * 1/48 * 1/47 * 1/25 * 1/4 * 1/3 * 2/5"),
    ],
)
def test_probabilities_worked_out_by_hand(composition, caption, p):
    distribution = distribution_of(composition)
    expected = math.prod(map(Fraction, p.split(" * ")))
    assert distribution.probability(caption) == expected
    log_p = math.log(expected) if expected else -math.inf
    assert distribution.log_probability(caption) == log_p


@pytest.mark.parametrize(
    "caption",
    [
        *("", "a", "a orange ring", "A red ring", "a red ring.", " a red ring", "a red  ring"),
        *("a small tiny red ring", "a red ring over a red ring", "a red ring on pink"),
        *("a red ring on grey on grey", "a red ring over", "over a red ring", "on grey"),
        *("a red ring over a red bar over a blue bar", "a red ring left of"),
        "a red ring to the left of to the left of a red bar",
    ],
)
def test_what_is_never_said_has_no_probability(caption):
    for composition in COMPOSITIONS:
        assert distribution_of(composition).log_probability(caption) == -math.inf


def test_an_unknown_composition_is_named():
    """`__wrapped__`: without the annotation check of the tests, as a user calls it."""
    plain = CaptionDistribution.__init__.__wrapped__
    with pytest.raises(ValueError, match="'new'; allowed: 'seen', 'held_out', 'any'"):
        plain(object.__new__(CaptionDistribution), "new")


def test_the_mean_surprise_of_samples_is_the_entropy(sampled):
    """5 standard errors: fails by chance less than once in 500,000 seeds (3 means)."""
    distribution, made, log_p = sampled
    nll = -log_p / math.log(2)
    error = float(nll.mean()) - distribution.bits().per_caption
    assert abs(error) < 5 * float(nll.std()) / SAMPLES**0.5
    lengths = torch.tensor([len(caption) + 1.0 for caption in made], dtype=torch.float64)
    error = float(lengths.mean()) - distribution.bits().characters
    assert abs(error) < 5 * float(lengths.std()) / SAMPLES**0.5


def test_one_over_the_probability_counts_the_sentences(sampled):
    """The mean of 1/p over samples is the number of captions with p > 0; 5 standard errors.

    Any p that is wrong by one factor for a share of the captions moves this mean.
    """
    distribution, _, log_p = sampled
    inverse = (-log_p).exp()
    wordings = {pair: len(phrases) for pair, phrases in distribution.objects.items()}
    links = {name: len(phrases) for name, phrases in distribution.relations.items()}
    one = sum(wordings[pair] for pair in distribution.single)
    two = sum(wordings[a] * wordings[b] * links[name] for a, b, name in distribution.double)
    sentences = (one + two) * len(distribution.backgrounds)
    assert abs(float(inverse.mean()) - sentences) < 5 * float(inverse.std()) / SAMPLES**0.5


def parts(distribution, caption):
    """The end of a caption, its link (or None), and its objects."""
    end = max((end for end in distribution.backgrounds if caption.endswith(end)), key=len)
    text = caption.removesuffix(end)
    links = [
        link for phrases in distribution.relations.values() for link in phrases if link in text
    ]
    link = max(links, key=len, default=None)
    return end, link, text.split(link) if link else [text]


def test_sampled_captions_occur_as_often_as_they_should(sampled):
    """Chi-square of four tables: a right distribution fails once in 80,000 seeds (12 tests, 1e-6
    each).

    The captions without a background of one object (others pooled), the pairs of two objects in
    the order in which they are said, the links, the ends.
    """
    distribution, made, _ = sampled
    short = {
        phrase: float(distribution.probability(phrase))
        for pair in distribution.single
        for phrase in distribution.objects[pair]
    }
    said, links, ends = Counter(), Counter(), Counter()
    pair_of = {phrase: pair for pair, phrases in distribution.objects.items() for phrase in phrases}
    for caption in made:
        end, link, texts = parts(distribution, caption)
        ends[end] += 1
        if link:
            links[link] += 1
            said[tuple(pair_of[text] for text in texts)] += 1
    pairs, link_distribution = Counter(), Counter()
    for (first, second, name), p in distribution.double.items():
        pairs[first, second] += float(p)
        for link, q in distribution.relations[name].items():
            link_distribution[link] += float(p * q)
    short["others"] = 1 - sum(short.values())
    sentences = Counter(caption if caption in short else "others" for caption in made)
    for counts, expected in (
        (sentences, short),
        (said, pairs),
        (links, link_distribution),
        (ends, {end: float(p) for end, p in distribution.backgrounds.items()}),
    ):
        assert set(counts) <= set(expected)
        total = sum(counts.values())
        found = [counts[name] for name in expected]
        assert chisquare(found, [total * p for p in expected.values()]).pvalue > 1e-6


def test_bits_by_three_conventions():
    bits = CaptionBits(per_caption=19.0, characters=38.0)
    assert bits.per_character == 0.5
    assert bits.per_position == 0.2
