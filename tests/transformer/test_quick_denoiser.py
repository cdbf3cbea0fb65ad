"""The denoiser in fewer operations: the scores of `forward`, at all positions or at some."""

from dataclasses import replace

import pytest
import torch
from support.denoisers import SMALL, random_inputs, spread_weights

from vqlearn.transformer.denoiser import Denoiser
from vqlearn.transformer.variants import CausalDenoiser


@pytest.fixture
def denoiser():
    network = Denoiser(SMALL).double()
    spread_weights(network, seed=0)
    return network


def test_scores_are_those_of_forward(denoiser):
    """Within 1e-11 in float64, with one level for all sequences or one for each."""
    x_t, t, text = random_inputs(SMALL, batch=3, length=4)
    prepared = denoiser.prepared(text)
    for level in (t, 7, 1, SMALL.num_embeds_ada_norm):
        wanted = denoiser(x_t, level, text)
        found = denoiser.quick_scores(x_t, level, prepared)
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
        assert not found.requires_grad


ASKED = [[4], [0, 13, 13, 26], [9, 10, 11, 12, 13, 14, 15, 16, 17, 20], list(range(27))]


@pytest.mark.parametrize("network", [Denoiser, CausalDenoiser])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("captions", [1, 2])
@pytest.mark.parametrize("positions", ASKED)
def test_positions_are_those_of_the_flattened_batch(network, layers, captions, positions):
    """Of three sequences with nine tokens each, with one caption or two for each of them."""
    denoiser = network(replace(SMALL, num_layers=layers)).double()
    spread_weights(denoiser, seed=0)
    x_t, _, _ = random_inputs(SMALL, batch=3, length=4)
    _, _, text = random_inputs(SMALL, batch=3 * captions, length=4)
    wanted = denoiser(x_t.repeat(captions, 1), 5, text).view(captions, 27, -1)[:, positions]
    prepared = denoiser.prepared(text)
    found = denoiser.quick_scores(x_t, 5, prepared, torch.tensor(positions))
    torch.testing.assert_close(found, wanted.flatten(0, 1), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("layers", [1, 3])
def test_several_captions_for_each_sequence(layers):
    """First one for each sequence, then the next; with one level for all, or one for each."""
    denoiser = Denoiser(replace(SMALL, num_layers=layers)).double()
    spread_weights(denoiser, seed=0)
    x_t, t, _ = random_inputs(SMALL, batch=2, length=4)
    _, _, text = random_inputs(SMALL, batch=6, length=4)
    for level in (t, 7):
        every = t.repeat(3) if level is t else level
        wanted = denoiser(x_t.repeat(3, 1), every, text)
        found = denoiser.quick_scores(x_t, level, denoiser.prepared(text))
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


def test_nothing_is_changed_by_asking(denoiser):
    x_t, _, text = random_inputs(SMALL, batch=2, length=4)
    before = {name: weight.clone() for name, weight in denoiser.state_dict().items()}
    prepared = denoiser.prepared(text)
    first = denoiser.quick_scores(x_t, 5, prepared)
    assert torch.equal(denoiser.quick_scores(x_t, 5, prepared), first)
    for name, weight in denoiser.state_dict().items():
        assert torch.equal(weight, before[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_in_other_dtypes_the_error_is_that_of_forward(dtype):
    """Beside the same weights in float64; scores have a spread of more than 1."""
    network = Denoiser(SMALL)
    spread_weights(network, seed=0)
    network = network.to(dtype)
    x_t, _, text = random_inputs(SMALL, batch=2, length=4)
    text = text.to(dtype)
    with torch.no_grad():
        plain = network(x_t, 5, text).double()
        quick = network.quick_scores(x_t, 5, network.prepared(text)).double()
        exact = network.double()(x_t, 5, text.double())
    assert exact.std() > 1
    error, known = (quick - exact).abs(), (plain - exact).abs()
    assert error.mean() <= 1.5 * known.mean()
    assert error.max() <= 3 * known.max()


def test_what_does_not_fit_is_refused(denoiser):
    x_t, _, text = random_inputs(SMALL, batch=2, length=4)
    prepared = denoiser.prepared(text)
    with pytest.raises(ValueError, match="the width of text is 5; allowed: 6"):
        denoiser.prepared(text[..., :5])
    for level in (0, 11):
        with pytest.raises(ValueError, match=f"t is {level}; allowed: "):
            denoiser.quick_scores(x_t, level, prepared)
    with pytest.raises(ValueError, match=r"the number of captions is 2; allowed: .* size, 3"):
        denoiser.quick_scores(x_t[[0, 1, 1]], 5, prepared)
    with pytest.raises(ValueError, match=r"positions is \[3, 1\]; allowed: ascending"):
        denoiser.quick_scores(x_t, 5, prepared, torch.tensor([3, 1]))
