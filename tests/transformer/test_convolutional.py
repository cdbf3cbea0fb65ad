"""Denoisers with a convolutional feed-forward: against the second implementation, and alone."""

from dataclasses import asdict, replace

import pytest
import torch
from official import files
from official.denoiser import denoise
from official.inputs import conditions, given
from official.sizes import FULL, SMALL
from support.convolutional import official_denoiser, official_state
from support.denoisers import random_inputs, spread_weights

from vqlearn.transformer import (
    ClassDenoiser,
    ClassDenoiserConfig,
    ConvolutionalTextDenoiser,
    DenoiserConfig,
    UnconditionalDenoiser,
)

NAMES = ("imagenet_pretrained", "imagenet_learnable", "ffhq", "cub_s")
SMALL_CLASS = ClassDenoiserConfig(2, 8, 2, 8, 4, 10, 8, num_classes=5)
SMALL_TEXT = DenoiserConfig(2, 8, 2, 6, True, 8, 3, 10)


@pytest.fixture
def denoiser():
    network = ClassDenoiser(SMALL_CLASS).double()
    spread_weights(network, 0)
    return network


def class_inputs(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randint(8, (batch, 16), generator=generator)
    t = torch.randint(1, 11, (batch,), generator=generator)
    return x_t, t, torch.randint(6, (batch,), generator=generator)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_same_logits_as_the_second_implementation(name, seed):
    """Within 1e-10 in float64, of the condition and of the null condition."""
    state, asked = official_state(SMALL[name], seed), given(SMALL[name])
    network = official_denoiser(SMALL[name], state)
    for condition in conditions(state, asked):
        is_text = asked.text is not None
        told = [] if condition is None else [condition.double() if is_text else condition]
        expected = denoise(state, asked.x_t, asked.t, *told)
        found = network(asked.x_t, asked.t + 1, *told)
        assert found.shape == (2, 16, 11)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_the_null_class_may_stand_beside_others_in_a_batch():
    """The second implementation cannot: there the first class decides for all."""
    sizes = SMALL["imagenet_pretrained"]
    state, asked = official_state(sizes, seed=0), given(sizes)
    network = official_denoiser(sizes, state)
    together = network(asked.x_t, asked.t + 1, torch.tensor([3, 1000]))
    for i, label in enumerate((3, 1000)):
        alone = denoise(state, asked.x_t[i : i + 1], asked.t[i : i + 1], torch.tensor([label]))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-10)


COUNTS = {  # in the file; what conversion adds (mean class), what it cuts off (rows of positions)
    "imagenet_pretrained": (518_025_678, 12_288, 12_288),
    "imagenet_learnable": (518_037_966, 0, 12_288),
    "ffhq": (411_185_664, 0, 12_288),
    "cub_s": (35_936_647, 0, 0),
}


@pytest.mark.parametrize("name", NAMES)
def test_number_of_weights_at_full_size(name):
    in_file, added, cut = COUNTS[name]
    _, ema = files.training_states(FULL[name], seed=None)
    found = {k: v for k, v in ema.items() if k.startswith("transformer.") and "mask" not in k}
    assert sum(value.numel() for value in found.values()) == in_file
    with torch.device("meta"):
        network = official_denoiser(FULL[name], found)
    assert sum(p.numel() for p in network.parameters()) == in_file + added - cut


def test_mixed_levels_and_classes_equal_one_by_one(denoiser):
    x_t, t, labels = class_inputs(6)
    together = denoiser(x_t, t, labels)
    for i in range(6):
        one = slice(i, i + 1)
        alone = denoiser(x_t[one], t[one], labels[one])
        torch.testing.assert_close(together[one], alone, rtol=1e-10, atol=1e-10)
    assert torch.equal(denoiser(x_t, 7, labels), denoiser(x_t, torch.full((6,), 7), labels))


