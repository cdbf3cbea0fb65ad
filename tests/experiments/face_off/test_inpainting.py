"""Errors in half an image, and one half given: against models whose answers are known."""

from dataclasses import replace

import pytest
import torch
from support.face_off_fakes import (
    CODES,
    COUNT,
    GUIDED,
    MASK,
    TRUTH,
    Believer,
    FakeData,
    FakeModel,
    all_of,
    copy_given,
    measure,
    restore,
)

from vqlearn.experiments.face_off import halves, inpainting
from vqlearn.experiments.face_off.inpainting import (
    SHARES,
    SIDES,
    DirectionsRun,
    ErrorEffect,
    ErrorsRun,
    HalfGiven,
)

NEVER = {"p_true_code": 0.0, "p_seen_code": 0.0}  # what a fake model says of codes


def errors_of(answer, count=COUNT):
    model = FakeModel(answer)
    return measure(ErrorsRun("a", 0), model, FakeData(count)), model


def be_moody(truth, start):
    """0 restores all; 1 copies; 2 finds other errors; 3 copies, but for one unknown token."""
    errors = start.known & (start.x != truth)
    sampled = copy_given(truth, start)
    kind = torch.arange(len(truth)) % 4
    sampled[kind == 0] = truth[kind == 0]
    another = (start.x + torch.where((start.x + 1) % CODES == truth, 2, 1)) % CODES
    sampled = torch.where(errors & (kind == 2)[:, None], another, sampled)
    first_unknown = (~start.known).int().argmax(dim=1)
    for i in range(len(truth)):
        if kind[i] == 3 and errors[i].any():
            sampled[i, first_unknown[i]] = (truth[i, first_unknown[i]] + 1) % CODES
    return sampled


def test_errors_of_one_that_restores_everything():
    found, model = errors_of(restore)
    known = float(model.starts[0].known.double().mean())
    assert (found.untouched, found.left_share) == (all_of(COUNT), round(known, 4))
    shares = {"replaced_share": 1.0, "corrected_share": 1.0, "changed_share": 0.0, **NEVER}
    assert all(
        replace(each, changed_share_by_row=None) == ErrorEffect(all_of(COUNT), **shares)
        for each in found.by_amount.values()
    )


def test_errors_of_one_that_copies():
    found, model = errors_of(copy_given)
    accuracies = [found.untouched, *(each.accuracy for each in found.by_amount.values())]
    assert accuracies[0].right == COUNT
    assert accuracies[1].right == 0  # each sequence has its error
    for accuracy, start in zip(accuracies, model.starts, strict=True):
        assert accuracy.right == int(((start.x == TRUTH) | ~start.known).all(dim=1).sum())
    for each in found.by_amount.values():
        assert (each.replaced_share, each.corrected_share, each.changed_share) == (0, 0, 0)


def test_errors_of_one_that_does_something_else_with_every_sequence():
    found, model = errors_of(be_moody)
    known = model.starts[0].known
    corrupted = int((~known).sum())
    assert found.untouched.right == COUNT
    assert replace(found.by_amount["one"], changed_share_by_row=None) == ErrorEffect(
        all_of(COUNT, right=2),  # sequences 0 and 4
        replaced_share=0.5,  # 0, 4 and 2, 6
        corrected_share=0.25,
        changed_share=round(2 / corrupted, 4),  # one token each in 3 and 7
        **NEVER,
    )
    kind = torch.arange(COUNT) % 4
    for each, start in zip(found.by_amount.values(), model.starts[1:], strict=True):
        errors = ((start.x != TRUTH) & known).sum(dim=1)
        replaced, corrected = errors[kind % 2 == 0].sum(), errors[kind == 0].sum()
        changed = ((kind == 3) & (errors > 0)).sum()
        assert each.replaced_share == round(float(replaced / errors.sum()), 4)
        assert each.corrected_share == round(float(corrected / errors.sum()), 4)
        assert each.changed_share == round(float(changed / corrupted), 4)
        assert each.accuracy.right == int(((errors == 0) | (kind == 0)).sum())


