"""Correctors as they are used: calls, numbers of MASK tokens, given tokens, refusals."""

from itertools import pairwise

import pytest
import torch

from vqlearn.diffusion.exact.examples import chain
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.correctors import ForwardAndBack, ReMDM, log_forward
from vqlearn.diffusion.reveal.known_rules import ancestral, confidence, fixed_count, scheduled
from vqlearn.diffusion.reveal.rule import UnmaskingRule
from vqlearn.diffusion.sampler import all_masked
from vqlearn.diffusion.schedule import absorbing, build_schedule, paper
from vqlearn.probability.model import Given


def process_of(schedule, num_timesteps=8):
    return MaskAndReplace(build_schedule(schedule(3, num_timesteps)))


class Watched:
    """A model of a uniform network over 12 tokens that remembers what it was asked."""

    def __init__(self, schedule=absorbing):
        self.asked = []
        self.process = process_of(schedule)
        self.model = DiffusionModel(self.process, self.answer, num_positions=12)

    def answer(self, x_t, t):
        self.asked.append((x_t, t))
        return torch.zeros(*x_t.shape, 3)

    def masked(self):
        """The numbers of MASK tokens of every call."""
        return [(x_t == self.process.mask).sum(dim=-1) for x_t, _ in self.asked]

    def run(self, rule, given=None, count=40):
        x_t = all_masked(self.process, (count, 12))
        steps = self.model.steps(x_t, rule, given=given, generator=torch.Generator().manual_seed(0))
        return [x for _, x in steps]


@pytest.mark.parametrize("schedule", [absorbing, paper])
def test_forward_and_back_asks_twice_a_step_and_keeps_the_numbers(schedule):
    watched = Watched(schedule)
    left = [(x == 3).sum(dim=-1) for x in watched.run(ForwardAndBack(scheduled((2, 4, 6)), 2))]
    assert [set(number.tolist()) for number in left] == [{10}, {6}, {0}]
    steps, corrections = watched.masked()[::2], watched.masked()[1::2]
    assert [set(number.tolist()) for number in steps] == [{12}, {10}, {6}]
    for before, number in zip(corrections, (10, 6, 0), strict=True):
        assert (before >= number).all()
        assert (before > number).any()
    # Two levels above those of 10, 6 and 0 MASK tokens, but T at most.
    assert [t for _, t in watched.asked[1::2]] == [8, 6, 2]


def test_forward_masks_the_share_of_the_process():
    """480 tokens at level 0 go to level 2 of 8: 120 are masked, within 5 sigma (47)."""
    watched = Watched()
    watched.run(ForwardAndBack(fixed_count(12), 2))
    assert watched.masked()[1].sum().item() == pytest.approx(120, abs=48)


def test_remdm_asks_once_a_step_and_masks_again_what_it_pays_for():
    watched = Watched()
    states = [all_masked(watched.process, (40, 12)), *watched.run(ReMDM(fixed_count(3), 0.5))]
    assert [set(number.tolist()) for number in watched.masked()] == [{12}, {9}, {6}, {3}]
    again = [((before < 3) & (after == 3)).sum(dim=-1) for before, after in pairwise(states)]
    assert not again[0].any()  # nothing was shown
    assert again[1].float().mean().item() == pytest.approx(1.5, abs=0.7)  # 3 shown, half of them
    assert again[2].max() <= 3  # at most what is MASK after the step
    assert not again[3].any()


def test_remdm_of_all_tokens_is_capped():
    states = Watched().run(ReMDM(ancestral([8, 6, 4, 2, 0]), 1.0))
    for before, after in pairwise(states):
        shown = before < 3
        assert (after[shown] == 3).any() or not (after == 3).any()
    assert (states[-1] < 3).all()


@pytest.mark.parametrize("corrector", [ForwardAndBack, ReMDM])
def test_the_network_sees_the_given_tokens_in_every_call(corrector):
    watched = Watched()
    tokens = torch.randint(3, (40, 12), generator=torch.Generator().manual_seed(1))
    where = torch.rand(40, 12, generator=torch.Generator().manual_seed(2)) < 0.5
    where[0] = True
    rule = corrector(fixed_count(2), **({"sigma": 1.0} if corrector is ReMDM else {"levels_up": 8}))
    for x in watched.run(rule, Given(tokens, where)):
        assert torch.equal(x[where], tokens[where])
    for x_t, _ in watched.asked:
        assert torch.equal(x_t[where], tokens[where])
    assert any((x_t[~where] == 3).any() for x_t, _ in watched.asked[2:])


def test_a_finished_sequence_is_not_corrected_again():
    """The first one has a token to draw, the second eight: the first is done after one step."""
    watched = Watched()
    tokens, where = torch.zeros(2, 12, dtype=torch.long), torch.ones(2, 12, dtype=torch.bool)
    where[0, 0], where[1, :8] = False, False
    states = watched.run(ForwardAndBack(fixed_count(1), 8), Given(tokens, where), count=2)
    assert len(states) == 8
    assert all(torch.equal(x[0], states[0][0]) for x in states)


def test_a_corrector_is_a_rule_with_the_answers_of_its_rule():
    rule = confidence(2)
    corrected = ForwardAndBack(ReMDM(rule, 0.2), 3)
    assert isinstance(corrected, UnmaskingRule)
    assert corrected.draws_first
    assert corrected.how_many == rule.how_many
    assert (corrected.prediction, corrected.compatible) == (rule.prediction, None)


@pytest.mark.parametrize("schedule", [absorbing, paper])
def test_the_forward_step_is_that_of_the_process(schedule):
    """Its rows are the columns of `log_transition`."""
    process = process_of(schedule)
    x = torch.arange(4)[:, None]  # every class, as four sequences of one token
    s = torch.tensor([0, 1, 3, 6])
    for u in (torch.tensor([2, 4, 5, 8]), 7):
        forward = log_forward(process, x, s, u).exp()[:, 0]
        for row in range(4):
            t = u if isinstance(u, int) else int(u[row])
            column = process.log_transition(x, int(s[row]), t, dtype=torch.float64).exp()
            assert torch.allclose(forward[row], column[:, 0, row], atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ForwardAndBack(fixed_count(1), 0), ValueError, "levels_up is 0; allowed: 1 or"),
        (lambda: ReMDM(fixed_count(1), -0.1), ValueError, "sigma is -0.1; allowed: 0 to 1"),
        (lambda: ReMDM(fixed_count(1), 1.1), ValueError, "sigma is 1.1; allowed: 0 to 1"),
        (lambda: ReMDM(fixed_count(1), float("nan")), ValueError, "sigma is nan; allowed: 0 to 1"),
        (
            lambda: ReMDM(ForwardAndBack(fixed_count(1), 1), 0.1),
            TypeError,
            "rule is ForwardAndBack.*; allowed: a rule without a corrector",
        ),
        (
            lambda: log_forward(process_of(absorbing), torch.zeros(1, 2, dtype=torch.long), 3, 3),
            ValueError,
            "allowed: s below t",
        ),
        (
            lambda: DiffusionModel(
                process_of(absorbing), chain().denoiser(process_of(absorbing)), num_positions=4
            ).sample(1, rule=ReMDM(fixed_count(5), 0.1)),
            ValueError,
            "step is 5; allowed: 1 to 4",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
