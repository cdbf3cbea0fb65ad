"""The denoiser against diffusers' Transformer2DModel, and on its own."""

import importlib.util
from dataclasses import asdict, replace

import pytest
import torch
from einops import rearrange
from support.denoisers import RELEASED, SMALL, build_reference, random_inputs, spread_weights

from vqlearn.checkpoints.renames import DENOISER_RENAMES, rename_from_diffusers, rename_to_diffusers
from vqlearn.transformer import denoiser as denoiser_module
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig
from vqlearn.transformer.layers import attend


def random_config(seed: int) -> DenoiserConfig:
    generator = torch.Generator().manual_seed(seed)

    def pick(*choices: int) -> int:
        return choices[torch.randint(len(choices), (), generator=generator).item()]

    return DenoiserConfig(
        num_attention_heads=pick(1, 2, 3, 4),
        attention_head_dim=pick(4, 5, 8, 11),
        num_layers=1 + seed % 4,
        cross_attention_dim=pick(3, 7, 16),
        attention_bias=seed % 2 == 0,
        num_vector_embeds=pick(2, 6, 33),
        sample_size=pick(1, 2, 3, 5),
        num_embeds_ada_norm=pick(1, 4, 100),
    )


@pytest.fixture
def denoiser():
    model = Denoiser(SMALL).double()
    spread_weights(model, 0)
    return model


