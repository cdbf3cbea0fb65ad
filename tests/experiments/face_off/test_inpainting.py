"""Errors in half an image, and one half given: against players whose answers are known."""

import pytest
import torch
from support.face_off_fakes import (
    CODES,
    COUNT,
    LEFT,
    TRUTH,
    WAY,
    Believer,
    FakeData,
    FakePlayer,
    N,
    all_of,
    copy_given,
    restore,
    trained,
)
from support.imagebart_toys import seeded

from vqlearn.experiments.face_off import inpainting as halves
from vqlearn.experiments.face_off.inpainting import AMOUNTS, ErrorEffect, HalfGiven


def measure(player, count=COUNT):
    return halves.measure_errors(trained(player), FakeData(count), WAY, AMOUNTS)


def be_moody(truth, start):
    """Row 0 restores all; 1 copies; 2 finds other errors; 3 copies, with another first lost one."""
    wrong = start.given & (start.x != truth)
    drawn = copy_given(truth, start)
    kind = torch.arange(len(truth)) % 4
    drawn[kind == 0] = truth[kind == 0]
    another = (start.x + torch.where((start.x + 1) % CODES == truth, 2, 1)) % CODES
    drawn = torch.where(wrong & (kind == 2)[:, None], another, drawn)
    first_lost = (~start.given).int().argmax(dim=1)
    for i in range(len(truth)):
        if kind[i] == 3 and wrong[i].any():
            drawn[i, first_lost[i]] = (truth[i, first_lost[i]] + 1) % CODES
    return drawn


def errors_of(answer):
    player = FakePlayer(answer, LEFT)
    return measure(player), player


def test_errors_of_one_that_restores_everything():
    found, _ = errors_of(restore)
    assert (found.untouched, found.left_share) == (
        all_of(COUNT),
        round(float(LEFT.double().mean()), 4),
    )
    effect = ErrorEffect(all_of(COUNT), replaced_share=1, corrected_share=1, changed_share=0)
    assert found.by_amount == dict.fromkeys(AMOUNTS, effect)


def test_errors_of_one_that_copies():
    found, player = errors_of(copy_given)
    accuracies = [found.untouched, *(each.accuracy for each in found.by_amount.values())]
    assert accuracies[0].right == COUNT
    assert accuracies[1].right == 0  # each sequence has its wrong token
    for accuracy, start in zip(accuracies, player.starts, strict=True):
        assert not (start.x == TRUTH)[~LEFT].any()  # what is lost is noise
        assert accuracy.right == int(((start.x == TRUTH) | ~LEFT).all(dim=1).sum())
    for each in found.by_amount.values():
        assert (each.replaced_share, each.corrected_share, each.changed_share) == (0, 0, 0)


def test_errors_of_one_that_does_something_else_with_every_row():
    found, player = errors_of(be_moody)
    assert found.untouched.right == COUNT
    assert found.by_amount["one"] == ErrorEffect(
        all_of(COUNT, right=2),  # sequences 0 and 4
        replaced_share=0.5,  # 0, 4 and 2, 6
        corrected_share=0.25,
        changed_share=round(2 / int((~LEFT).sum()), 4),  # one token each in 3 and 7
    )
    kind = torch.arange(COUNT) % 4
    for each, start in zip(found.by_amount.values(), player.starts[1:], strict=True):
        wrong = ((start.x != TRUTH) & LEFT).sum(dim=1)
        replaced, corrected = wrong[kind % 2 == 0].sum(), wrong[kind == 0].sum()
        changed = ((kind == 3) & (wrong > 0)).sum()
        assert each.replaced_share == round(float(replaced / wrong.sum()), 4)
        assert each.corrected_share == round(float(corrected / wrong.sum()), 4)
        assert each.changed_share == round(float(changed / (~LEFT).sum()), 4)
        assert each.accuracy.right == int(((wrong == 0) | (kind == 0)).sum())


def test_what_is_lost_is_compared_with_what_would_have_been_drawn():
    """It never finds what was lost, but draws the same with errors and without."""

    def answer(truth, start):
        return torch.where(start.given, start.x, (truth + 3) % CODES)

    found, _ = errors_of(answer)
    assert found.untouched.right == 0
    for each in found.by_amount.values():
        assert (each.accuracy.right, each.changed_share) == (0, 0)