def test_what_is_corrupted_is_compared_with_what_would_have_been_sampled():
    """It never finds what was corrupted, but samples the same with errors and without."""

    def answer(truth, start):
        return torch.where(start.known, start.x, (truth + 3) % CODES)

    found, _ = errors_of(answer)
    assert found.untouched.right == 0
    for each in found.by_amount.values():
        assert (each.accuracy.right, each.changed_share) == (0, 0)


def test_errors_are_among_those_that_are_known_and_nothing_else_differs():
    """All starts of one model: same gaps, same random numbers, shares within 5 sigma."""
    many = 400
    _, model = errors_of(copy_given, many)
    truth, whole = TRUTH.repeat(many // COUNT, 1), [start.x for start in model.starts]
    known = whole[0] != MASK
    for share, x in zip((0, "one", *SHARES), whole, strict=True):
        assert torch.equal(x != MASK, known)
        errors = (x != truth) & known
        if share == "one":
            assert (errors.sum(dim=1) == 1).all()
        else:
            sigma = (share * (1 - share) / int(known.sum())) ** 0.5
            assert abs(float(errors[known].double().mean()) - share) <= 5 * sigma
    assert len(set(model.numbers)) == 1
    assert set(model.ways) == {GUIDED}
    assert not any(start.held for start in model.starts)


POSITIONS = {
    "upper": {0, 1, 2, 3, 4, 5, 6, 7},
    "lower": {8, 9, 10, 11, 12, 13, 14, 15},
    "left": {0, 1, 4, 5, 8, 9, 12, 13},
    "right": {2, 3, 6, 7, 10, 11, 14, 15},
}


def test_directions_of_one_that_knows_two_of_them():
    """It restores what is below or right of something; else three corrupted tokens are wrong."""

    def answer(truth, start):
        sampled = copy_given(truth, start)
        if not start.known[0, 0]:
            corrupted = (~start.known[0]).nonzero()[:, 0]
            sampled[1:, corrupted[:3]] = (truth[1:, corrupted[:3]] + 1) % CODES
        return sampled

    model = FakeModel(answer)
    found = measure(DirectionsRun("a", 0), model)
    known = HalfGiven(all_of(COUNT), 1.0)
    not_known = HalfGiven(all_of(COUNT, right=1), round(1 - 7 * 3 / (8 * 8), 4))
    each = {"upper": known, "lower": not_known, "left": known, "right": not_known}
    assert found == {"seen": each, "held_out": each}
    for start, side in zip(model.starts, SIDES * 2, strict=True):
        assert start.held
        assert {tuple(row.nonzero()[:, 0].tolist()) for row in start.known} == {
            tuple(sorted(POSITIONS[side]))
        }
    assert len(set(model.numbers)) == 1


def test_a_denoiser_says_how_probable_the_codes_of_errors_are():
    model = Believer(copy_given)
    model.seen_levels = []
    found = measure(ErrorsRun("a", 0), model)
    assert set(model.seen_levels) == {1}  # half of the tokens are masks at level 1 of 2
    assert found.by_amount["one"].p_true_code == round(0.01 * 3.5, 4)  # one in each sequence
    for each, start in zip(found.by_amount.values(), model.starts[1:], strict=True):
        sequence = ((start.x != TRUTH) & start.known).nonzero()[:, 0].double()
        assert each.p_true_code == pytest.approx(float(0.01 * sequence.mean()), abs=1e-4)
        assert each.p_seen_code == 0.02


@pytest.mark.parametrize("is_known", [True, False])
def test_what_cannot_be_counted_is_none(is_known, monkeypatch):
    """Nothing corrupted, or nothing known: a share of nothing is no number."""

    corrupt_half = halves.corrupt_half

    def corrupt(model, x, generator):
        half = corrupt_half(model, x, generator)
        return replace(half, known=torch.full_like(half.known, is_known))

    monkeypatch.setattr(halves, "corrupt_half", corrupt)
    monkeypatch.setattr(inpainting, "code_probabilities", lambda *given: {})
    found, _ = errors_of(copy_given)
    one = found.by_amount["one"]
    shares = (one.replaced_share, one.corrected_share, one.changed_share)
    assert [share is None for share in shares] == [not is_known, not is_known, is_known]
    assert found.left_share == float(is_known)
