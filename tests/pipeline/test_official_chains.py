"""Whole chains of class-conditional and unconditional models against the second implementation.

Its sampler is that of the original code: noise and posterior in float32. The networks are in
float64, so that no rounding of theirs decides a token.
"""

import pytest
import torch
from official import sampling as official
from support.convolutional import official_pipeline

from vqlearn.diffusion.reference import _ReferenceSteps, reference_log_p_x0
from vqlearn.probability import ClassConditioning, Sampling

NULL, MASK, T = 1000, 11, 100
CLASSES = [3, 999]
MODELS = ("imagenet_pretrained", "imagenet_learnable", "ffhq")
CHAINS = [
    *((name, 1.0, rate) for name in MODELS for rate in (1.0, 0.86)),
    *((name, scale, rate) for name in MODELS[:2] for scale, rate in ((1.5, 1.0), (3.0, 0.86))),
    *((name, 5.0, 1.0) for name in MODELS[:2]),
]


def told(name):
    """The condition of the two images and the null condition, as the second implementation has."""
    if name == "ffhq":
        return None, None
    return torch.tensor(CLASSES), torch.full((2,), NULL)


def uniforms(seed):
    """The noise of a generator in the order in which we draw it; no step to x_0 draws MASK."""
    generator = torch.Generator().manual_seed(seed)
    for t in range(T, 0, -1):
        drawn = torch.rand(2, MASK + (t > 1), 16, generator=generator).mT
        yield drawn if t > 1 else torch.nn.functional.pad(drawn, (0, 1), value=0.5)


def chain_of(pipe, name, seed, **options):
    """The tokens after every step of the pipeline's call."""
    seen = []
    options["generator"] = torch.Generator().manual_seed(seed)
    options["callback"] = lambda i, timestep, tokens: seen.append(tokens)
    if name == "ffhq":
        pipe(num_images=2, noise="reference", **options)
    else:
        pipe(CLASSES, noise="reference", **options)
    return seen


@pytest.mark.parametrize(("name", "scale", "rate"), CHAINS)
def test_same_tokens_for_the_same_noise(name, scale, rate):
    """All 100 steps. Every truncation, guidance and null decides some of the tokens."""
    pipe, state = official_pipeline(name)
    condition, null = told(name)
    options = {} if name == "ffhq" else {"guidance_scale": scale}
    found = chain_of(pipe, name, 7, truncation_rate=rate, **options)
    predict = official.predictor(state, condition, null=null, scale=scale, rate=rate)
    expected = [x for _, x in official.reverse_steps(state, predict, uniforms(7))]
    assert len(found) == len(expected) == T
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
    assert (found[-1] != found[49]).any()
    if (scale, rate) != (1.0, 1.0):
        plain = official.predictor(state, condition)
        assert not torch.equal(official.sample(state, plain, uniforms(7)), found[-1])


def states_on_the_way(name):
    """x_t and t of some steps of an official chain."""
    pipe, state = official_pipeline(name)
    condition, null = told(name)
    predict = official.predictor(state, condition)
    x_t = torch.full((2, 16), MASK)
    for step, (_, x_s) in enumerate(official.reverse_steps(state, predict, uniforms(3))):
        if step % 9 == 0:
            yield pipe, state, condition, null, x_t, T - step
        x_t = x_s


@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_of_each_step(name):
    """Within 1e-5 of the official ones: repeated with their rounding, and our own, normalised."""
    for pipe, state, condition, _, x_t, t in states_on_the_way(name):
        level = torch.full((2,), t - 1)
        log_p_x0 = official.predict_x0(state, x_t, level, condition)
        expected = official.reverse(state, log_p_x0, x_t, level)
        asked = None if condition is None else ClassConditioning(condition)
        exact = pipe.model.denoiser(asked)(x_t, t)
        ours = pipe.process.log_reverse(exact, x_t, t - 1, t)
        torch.testing.assert_close(
            ours.float().clamp(min=-30), expected.clamp(min=-30), rtol=0, atol=1e-5
        )  # below lies what its floors make of 0
        if t > 1:
            steps = _ReferenceSteps(pipe.schedule, x_t.device)
            scores = pipe.model.scores(asked, guided=False)(x_t, t).mT
            repeated = reference_log_p_x0(scores, guidance_scale=None, truncation_rate=1.0)
            found = steps.log_posterior(repeated, x_t, t).mT.clamp(official.FLOOR, 0)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.5, 3.0, 5.0])
@pytest.mark.parametrize("name", MODELS[:2])
def test_guided_predictions(name, scale):
    """Within 1e-5, with the mean class and with the learned null class."""
    for pipe, state, condition, null, x_t, t in states_on_the_way(name):
        predict = official.predictor(state, condition, null=null, scale=scale)
        expected = predict(x_t, torch.full((2,), t - 1))[..., :-1]
        asked = ClassConditioning(condition, NULL)
        found = pipe.model.denoiser(asked, Sampling(scale))(x_t, t)
        torch.testing.assert_close(found.float().clamp(-70, 0), expected, rtol=0, atol=1e-5)
