"""The U-Net on its own, and what a short training makes of it."""

import pytest
import torch
from torch import nn

from vqlearn.continuous.blur import Blur
from vqlearn.continuous.gaussian import GaussianProcess
from vqlearn.continuous.normal import standard_normal
from vqlearn.continuous.sampler import DDIM, Model, sample
from vqlearn.continuous.schedule import cosine
from vqlearn.continuous.unet import Attention, LevelEmbedding, Residual, UNet, UNetConfig
from vqlearn.diffusion.sampler import levels_to_visit
from vqlearn.training.unet import train_unet

SMALL = UNetConfig(channels=2, widths=(8, 12, 16), groups=4)


def spread_weights(network, seed=0):
    """Random weights everywhere, so that nothing is hidden behind the zeros of the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator) + 0.05)


@pytest.fixture
def network():
    network = UNet(SMALL).double()
    spread_weights(network)
    return network


def random_input(count, side=8, channels=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn(count, channels, side, side, generator=generator, dtype=torch.float64)
    return x_t, torch.randint(1, 101, (count,), generator=generator)


@pytest.mark.parametrize(
    ("config", "height", "width"),
    [
        (UNetConfig(), 16, 16),
        (UNetConfig(channels=1, widths=(8,)), 5, 7),
        (UNetConfig(channels=4, widths=(8, 16, 8)), 12, 20),
    ],
)
def test_a_fresh_network_answers_zero_in_the_shape_of_the_image(config, height, width):
    x_t = torch.randn(2, config.channels, height, width)
    found = UNet(config)(x_t, torch.tensor([1, 9]))
    assert torch.equal(found, torch.zeros_like(x_t))


def test_the_number_of_weights_is_the_one_in_the_docstring():
    count = sum(weight.numel() for weight in UNet(UNetConfig()).parameters())
    assert f"{count:,} weights" in " ".join(UNet.__doc__.split())


def test_gradients_reach_every_weight(network):
    x_t, t = random_input(3)
    network(x_t, t).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 1e-10, name


def test_a_fresh_network_learns_its_output_first():
    network = UNet(SMALL)
    x_t, t = random_input(2)
    (network(x_t.float(), t) - 1).square().mean().backward()
    assert network.leave.weight.grad.abs().max() > 0


def test_a_batch_of_mixed_levels_equals_one_by_one(network):
    x_t, t = random_input(4)
    together = network(x_t, t)
    for i in range(4):
        alone = network(x_t[i : i + 1], t[i : i + 1])
        assert torch.allclose(together[i], alone[0], rtol=1e-9, atol=1e-12)


def test_one_level_stands_for_all(network):
    x_t, _ = random_input(3)
    assert torch.equal(network(x_t, 7), network(x_t, torch.full((3,), 7)))


def test_the_level_matters(network):
    x_t, _ = random_input(1)
    answers = [network(x_t, torch.tensor([t])) for t in (1, 2, 50, 100)]
    for i in range(4):
        for j in range(i):
            assert (answers[i] - answers[j]).abs().max() > 1e-3


def test_every_residual_block_sees_the_level(network):
    blocks = [module for module in network.modules() if isinstance(module, Residual)]
    assert len(blocks) == 2 * len(SMALL.widths) + 2
    generator = torch.Generator().manual_seed(0)
    for block in blocks:
        x = torch.randn(1, block.conv1.in_channels, 4, 4, generator=generator).double()
        levels = torch.randn(2, 1, block.to_scale_shift.in_features, generator=generator).double()
        scale, shift = block.to_scale_shift(levels[0]).chunk(2, dim=-1)
        change = block.norm2(block.conv1(nn.functional.silu(block.norm1(x))))
        change = change * (1 + scale[..., None, None]) + shift[..., None, None]
        expected = block.shortcut(x) + block.conv2(nn.functional.silu(change))
        assert torch.allclose(block(x, levels[0]), expected)
        assert (block(x, levels[0]) - block(x, levels[1])).abs().max() > 1e-3


def test_the_level_embedding_has_waves_from_fast_to_slow():
    embedding = LevelEmbedding(6, 6).double()
    seen = []
    embedding.expand.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    embedding(torch.tensor([7]))
    angles = torch.tensor([7, 7 / 100, 7 / 10_000], dtype=torch.float64)
    assert torch.allclose(seen[0][0], torch.cat([angles.sin(), angles.cos()]), rtol=1e-12)


def test_attention_is_a_softmax_over_all_positions():
    attention = Attention(4, 2).double()
    spread_weights(attention)
    x, _ = random_input(1, side=3, channels=4)
    positions = attention.norm(x)[0].flatten(1).T  # (9, 4)
    query, key, value = (positions @ w.T for w in attention.to_query_key_value.weight.split(4))
    expected = torch.zeros(9, 4, dtype=torch.float64)
    for i in range(9):
        likeness = torch.stack([query[i] @ key[j] / 2 for j in range(9)]).exp()
        expected[i] = sum(likeness[j] * value[j] for j in range(9)) / likeness.sum()
    expected = x[0] + attention.output(expected).T.reshape(4, 3, 3)
    assert torch.allclose(attention(x)[0], expected, rtol=1e-10)


def test_every_block_on_the_way_up_sees_the_block_of_its_size_on_the_way_down(network):
    down, up = [], []
    for block in network.down:
        block.register_forward_hook(lambda module, inputs, output: down.append(output))
    for block in network.up:
        block.register_forward_pre_hook(lambda module, inputs: up.append(inputs[0]))
    network(*random_input(1))
    assert len(down) == len(up) == len(SMALL.widths)
    for handed, seen in zip(reversed(down), up, strict=True):
        assert torch.equal(seen[:, -handed.shape[1] :], handed)
        assert (seen[:, : -handed.shape[1]] - handed).abs().max() > 1e-3
    assert [picture.shape[-1] for picture in down] == [8, 4, 2]


@pytest.mark.parametrize(("height", "width"), [(8, 6), (10, 8), (7, 8)])
def test_sides_that_cannot_be_halved_are_refused(network, height, width):
    x_t = torch.zeros(1, 2, height, width).double()
    with pytest.raises(
        ValueError, match=f"the image is {height} x {width}; allowed: .* multiples of 4"
    ):
        network(x_t, torch.tensor([1]))


def test_impossible_networks_are_refused(network):
    with pytest.raises(ValueError, match="x_t has 3 channels; allowed: 2"):
        network(torch.zeros(1, 3, 8, 8).double(), torch.tensor([1]))
    for widths in ((), (8, 12), (0,)):
        with pytest.raises(ValueError, match="allowed: one or more even multiples of 8"):
            UNetConfig(widths=widths)
    with pytest.raises(ValueError, match="allowed: one or more even multiples of 1"):
        UNetConfig(widths=(3,), groups=1)
    with pytest.raises(ValueError, match="channels is 0; allowed: whole numbers of 1"):
        UNetConfig(channels=0)


# Training

FOUR = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]).reshape(4, 2, 1, 1).expand(4, 2, 8, 8)
FEW = UNetConfig(channels=2, widths=(8, 16), groups=4)


def batches(count, images=FOUR, repeat=4):
    return [images.repeat(repeat, 1, 1, 1)] * count


def model(config, target="epsilon", seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model(UNet(config), target)


def weights(trained):
    return trained.model.predict.leave.weight


def test_training_on_four_images_drops_the_loss_and_samples_come_near_them():
    process = GaussianProcess(cosine(50))
    trained = train_unet(model(FEW), batches(150), process, learning_rate=1e-2, ema_decay=0.95)
    assert trained.losses[0] == pytest.approx(1, abs=0.1)  # the square of the noise
    assert sum(trained.losses[-10:]) / 10 < 0.15
    restore = trained.model.restorer(process, clip=True)
    x_T = standard_normal((16, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    *_, (_, x_0) = sample(DDIM(process), restore, x_T, levels_to_visit(50, 10))
    away = (x_0[:, None] - FOUR).square().mean(dim=(2, 3, 4)).min(dim=1).values
    assert away.median() < 0.3  # an untrained network leaves noise: above 1


def test_training_undoes_blur_without_any_noise():
    blur = Blur(num_timesteps=10, max_sigma=3.0)
    stripes = torch.ones(2, 2, 8, 8)
    stripes[0, :, ::2] = -1
    stripes[1, :, :, ::2] = -1
    trained = train_unet(model(FEW, "x_0"), batches(60, stripes, 8), blur, learning_rate=5e-3)
    assert trained.losses[0] > 0.9
    assert trained.losses[-1] < 0.2
    with pytest.raises(ValueError, match="allowed: 'x_0', since Blur adds no noise"):
        train_unet(model(FEW), batches(1), blur)


def test_the_same_seed_gives_the_same_weights_and_touches_no_other_generator():
    process = GaussianProcess(cosine(10))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = train_unet(model(FEW), batches(3), process, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    second = train_unet(model(FEW), batches(3), process, seed=1)
    other = train_unet(model(FEW), batches(3), process, seed=2)
    assert first.losses == second.losses != other.losses
    one, two = (each.model.predict for each in (first, second))
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    assert not one.training
    assert not any(weight.requires_grad for weight in one.parameters())
    assert first.model.target == "epsilon"


def test_levels_of_training_run_from_1_to_T(monkeypatch):
    seen = []
    process = GaussianProcess(cosine(3))
    corrupt = process.corrupt
    monkeypatch.setattr(
        process, "corrupt", lambda x_0, t, **options: seen.append(t) or corrupt(x_0, t, **options)
    )
    train_unet(model(FEW), batches(4), process)
    assert torch.cat(seen).unique().tolist() == [1, 2, 3]


def test_the_weights_that_are_kept_are_a_running_mean():
    """With a decay of 0 they are the last ones; else between the first and the last."""
    process = GaussianProcess(cosine(10))
    last, mean = (
        weights(train_unet(model(FEW), batches(6), process, ema_decay=decay))
        for decay in (0.0, 0.9999)
    )
    steps = [
        weights(train_unet(model(FEW), batches(n), process, ema_decay=0.0)) for n in range(1, 7)
    ]
    assert torch.equal(steps[-1], last)
    expected = steps[0]
    for count, weight in enumerate(steps[1:], start=1):
        expected = expected + (1 - (1 + count) / (10 + count)) * (weight - expected)
    assert torch.allclose(mean, expected, atol=1e-6)
    assert (mean - last).abs().max() > 1e-4
