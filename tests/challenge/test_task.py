"""The task: prompts and seeds follow from a word, and what a sampler scores."""

import re

import pytest
import torch
from support.challenge_toys import EXAMPLES, masks, small_task, unmask_all_at_once

from vqlearn.challenge import ScenesTask, TaskScore, score
from vqlearn.data.scenes import parse, render
from vqlearn.data.scenes.world import HELD_OUT_PAIRS
from vqlearn.evaluation.diversity import Diversity, true_pairs
from vqlearn.evaluation.frontier import Point


@pytest.fixture(scope="module")
def public():
    return small_task()


PUBLIC_PROMPTS = {
    "seen": [
        "a little green ring below a pink big cross",
        "a little cyan cross",
        "a large yellow square to the left of a large blue disc",
    ],
    "held_out": [
        "a pink ring against a grey background",
        "a purple big cross",
        "a large orange disc over a large purple plus",
    ],
}


def pairs_of(caption):
    return {(thing.colour, thing.shape) for thing in parse(caption).objects}


def test_the_public_prompts_are_always_the_same_and_a_word_has_its_own():
    """A leaderboard compares what was scored years apart."""
    whole, other = ScenesTask(), ScenesTask("a word")
    assert [len(captions) for captions in whole.captions.values()] == [100, 100]
    assert {kind: captions[:3] for kind, captions in whole.captions.items()} == PUBLIC_PROMPTS
    assert small_task().captions == PUBLIC_PROMPTS
    assert set(whole.captions["seen"]) - set(other.captions["seen"])
    held_out = set(HELD_OUT_PAIRS)
    assert all(pairs_of(caption) & held_out for caption in whole.captions["held_out"])
    assert not any(pairs_of(caption) & held_out for caption in whole.captions["seen"])


def test_every_batch_has_another_seed_and_order_of_codes_and_a_word_has_its_own():
    seeds, orders = [], []

    def note(batch):
        seeds.append(batch.seed)
        orders.append(tuple(batch.codes.tolist()))
        stream = torch.Generator().manual_seed(batch.seed)  # which the submission has
        assert not torch.randperm(384, generator=stream).equal(batch.codes)
        return masks(batch.num_images) * 0

    for word in ("public", "public", "a word"):
        small_task(word).score(note)
    for numbers in (seeds, orders):
        assert numbers[:4] == numbers[4:8]
        assert len(set(numbers)) == 8
    assert all(sorted(order) == list(range(384)) for order in orders)


def test_true_scenes_score_and_wrong_ones_do_not(public):
    """An image of each prompt in each batch, in the order of the prompts."""
    stream, batches = torch.Generator().manual_seed(0), []
    for captions in public.captions.values():
        drawn = true_pairs([parse(caption) for caption in captions], generator=stream)
        for scenes in zip(*drawn, strict=True):
            batches.append(public.pipeline.vqvae.encode(render(list(scenes), image_size=32)))
    rest = iter(batches)
    found = public.score(lambda batch: batch.codes.argsort()[next(rest)])
    assert found.both.right_images == "2" * 6
    assert found.both.accuracy.value == 1
    assert {kind: each.accuracy.value for kind, each in found.by_composition.items()} == {
        "seen": 1,
        "held_out": 1,
    }
    assert found.diversity.value > 0
    rest = iter(batches)
    wrong = public.score(lambda batch: batch.codes.argsort()[next(rest)].roll(1, 0))
    assert wrong.both.accuracy.value < 0.5
    rest = iter(batches)
    wrong = public.score(lambda batch: next(rest))  # the model's own numbers mean something else
    assert wrong.both.accuracy.value < 0.5


def test_the_most_evaluations_of_a_batch_are_told(public):
    counts = iter([1, 3, 2, 1])

    def ask(batch):
        for _ in range(next(counts)):
            tokens = batch.network(masks(batch.num_images), 100).argmax(-1)
        return tokens

    assert public.score(ask).evaluations == 3


NO_TOKENS = {
    "too few": lambda count: masks(count - 1) * 0,
    "another length": lambda count: masks(count)[:, 1:] * 0,
    "negative": lambda count: masks(count) * 0 - 1,
    "halves": lambda count: masks(count) / 768,
    "not a number": lambda count: masks(count) * float("nan"),
    "a number": lambda count: 3,
    "None": lambda count: None,
    "words": lambda count: "tokens",
    "of several shapes": lambda count: (masks(count) * 0, torch.zeros(3)),
    "two tensors": lambda count: (masks(count) * 0, masks(count) * 0),
}


def test_tokens_that_are_still_masked_are_counted(public):
    with pytest.raises(ValueError, match=r"unmask left 192 tokens MASK \(384\); allowed: none"):
        public.score(lambda batch: masks(batch.num_images))


@pytest.mark.parametrize("name", NO_TOKENS)
def test_what_are_no_tokens_is_refused(name, public):
    with pytest.raises(ValueError, match=r"^[^\n]*unmask returned [^\n]*; allowed: [^\n]*$"):
        public.score(lambda batch: NO_TOKENS[name](batch.num_images))


def test_score_runs_a_function_with_the_seed_and_leaves_torchs_own():
    drawn = []

    def unmask(network, num_images):
        drawn.append(torch.rand(()).item())
        return unmask_all_at_once(network, num_images)

    before = torch.random.get_rng_state()
    first, again = score(unmask, prompts=2), score(unmask, prompts=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first == again
    assert first.evaluations == 1
    assert len(first.both.right_images) == 4
    assert drawn[:4] == drawn[4:]
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("prompts", [0, 101])
def test_there_are_a_hundred_prompts_of_each_kind(prompts):
    with pytest.raises(ValueError, match=r"prompts is .*; allowed: "):
        ScenesTask(prompts=prompts)


def test_the_page_says_how_a_function_is_scored_in_a_notebook(capsys):
    page = (EXAMPLES / "README.md").read_text("utf-8")
    code = page.partition("from vqlearn.challenge import score\n")[2].partition("```")[0]
    exec(code, {"score": score, "unmask": unmask_all_at_once})
    expected = r"\d.\d% of the images are right \(0.0% to .*never seen .*, 1 evaluations\n"
    assert re.fullmatch(expected, capsys.readouterr().out)


def test_a_score_is_told_in_one_line():
    kinds = {"seen": Point("2211", {}), "held_out": Point("1100", {})}
    spread = {"all": Diversity(0.516, (0.4, 0.6), 2)}
    found = TaskScore(Point("22111100", spread), kinds, 10)
    assert str(found) == (
        "50.0% of the images are right (21.5% to 78.5%; pairs seen 75.0%, never seen 25.0%), "
        "diversity 0.52, 10 evaluations"
    )
    assert repr(found) == str(found)
    assert "diversity unknown" in str(TaskScore(Point("22111100", {}), kinds, 10))
