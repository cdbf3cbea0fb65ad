"""The counted network: what it predicts, what it counts, what it refuses."""

import numpy as np
import pytest
import torch
from support.challenge_toys import masks

from vqlearn import VQDiffusionPipeline
from vqlearn.challenge import CountedNetwork
from vqlearn.challenge.network import BUDGET
from vqlearn.probability import Sampling, guide

CAPTIONS = ["a large green ring", "a small red circle above a large blue square"]


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline.from_pretrained("scenes")


@pytest.fixture(scope="module")
def condition(pipeline):
    return pipeline.conditioning(CAPTIONS)


@pytest.fixture
def network(pipeline, condition):
    return CountedNetwork(pipeline.model, condition, torch.arange(384))


@pytest.fixture
def x_t():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 385, (2, 64), generator=generator)


@torch.no_grad()
def test_it_predicts_as_the_model_does_with_and_without_the_caption(
    pipeline, condition, network, x_t
):
    expected = pipeline.model.denoiser(condition)(x_t, 60)
    with_text, without = network(x_t, 60), network(x_t, 60, text=False)
    assert torch.equal(with_text, expected)
    torch.testing.assert_close(with_text.exp().sum(-1), torch.ones(2, 64))
    guided = pipeline.model.denoiser(condition, Sampling(guidance_scale=2.0))(x_t, 60)
    torch.testing.assert_close(guide(with_text, without, 2.0), guided, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(with_text, without, atol=0.1)
    assert network.evaluations == 2


@torch.no_grad()
def test_codes_may_have_other_numbers(pipeline, condition, network, x_t):
    """Code j is the model's code codes[j], in what is asked and in what is answered."""
    codes = torch.randperm(384, generator=torch.Generator().manual_seed(1))
    renumbered = CountedNetwork(pipeline.model, condition, codes)
    number_of = torch.cat([codes.argsort(), torch.tensor([384])])  # of each of the model's classes
    found = renumbered(number_of[x_t], 60)
    assert torch.equal(found[..., codes.argsort()], network(x_t, 60))
    assert not torch.equal(found, network(x_t, 60))


def test_every_image_has_a_caption_and_may_have_a_level_of_its_own(network):
    same = masks(2)
    first, second = network(same, 100)
    assert not torch.allclose(first, second, atol=0.1)
    each = network(same, torch.tensor([100, 3]))
    torch.testing.assert_close(each[0], first)
    assert not torch.allclose(each[1], second, atol=1e-3)


def test_the_budget_is_for_both_kinds_of_evaluations(network, x_t):
    for i in range(BUDGET):
        network(x_t, 1 + i, text=i % 2 == 0)
    for _ in range(2):
        with pytest.raises(ValueError, match="asked 10 times before; allowed: no more"):
            network(x_t, 50)
    assert network.evaluations == BUDGET


REFUSED = {
    "another length": (masks(2)[:, :63], 5, True),
    "more images": (masks(3), 5, True),
    "fewer images": (masks(1), 5, True),
    "no batch": (masks(2)[0], 5, True),
    "no code": (masks(2) + 1, 5, True),
    "below 0": (masks(2) - 385, 5, True),
    "half a code": (masks(2) - 0.5, 5, True),
    "not a number": (masks(2) * float("nan"), 5, True),
    "infinity": (masks(2) * float("inf"), 5, True),
    "level 0": (masks(2), 0, True),
    "level T + 1": (masks(2), 101, True),
    "half a level": (masks(2), 1.5, True),
    "levels for three": (masks(2), torch.ones(3), True),
    "levels in a square": (masks(2), torch.ones(2, 2), True),
    "text of 2": (masks(2), 5, 2),
    "text for each": (masks(2), 5, torch.ones(2)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_not_counted(name, network):
    with pytest.raises(ValueError, match="; allowed: "):
        network(*REFUSED[name])
    assert network.evaluations == 0
    assert network(masks(2), 100).isfinite().all()


@pytest.mark.parametrize("question", [[], [np.zeros(())], [np.zeros((2, 64))] * 4])
def test_what_is_no_question_is_refused(question, network):
    with pytest.raises(ValueError, match=r"asked with shapes .*; allowed: "):
        network.answer(question)