def test_every_level_and_class_has_its_own_answer(denoiser):
    x_t, _, _ = class_inputs(1)
    answers = [denoiser(x_t, t, torch.tensor([y])) for t in (1, 2, 10) for y in range(6)]
    for i, one in enumerate(answers):
        assert all((one - other).abs().max() > 1e-3 for other in answers[:i])


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    x_t, _, _ = class_inputs(12)
    labels, t = torch.arange(12) % 6, 1 + torch.arange(12) % 10
    network = ClassDenoiser(SMALL_CLASS)
    network(x_t, t, labels).log_softmax(-1)[..., 0].mean().backward()
    for name, parameter in network.named_parameters():
        if name.endswith("key.bias"):  # adds the same score to every key: softmax ignores it
            assert parameter.grad.abs().max() < 1e-6
        else:
            assert parameter.grad.abs().max() > 0, name
        if name.endswith(("_embedding.weight", "row.weight", "column.weight")):
            assert (parameter.grad.abs().amax(dim=1) > 0).all(), name


def test_a_fresh_denoiser_is_nearly_undecided():
    torch.manual_seed(0)
    x_t, t, labels = class_inputs(4)
    log_p = ClassDenoiser(SMALL_CLASS)(x_t, t, labels).log_softmax(-1)
    assert (log_p + torch.tensor(7.0).log()).abs().max() < 0.5


@pytest.mark.parametrize("captions", [1, 2])
def test_quick_scores_of_the_text_kind_are_its_scores(captions):
    """Also those at some positions alone, although each sees its neighbours."""
    network = ConvolutionalTextDenoiser(SMALL_TEXT).double()
    spread_weights(network, 0)
    x_t, _, _ = random_inputs(SMALL_TEXT, batch=2, length=5)
    _, _, text = random_inputs(SMALL_TEXT, batch=2 * captions, length=5)
    prepared = network.prepared(text)
    expected = network(x_t.repeat(captions, 1), 4, text)
    torch.testing.assert_close(network.quick_scores(x_t, 4, prepared), expected)
    positions = torch.tensor([0, 5, 11, 17])
    found = network.quick_scores(x_t, 4, prepared, positions)
    expected = expected.unflatten(0, (captions, 2)).flatten(1, 2)[:, positions].flatten(0, 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_t": torch.zeros(2, 15, dtype=torch.long)}, "x_t has 15 positions; allowed: 16"),
        ({"x_t": torch.full((2, 16), 8)}, "x_t holds 8 to 8; allowed: 0 to 7"),
        ({"t": torch.tensor([0, 3])}, "t holds 0 to 3; allowed: 1 to 10"),
        ({"labels": torch.tensor([5, 6])}, "labels holds 5 to 6; allowed: 0 to 5"),
        ({"labels": torch.tensor([-1, 5])}, "labels holds -1 to 5; allowed: 0 to 5"),
    ],
)
def test_what_is_out_of_range_is_refused(denoiser, change, message):
    x_t, t, labels = class_inputs(2)
    with pytest.raises(ValueError, match=f"^{message}"):
        denoiser(**{"x_t": x_t, "t": t, "labels": labels, **change})


def test_values_are_not_read_on_other_devices():
    """The meta device has shapes and no values: reading one would raise, as a wait would cost."""
    network = ClassDenoiser(SMALL_CLASS).to("meta")
    assert network(*(x.to("meta") for x in class_inputs(2))).shape == (2, 16, 7)


def test_config_is_validated():
    with pytest.raises(ValueError, match="position_columns is 5; allowed: divisors of 16, the"):
        replace(SMALL_CLASS, position_columns=5)
    for name in asdict(SMALL_CLASS):
        with pytest.raises(ValueError, match=f"{name} is 0; allowed: whole numbers of"):
            replace(SMALL_CLASS, **{name: 0})


def test_without_classes_there_is_no_label_to_give():
    config = asdict(SMALL_CLASS)
    del config["num_classes"]
    network = UnconditionalDenoiser(ClassDenoiserConfig.__base__(**config))
    x_t, t, labels = class_inputs(2)
    assert network(x_t, t).shape == (2, 16, 7)
    with pytest.raises(TypeError):
        network(x_t, t, labels)