def test_wrong_tokens_are_among_those_that_are_left_and_nothing_else_differs():
    """All starts of one player: same gaps, same random numbers, shares within 5 sigma."""
    many = 400
    player = FakePlayer(copy_given, LEFT)
    measure(player, many)
    parts = many // halves.AT_ONCE
    assert set(player.ways) == {WAY}
    for number in range(6):
        starts = player.starts[number * parts : (number + 1) * parts]
        x, given = (torch.cat([getattr(each, key) for each in starts]) for key in ("x", "given"))
        assert {(each.fixed, each.level) for each in starts} == {(False, 4)}
        assert torch.equal(given, LEFT.repeat(many // COUNT, 1))
        truth = TRUTH.repeat(many // COUNT, 1)
        assert (x == (truth + 1) % CODES)[~given].all()  # noise stays as it was
        wrong = (x != truth) & given
        if number == 0:
            assert not wrong.any()
        elif number == 1:
            assert (wrong.sum(dim=1) == 1).all()
        else:
            share = halves.SHARES[number - 2]
            sigma = (share * (1 - share) / int(given.sum())) ** 0.5
            assert abs(float(wrong[given].double().mean()) - share) < 5 * sigma
    numbers = torch.tensor(player.numbers).view(6, parts)
    assert (numbers == numbers[0]).all()
    assert len(set(player.numbers)) == parts


def test_rows_go_on_after_their_own_sentences_in_parts(monkeypatch):
    monkeypatch.setattr(halves, "AT_ONCE", 3)
    found, player = errors_of(be_moody)
    assert [len(each.x) for each in player.starts[:3]] == [3, 3, 2]
    assert found.untouched.right == COUNT


GRID = torch.arange(16).view(4, 4)
SETS = {
    "upper": {0, 1, 2, 3, 4, 5, 6, 7},
    "lower": {8, 9, 10, 11, 12, 13, 14, 15},
    "left": {0, 1, 4, 5, 8, 9, 12, 13},
    "right": {2, 3, 6, 7, 10, 11, 14, 15},
}


def test_halves_of_a_grid():
    for side, wanted in SETS.items():
        found = halves.half(side, 16)
        assert found.shape == (1, 16)
        assert set(found[0].nonzero()[:, 0].tolist()) == wanted
    for n in (16, 64, 25):
        for a, b in (("upper", "lower"), ("left", "right")):
            assert (halves.half(a, n) ^ halves.half(b, n)).all()


def test_directions_of_one_that_knows_two_of_them():
    """It restores what is below or right of something; else every third lost token is wrong."""

    def answer(truth, start):
        if start.given[0, 0]:
            return copy_given(truth, start)
        drawn = copy_given(truth, start)
        lost = (~start.given[0]).nonzero()[:, 0]
        drawn[1:, lost[:3]] = (truth[1:, lost[:3]] + 1) % CODES
        return drawn

    player = FakePlayer(answer)
    found = halves.measure_directions(trained(player), FakeData(), WAY, halves.SIDES)
    known = HalfGiven(all_of(COUNT), 1.0)
    not_known = HalfGiven(all_of(COUNT, right=1), round(1 - 7 * 3 / (8 * 8), 4))
    each = {"upper": known, "lower": not_known, "left": known, "right": not_known}
    assert found.by_composition == {"seen": each, "held_out": each}
    for start, side in zip(player.starts, halves.SIDES * 2, strict=True):
        assert (start.fixed, start.level) == (True, 5)
        for row in start.given:
            assert set(row.nonzero()[:, 0].tolist()) == SETS[side]
    for start, truth in zip(player.starts, 4 * [TRUTH] + 4 * [TRUTH.flip(0)], strict=True):
        assert torch.equal(start.x, torch.where(start.given, truth, (truth + 2) % CODES))
    assert len(set(player.numbers)) == 1
    assert player.hidden[:4] == player.hidden[4:]  # both compositions get the same noise
    assert len(set(player.hidden)) == 4
    assert set(player.ways) == {WAY}


def test_a_denoiser_says_how_probable_the_codes_of_wrong_tokens_are(monkeypatch):
    monkeypatch.setattr(halves, "AT_ONCE", 3)
    player = Believer(copy_given, LEFT)
    player.levels = []
    found = measure(player)
    assert set(player.levels) == {4}
    assert found.by_amount["one"].p_true_code == round(0.01 * 3.5, 4)  # one in each sequence
    for number, each in enumerate(found.by_amount.values(), start=1):
        x = torch.cat([start.x for start in player.starts[3 * number : 3 * number + 3]])
        row = ((x != TRUTH) & LEFT).nonzero()[:, 0].double()
        assert each.p_true_code == pytest.approx(float(0.01 * row.mean()), abs=1e-4)
        assert each.p_seen_code == 0.02
    others, _ = errors_of(copy_given)
    assert {each.p_true_code for each in others.by_amount.values()} == {None}


def test_nothing_is_chosen_where_nothing_is_left():
    left = torch.tensor([[False, False, False], [False, True, False]])
    for seed in range(20):
        for name in ("one", "1.0"):
            assert torch.equal(halves.choose(left, name, seeded(seed)), left)


def test_what_cannot_be_counted_is_none():
    """Nothing lost, or nothing left: a share of nothing is no number."""
    every = torch.ones(COUNT, N, dtype=torch.bool)
    found = measure(FakePlayer(copy_given, every))
    one = found.by_amount["one"]
    assert (found.left_share, one.replaced_share, one.changed_share) == (1.0, 0.0, None)
    found = measure(FakePlayer(copy_given, ~every))
    one = found.by_amount["one"]
    assert (one.replaced_share, one.corrected_share) == (None, None)
    assert (found.left_share, one.changed_share) == (0.0, 0.0)


def test_choose_takes_some_of_those_that_are_left():
    left = torch.rand(500, 20, generator=seeded(0)) < 0.5
    one = halves.choose(left, "one", seeded(1))
    assert (one.sum(dim=1) == 1).all()
    assert not (one & ~left).any()
    chances = one.double().sum(dim=0)  # every position alike: 25 expected, 5 sigma
    assert ((chances - 25).abs() < 5 * (500 * 0.05 * 0.95) ** 0.5).all()
    for share in (0.0, 0.2, 1.0):
        some = halves.choose(left, str(share), seeded(1))
        assert not (some & ~left).any()
        sigma = (share * (1 - share) / int(left.sum())) ** 0.5
        assert abs(float(some[left].double().mean()) - share) <= 5 * sigma


def test_a_spoilt_token_is_any_other_code():
    """Every other code as often: 5 sigma of 20,000."""
    x = torch.arange(5).repeat(20000, 1)
    wrong = torch.tensor([True, True, True, False, True]).expand_as(x)
    spoilt = halves.spoil(x, wrong, 5, seeded(0))
    assert torch.equal(spoilt == x, ~wrong)
    for code in (0, 1, 2, 4):
        counts = spoilt[:, code].bincount(minlength=5)
        others = counts[torch.arange(5) != code].double()
        assert ((others - 5000).abs() < 5 * (20000 * 0.25 * 0.75) ** 0.5).all()
