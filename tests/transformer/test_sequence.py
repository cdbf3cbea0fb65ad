"""The denoiser of sequences without text."""

from dataclasses import asdict, replace

import pytest
import torch
from einops import rearrange

from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser

SMALL = SequenceConfig(
    num_codes=5,
    num_classes=6,
    num_positions=9,
    num_timesteps=10,
    width=16,
    num_layers=2,
    num_heads=2,
)


def spread_weights(module, seed):
    """Large random weights everywhere, biases and norms included, so that no term is hidden."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(0.5 * noise + 0.1)
    return module


@pytest.fixture
def denoiser():
    return spread_weights(SequenceDenoiser(SMALL).double(), 0)


def random_inputs(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randint(6, (batch, 9), generator=generator)
    return x_t, torch.randint(1, 11, (batch,), generator=generator)


def test_same_logits_as_the_denoiser_without_a_caption(denoiser):
    """Within 1e-10: its cross-attention is put to 0, its rows and columns are our positions."""
    config = DenoiserConfig(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        cross_attention_dim=3,
        attention_bias=True,
        num_vector_embeds=6,
        sample_size=3,
        num_embeds_ada_norm=10,
    )
    with_text = spread_weights(Denoiser(config).double(), 1)
    embedding = with_text.token_embedding
    with torch.no_grad():
        for block in with_text.blocks:
            for parameter in block.cross_attention.output.parameters():
                parameter.zero_()
        positions = embedding.row.weight[:, None] + embedding.column.weight[None]
        weights = with_text.state_dict() | {
            "token_embedding.weight": embedding.token.weight,
            "position_embedding.weight": rearrange(positions, "r c d -> (r c) d"),
        }
    shared = {name: weights[name] for name in denoiser.state_dict()}
    denoiser.load_state_dict(shared)
    x_t, t = random_inputs(4)
    expected = with_text(x_t, t, torch.randn(4, 2, 3, dtype=torch.float64))
    assert expected.shape == (4, 9, 5)
    torch.testing.assert_close(denoiser(x_t, t), expected, rtol=1e-10, atol=1e-10)


def test_mixed_levels_equal_one_by_one(denoiser):
    x_t, _ = random_inputs(4)
    t = torch.tensor([1, 10, 4, 7])
    together = denoiser(x_t, t)
    for i in range(4):
        alone = denoiser(x_t[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-10)


def test_one_level_stands_for_all(denoiser):
    x_t, _ = random_inputs(3)
    assert torch.equal(denoiser(x_t, 7), denoiser(x_t, torch.full((3,), 7)))


def test_each_level_has_its_own_answer(denoiser):
    x_t, _ = random_inputs(1)
    answers = [denoiser(x_t, torch.tensor([t])) for t in range(1, 11)]
    for t in range(9):
        assert (answers[t] - answers[t + 1]).abs().max() > 1e-3


def test_positions_are_told_apart(denoiser):
    """In another order the same tokens get other answers; without positions, the same ones."""
    x_t, t = random_inputs(2)
    order = torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])
    answer = denoiser(x_t, t)[:, order]
    assert (denoiser(x_t[:, order], t) - answer).abs().max() > 1e-3
    with torch.no_grad():
        denoiser.position_embedding.weight.copy_(denoiser.position_embedding.weight[:1].clone())
    answer = denoiser(x_t, t)[:, order]
    torch.testing.assert_close(denoiser(x_t[:, order], t), answer, rtol=1e-10, atol=1e-10)


def test_every_token_sees_every_other_left_and_right(denoiser):
    x_t, t = random_inputs(1)
    before = denoiser(x_t, t)
    for position in range(9):
        changed = x_t.clone()
        changed[0, position] = (x_t[0, position] + 1) % 6
        moved = (denoiser(changed, t) - before).abs().amax(dim=-1)[0]
        assert (moved > 1e-6).all(), position


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    model = SequenceDenoiser(SMALL)
    x_t, _ = random_inputs(10)
    model(x_t, torch.arange(1, 11)).log_softmax(-1)[..., 0].mean().backward()
    for name, parameter in model.named_parameters():
        if name.endswith("key.bias"):  # adds the same score to every key: softmax ignores it
            assert parameter.grad.abs().max() < 1e-6
        else:
            assert parameter.grad.abs().max() > 0, name
        if "embedding" in name:
            assert (parameter.grad.abs().amax(dim=1) > 0).all(), name


def test_fresh_weights_are_those_of_the_denoiser():
    torch.manual_seed(0)
    model = SequenceDenoiser(replace(SMALL, width=128))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all(), name
        elif name.endswith("norm.weight"):
            assert (parameter == 1).all(), name
        else:
            assert 0.015 < parameter.std() < 0.025, name


@pytest.mark.parametrize("level", [0, 11, -1])
def test_levels_outside_1_to_T_raise(denoiser, level):
    x_t, t = random_inputs(2)
    t[1] = level
    with pytest.raises(ValueError, match=r"^t holds .* allowed: 1 to 10"):
        denoiser(x_t, t)


@pytest.mark.parametrize("token", [-1, 6])
def test_tokens_outside_the_classes_raise(denoiser, token):
    x_t, t = random_inputs(2)
    x_t[1, 4] = token
    with pytest.raises(ValueError, match=r"holds .* allowed: 0 to 5"):
        denoiser(x_t, t)


def test_wrong_shapes_raise(denoiser):
    x_t, t = random_inputs(2)
    with pytest.raises(ValueError, match="x_t has 8 positions; allowed: 9"):
        denoiser(x_t[:, :8], t)
    plain = SequenceDenoiser.forward.__wrapped__  # as a user has it: without run-time types
    with pytest.raises(ValueError, match="the batch sizes of x_t, t are 2, 1; allowed: equal"):
        plain(denoiser, x_t, t[:1])


def test_values_are_not_read_on_other_devices():
    """The meta device has shapes and no values: reading one would raise, as a wait would cost."""
    x_t, t = (x.to("meta") for x in random_inputs(2))
    assert SequenceDenoiser(SMALL).to("meta")(x_t, t).shape == (2, 9, 5)


def test_batch_of_none_is_allowed(denoiser):
    x_t, t = random_inputs(2)
    assert denoiser(x_t[:0], t[:0]).shape == (0, 9, 5)


@pytest.mark.parametrize("name", list(asdict(SMALL)))
def test_config_is_validated(name):
    smallest = 2 if name in ("num_codes", "num_classes") else 1
    for value in (smallest - 1, -3, True):
        with pytest.raises(ValueError, match=f"{name} is {value}; allowed: whole numbers of "):
            replace(SMALL, **{name: value})
    assert replace(SMALL, num_codes=2, num_classes=2, num_positions=1, num_layers=1).num_timesteps


def test_heads_share_the_width_evenly():
    with pytest.raises(ValueError, match="width is 16; allowed: multiples of num_heads, 3"):
        replace(SMALL, num_heads=3)