@pytest.mark.filterwarnings("ignore:.*Transformer2DModelOutput:FutureWarning")
@pytest.mark.parametrize("seed", range(20))
def test_same_logits_as_diffusers(seed):
    """Within 1e-9 in float64. The reference's logits are read before its float32 log-softmax."""
    config = random_config(seed)
    reference = build_reference(config).double().eval()
    spread_weights(reference, seed)
    ours = Denoiser(config).double()
    ours.load_state_dict(rename_from_diffusers(reference.state_dict(), DENOISER_RENAMES))
    seen = []
    reference.out.register_forward_hook(lambda module, inputs, output: seen.append(output))

    x_t, _, text = random_inputs(config, batch=2, length=1 + seed, seed=seed)
    for t in {1, (config.num_embeds_ada_norm + 1) // 2, config.num_embeds_ada_norm}:
        with torch.no_grad():
            log_p = reference(x_t, text, torch.tensor(t - 1)).sample  # (b, K, n): class axis 1
            logits = ours(x_t, torch.full((2,), t), text)
        assert logits.shape == (2, config.num_positions, config.num_codes)
        torch.testing.assert_close(logits, seen[-1], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(logits.log_softmax(-1).float().mT, log_p, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*Transformer2DModelOutput:FutureWarning")
@pytest.mark.parametrize("seed", range(20))
def test_same_log_probabilities_as_diffusers_in_float32(seed):
    """Within 1e-4, with weights of the size that fresh ones have."""
    config = random_config(seed)
    torch.manual_seed(seed)
    reference, ours = build_reference(config).eval(), Denoiser(config)
    ours.load_state_dict(rename_from_diffusers(reference.state_dict(), DENOISER_RENAMES))
    x_t, t, text = random_inputs(config, batch=1, length=1 + seed, seed=seed)
    with torch.no_grad():
        log_p = reference(x_t, text.float(), t[0] - 1).sample  # one level for all
        ours_log_p = ours(x_t, t, text.float()).log_softmax(-1)
    torch.testing.assert_close(ours_log_p.mT, log_p, rtol=0, atol=1e-4)


@pytest.mark.parametrize("attention_bias", [True, False])
def test_renames_cover_diffusers_weights_both_ways(attention_bias):
    config = replace(SMALL, attention_bias=attention_bias)
    theirs = build_reference(config).state_dict()
    ours = Denoiser(config).state_dict()
    there = rename_to_diffusers(ours, DENOISER_RENAMES)
    assert {key: value.shape for key, value in there.items()} == {
        key: value.shape for key, value in theirs.items()
    }
    assert list(rename_from_diffusers(there, DENOISER_RENAMES)) == list(ours)


def test_released_size_has_the_known_number_of_weights():
    with torch.device("meta"):
        model = Denoiser(RELEASED)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_359_274_624


def test_mixed_levels_equal_one_by_one(denoiser):
    """Within 1e-10 in float64."""
    x_t, _, text = random_inputs(SMALL, batch=4, length=5)
    t = torch.tensor([1, 10, 4, 7])
    together = denoiser(x_t, t, text)
    for i in range(4):
        alone = denoiser(x_t[i : i + 1], t[i : i + 1], text[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-10)


def test_one_level_stands_for_all(denoiser):
    x_t, _, text = random_inputs(SMALL, batch=3, length=5)
    assert torch.equal(denoiser(x_t, 7, text), denoiser(x_t, torch.full((3,), 7), text))
    with pytest.raises(ValueError, match=r"^t holds 11 to 11; allowed: 1 to 10"):
        denoiser(x_t, 11, text)


def test_each_level_has_its_own_answer(denoiser):
    x_t, _, text = random_inputs(SMALL, batch=1, length=5)
    answers = [denoiser(x_t, torch.tensor([t]), text) for t in range(1, 11)]
    for t in range(9):
        assert (answers[t] - answers[t + 1]).abs().max() > 1e-3


def test_one_sample_does_not_see_another(denoiser):
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    before = denoiser(x_t, t, text)
    x_t[1], t[1] = (x_t[1] + 1) % 8, t[1] % 10 + 1
    text[1] = text[1].flip(0) * 3
    after = denoiser(x_t, t, text)
    torch.testing.assert_close(after[0], before[0], rtol=1e-10, atol=1e-10)
    assert (after[1] - before[1]).abs().max() > 1e-3


def test_order_of_text_positions_does_not_matter_but_their_content_does(denoiser):
    """Cross-attention has no positions of its own: they are already inside the text states."""
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    before = denoiser(x_t, t, text)
    torch.testing.assert_close(denoiser(x_t, t, text.flip(1)), before, rtol=1e-10, atol=1e-10)
    assert (denoiser(x_t, t, text * 2) - before).abs().max() > 1e-3


def test_rows_and_columns_are_told_apart(denoiser):
    """Rolling the tokens, or transposing the grid, must not simply roll or transpose the answer."""
    x_t, t, text = random_inputs(SMALL, batch=1, length=5)
    answer = denoiser(x_t, t, text)
    rolled = denoiser(x_t.roll(1, dims=1), t, text)
    assert (rolled - answer.roll(1, dims=1)).abs().max() > 1e-3
    swapped = denoiser(rearrange(x_t, "b (r c) -> b (c r)", r=3), t, text)
    assert (swapped - rearrange(answer, "b (r c) k -> b (c r) k", r=3)).abs().max() > 1e-3


def test_mask_has_its_own_embedding(denoiser):
    mask = SMALL.num_codes
    x_t, t, text = random_inputs(SMALL, batch=1, length=5)
    x_t[:] = mask
    before = denoiser(x_t, t, text)
    with torch.no_grad():
        denoiser.token_embedding.token.weight[:mask] += 1
    torch.testing.assert_close(denoiser(x_t, t, text), before, rtol=0, atol=0)
    with torch.no_grad():
        denoiser.token_embedding.token.weight[mask] += torch.arange(16.0)
    assert (denoiser(x_t, t, text) - before).abs().max() > 1e-3


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    model = Denoiser(SMALL)
    x_t, _, text = random_inputs(SMALL, batch=10, length=5)
    t = torch.arange(1, 11)
    model(x_t, t, text.float()).log_softmax(-1)[..., 0].mean().backward()
    for name, parameter in model.named_parameters():
        if name.endswith("key.bias"):  # adds the same score to every key: softmax ignores it
            assert parameter.grad.abs().max() < 1e-6
        else:
            assert parameter.grad.abs().max() > 0, name
        if "timestep_embedding" in name:
            assert (parameter.grad.abs().amax(dim=1) > 0).all(), name


def test_a_fresh_denoiser_is_nearly_undecided():
    torch.manual_seed(0)
    x_t, t, text = random_inputs(SMALL, batch=4, length=5)
    log_p = Denoiser(SMALL)(x_t, t, text.float()).log_softmax(-1)
    assert (log_p + torch.tensor(7.0).log()).abs().max() < 0.5


def test_it_can_learn_to_copy():
    """Cross-entropy of guessing the token that is visible: from log 7 = 1.95 to below 0.1."""
    torch.manual_seed(0)
    model = Denoiser(replace(SMALL, num_layers=1))
    x_t, t, text = random_inputs(SMALL, batch=8, length=1)
    x_t = x_t % SMALL.num_codes
    for step in range(30):
        logits = model(x_t, t, text.float())
        loss = torch.nn.functional.cross_entropy(logits.mT, x_t)
        gradients = torch.autograd.grad(loss, tuple(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.02 * (1 - step / 30) * gradient.sign()
    assert loss < 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_and_close(dtype):
    """Within 0.1 of float32 logits of size about 0.5 (bfloat16 keeps 8 bits)."""
    torch.manual_seed(0)
    model = Denoiser(SMALL)
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    expected = model(x_t, t, text.float())
    logits = model.to(dtype)(x_t, t, text.to(dtype))
    assert logits.dtype == dtype
    assert logits.isfinite().all()
    torch.testing.assert_close(logits.float(), expected, rtol=0, atol=0.1)


@pytest.mark.parametrize("level", [0, 11, -1])
def test_levels_outside_1_to_T_raise(denoiser, level):
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    t[1] = level
    with pytest.raises(ValueError, match=r"^t holds .* allowed: 1 to 10"):
        denoiser(x_t, t, text)


@pytest.mark.parametrize("token", [-1, 8])
def test_tokens_outside_0_to_K_raise(denoiser, token):
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    x_t[1, 4] = token
    with pytest.raises(ValueError, match=r"holds .* allowed: 0 to 7"):
        denoiser(x_t, t, text)


def test_wrong_shapes_raise(denoiser):
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    with pytest.raises(ValueError, match="x_t has 8 positions; allowed: 9"):
        denoiser(x_t[:, :8], t, text)
    with pytest.raises(ValueError, match="the width of text is 5; allowed: 6"):
        denoiser(x_t, t, text[..., :5])
    with pytest.raises(ValueError, match="x_t, t, text are 2, 1, 2; allowed: equal ones"):
        without_runtime_types().Denoiser(SMALL)(x_t, t[:1], text.float())


def without_runtime_types():
    """The same file, loaded as a user has it: tests/conftest.py checks the package only."""
    spec = importlib.util.spec_from_file_location("plain_denoiser", denoiser_module.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_values_are_not_read_on_other_devices():
    """The meta device has shapes and no values: reading one would raise, as a wait would cost."""
    model = Denoiser(SMALL).to("meta")
    x_t, t, text = (x.to("meta") for x in random_inputs(SMALL, batch=2, length=5))
    assert model(x_t, t, text.float()).shape == (2, 9, 7)
    with pytest.raises(ValueError, match="allowed: 9"):
        model(x_t[:, :8], t, text.float())


def test_batch_of_none_is_allowed(denoiser):
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    assert denoiser(x_t[:0], t[:0], text[:0]).shape == (0, 9, 7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_attention_heads", 0),
        ("attention_head_dim", -4),
        ("num_layers", 0),
        ("num_vector_embeds", 1),
        ("sample_size", True),
        ("num_embeds_ada_norm", 0),
    ],
)
def test_config_is_validated(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; allowed: whole numbers"):
        replace(SMALL, **{name: value})


def test_config_types_are_validated():
    config_class = without_runtime_types().DenoiserConfig
    with pytest.raises(ValueError, match="attention_bias is 1; allowed: True or False"):
        config_class(**{**asdict(SMALL), "attention_bias": 1})
    with pytest.raises(ValueError, match=r"num_layers is 2\.0; allowed: whole numbers of 1"):
        config_class(**{**asdict(SMALL), "num_layers": 2.0})


def test_config_properties():
    assert (RELEASED.width, RELEASED.num_codes, RELEASED.num_positions) == (1408, 4096, 1024)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_bfloat16_on_a_cpu(masked):
    """Values and gradients of the bfloat16 path against float64, within bfloat16's rounding."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"query": (2, 3, 5, 8), "key": (2, 3, 7, 8), "value": (2, 3, 7, 8)}
    exact = {
        name: (2 * torch.randn(size, generator=generator, dtype=torch.float64)).requires_grad_()
        for name, size in sizes.items()
    }
    visible = torch.ones(5, 7, dtype=torch.bool).tril(2) if masked else None
    rounded = {name: x.detach().bfloat16().requires_grad_() for name, x in exact.items()}
    wanted, found = attend(**exact, visible=visible), attend(**rounded, visible=visible)
    assert found.dtype == torch.bfloat16
    with torch.no_grad():
        by_kernel = attend(**rounded, visible=visible)
    torch.testing.assert_close(found, by_kernel, atol=0.05, rtol=0.02)
    torch.testing.assert_close(found.double(), wanted, atol=0.1, rtol=0.02)
    for output in (wanted, found):
        output.sum().backward()
    for name, x in exact.items():
        torch.testing.assert_close(rounded[name].grad.double(), x.grad, atol=0.1, rtol=0.02)


@pytest.mark.parametrize(
    ("dtype", "gradients", "by_kernel"),
    [(torch.bfloat16, True, False), (torch.bfloat16, False, True), (torch.float32, True, True)],
)
def test_only_training_in_bfloat16_goes_without_the_kernel(
    dtype, gradients, by_kernel, monkeypatch
):
    """On a CPU: the numbers are the same, so nothing but the time would tell."""
    used, kernel = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        "torch.nn.functional.scaled_dot_product_attention",
        lambda *args, **more: used.append(1) or kernel(*args, **more),
    )
    x = torch.ones(1, 1, 3, 2, dtype=dtype)
    with torch.set_grad_enabled(gradients):
        attend(x, x, x)
    assert bool(used) == by_kernel


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_attention_never_sees_what_is_not_visible(dtype, gradients):
    """Each position is the mean of the values that it sees, if all keys are the same."""
    visible = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], dtype=torch.bool)
    query = torch.ones(1, 1, 3, 2, dtype=dtype, requires_grad=gradients)
    value = torch.tensor([[1, -1], [3, 5], [8, 0], [1000, 24]], dtype=dtype)[None, None]
    found = attend(query, torch.ones(1, 1, 4, 2, dtype=dtype), value, visible)
    assert found.requires_grad == gradients
    assert found[0, 0].tolist() == [[1, -1], [2, 2], [504, 12]]
