"""The VQ-VAE against diffusers' network with the same weights, and its token grid."""

import random
from dataclasses import replace

import pytest
import torch

from vqlearn.checkpoints.renames import VQVAE_RENAMES, rename_from_diffusers, rename_to_diffusers
from vqlearn.tokens.vqvae import VQVAE, VQVAEConfig, from_network_range, to_network_range

SMALL = VQVAEConfig(
    block_out_channels=(8, 12),
    layers_per_block=1,
    latent_channels=6,
    vq_embed_dim=5,
    num_vq_embeddings=16,
    norm_num_groups=4,
    encoder_attention_resolutions=(1,),
    decoder_attention_resolutions=(0, 1),
)


def random_config(seed):
    draw = random.Random(seed)
    resolutions, groups = draw.randint(2, 4), draw.choice([1, 2, 3, 5, 7])

    return VQVAEConfig(
        block_out_channels=tuple(groups * draw.randint(1, 4) for _ in range(resolutions)),
        layers_per_block=draw.randint(1, 3),
        latent_channels=draw.randint(1, 9),
        vq_embed_dim=draw.randint(1, 9),
        num_vq_embeddings=draw.randint(2, 40),
        norm_num_groups=groups,
        encoder_attention_resolutions=tuple(i for i in range(resolutions) if draw.random() < 0.5),
        decoder_attention_resolutions=tuple(i for i in range(resolutions) if draw.random() < 0.5),
    )


def diffusers_network(config):
    from diffusers import VQModel

    resolutions = range(len(config.block_out_channels))
    down = [
        ("Attn" * (i in config.encoder_attention_resolutions)) + "DownEncoderBlock2D"
        for i in resolutions
    ]
    up = [
        ("Attn" * (i in config.decoder_attention_resolutions)) + "UpDecoderBlock2D"
        for i in resolutions
    ]
    return VQModel(
        down_block_types=tuple(down),
        up_block_types=tuple(reversed(up)),
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        vq_embed_dim=config.vq_embed_dim,
        num_vq_embeddings=config.num_vq_embeddings,
        norm_num_groups=config.norm_num_groups,
    ).double()


def make(config=SMALL, seed=0):
    """Every weight random, biases and norms too, so that a forgotten one shows."""
    torch.manual_seed(seed)
    network = VQVAE(config).double()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    torch.nn.init.normal_(network.quantizer.codebook.weight)
    return network


@pytest.mark.parametrize("seed", range(20))
@torch.no_grad()
def test_the_network_computes_what_diffusers_computes(seed):
    config = random_config(seed)
    ours, theirs = make(config, seed), diffusers_network(config)
    theirs.load_state_dict(rename_to_diffusers(ours.state_dict(), VQVAE_RENAMES), strict=True)
    factor = config.downsampling_factor
    images = torch.rand(2, 3, 4 * factor, 2 * factor, dtype=torch.float64)
    latents = theirs.encode(2 * images - 1).latents
    _, _, (_, _, indices) = theirs.quantize(latents)
    features, tokens = ours.encode_features(images), ours.encode(images)
    torch.testing.assert_close(features.permute(0, 3, 1, 2), latents, rtol=0, atol=1e-9)
    assert tokens.shape == (2, 8)
    assert torch.equal(tokens, indices.view(2, 8))
    decoded = theirs.decode(latents).sample
    torch.testing.assert_close(ours(images)[0], decoded, rtol=0, atol=1e-9)
    shown = (decoded / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(ours.decode(tokens, grid=(4, 2)), shown, rtol=0, atol=1e-9)


def test_the_range_of_the_network():
    images = torch.tensor([0.0, 0.25, 1.0])
    assert to_network_range(images).tolist() == [-1.0, -0.5, 1.0]
    assert torch.equal(from_network_range(to_network_range(images)), images)
    decoded = torch.tensor([-1.5, 0.5, 3.0], dtype=torch.float16)
    found = from_network_range(decoded)
    assert found.dtype == torch.float32
    assert found.tolist() == [0.0, 0.75, 1.0]
    assert from_network_range(decoded.double()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_images_are_converted_after_they_are_moved_to_the_range(dtype):
    """Images of any dtype go in; those that come out are float32 or better."""
    network = make().to(dtype)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    inputs = (2 * images - 1).to(dtype)
    expected = network.to_code_space(network.encoder(inputs)).permute(0, 2, 3, 1)
    assert torch.equal(network.encode_features(images), expected)
    decoded = network.decode(network.encode(images))
    assert decoded.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("seed", range(20))
def test_the_rename_table_is_a_bijection(seed):
    config = random_config(seed)
    ours, theirs = VQVAE(config).state_dict(), diffusers_network(config).state_dict()
    renamed = rename_to_diffusers(ours, VQVAE_RENAMES)
    assert set(renamed) == set(theirs)
    assert len(renamed) == len(ours)
    back = rename_from_diffusers(renamed, VQVAE_RENAMES)
    assert list(back) == list(ours)
    assert all(back[key] is ours[key] for key in ours)


def test_no_name_appears_twice_in_the_rename_table():
    ours, theirs = zip(*VQVAE_RENAMES, strict=True)
    assert len(set(ours)) == len(set(theirs)) == len(VQVAE_RENAMES)


def test_the_released_size_has_the_released_number_of_parameters():
    config = VQVAEConfig(
        block_out_channels=(64, 128, 256, 512),
        layers_per_block=2,
        latent_channels=256,
        vq_embed_dim=128,
        num_vq_embeddings=4096,
        norm_num_groups=32,
        encoder_attention_resolutions=(3,),
        decoder_attention_resolutions=(3,),
    )
    with torch.device("meta"):
        network = VQVAE(config)
    assert sum(weight.numel() for weight in network.parameters()) == 64_009_667
    assert config.downsampling_factor == 8


@torch.no_grad()
def test_a_gumbel_network_says_the_likeliest_tokens():
    """The same layers around another quantizer; in training mode its codes are drawn."""
    network = make(replace(SMALL, quantizer="gumbel"))
    images = torch.rand(2, 3, 8, 6, dtype=torch.float64)
    scores = network.quantizer.to_logits(network.encode_features(images))  # (2, 4, 3, 16)
    tokens = network.encode(images)
    assert torch.equal(tokens, scores.argmax(dim=-1).flatten(1))
    assert len(tokens.unique()) > 2
    decoded = network.decode(tokens, grid=(4, 3))
    assert not torch.equal(network(images)[0], decoded)
    without_noise = from_network_range(network.eval()(images)[0])
    torch.testing.assert_close(without_noise, decoded, rtol=0, atol=1e-9)
    nearest = make()
    for name, weight in nearest.state_dict().items():
        network.state_dict()[name].copy_(weight)
    torch.testing.assert_close(
        network.decode(tokens, grid=(4, 3)), nearest.decode(tokens, grid=(4, 3))
    )
    assert not torch.equal(network.encode(images), nearest.encode(images))


@torch.no_grad()
def test_tokens_run_row_by_row():
    network = make()
    images = torch.rand(2, 3, 6, 10, dtype=torch.float64)
    grid = network.quantizer.encode(network.encode_features(images))
    assert grid.shape == (2, 3, 5)
    tokens = network.encode(images)
    for r in range(3):
        for c in range(5):
            assert torch.equal(tokens[:, r * 5 + c], grid[:, r, c])


@torch.no_grad()
def test_one_token_changes_the_picture_around_its_position():
    """Middle and normalisation see the whole image, so the change is largest, not only, there."""
    config = replace(SMALL, decoder_attention_resolutions=(), num_vq_embeddings=64)
    network = make(config)
    tokens = torch.randint(64, (1, 16 * 12), generator=torch.Generator().manual_seed(0))
    before = network.decode(tokens, grid=(16, 12))
    assert before.shape == (1, 3, 32, 24)
    for row, column in [(2, 9), (13, 2), (8, 6)]:
        edited = tokens.clone()
        edited[0, row * 12 + column] = (edited[0, row * 12 + column] + 1) % 64
        change = (network.decode(edited, grid=(16, 12)) - before).square().sum(1)[0]  # (32, 24)
        y, x = divmod(change.argmax().item(), 24)
        assert abs(y - (2 * row + 0.5)) < 8
        assert abs(x - (2 * column + 0.5)) < 8
        near = change[
            max(2 * row - 12, 0) : 2 * row + 14, max(2 * column - 12, 0) : 2 * column + 14
        ]
        assert near.sum() > 0.9 * change.sum()


def test_training_reaches_every_weight():
    network = make()
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    reconstruction, quantized = network(images)
    loss = (reconstruction - images).square().mean()
    (loss + quantized.codebook_loss + 0.25 * quantized.commitment_loss).backward()
    silent = [name for name, weight in network.named_parameters() if not weight.grad.any()]
    # Attention ignores a constant added to all keys: softmax is unchanged.
    assert [name for name in silent if not name.endswith("key.bias")] == []


@pytest.mark.parametrize("size", [(7, 8), (8, 9), (0, 8)])
def test_bad_sizes_say_what_is_allowed(size):
    network = make()
    images = torch.zeros(1, 3, *size, dtype=torch.float64)
    message = f"{size[0]} x {size[1]}; allowed: sides that are multiples of 2"
    for method in (network.encode, network.encode_features, network):
        with pytest.raises(ValueError, match=message):
            method(images)
    with pytest.raises(ValueError, match="is 10; allowed: 9, the grid is 3 x 3"):
        network.decode(torch.zeros(1, 10, dtype=torch.long))
    with pytest.raises(ValueError, match="is 9; allowed: 8, the grid is 2 x 4"):
        network.decode(torch.zeros(1, 9, dtype=torch.long), grid=(2, 4))
    with pytest.raises(ValueError, match="a token is 16; allowed: codes, 0 to 15"):
        network.decode(torch.full((1, 9), 16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_out_channels": ()}, r"block_out_channels is \(\); allowed: one width"),
        (
            {"block_out_channels": (8, 0)},
            r"block_out_channels\[1\] is 0; allowed: whole",
        ),
        ({"layers_per_block": 0}, "layers_per_block is 0; allowed: whole numbers of 1"),
        ({"latent_channels": -3}, "latent_channels is -3; allowed: whole numbers of 1"),
        ({"vq_embed_dim": 0}, "vq_embed_dim is 0; allowed: whole numbers of 1"),
        ({"num_vq_embeddings": 0}, "num_vq_embeddings is 0; allowed: whole numbers of 1"),
        ({"norm_num_groups": 0}, "norm_num_groups is 0; allowed: whole numbers of 1"),
        ({"norm_num_groups": 3}, "allowed: multiples of norm_num_groups, 3"),
        (
            {"encoder_attention_resolutions": (2,)},
            r"encoder_attention_resolutions is \(2,\); allowed: 0 to 1",
        ),
        (
            {"decoder_attention_resolutions": (-1,)},
            r"decoder_attention_resolutions is \(-1,\); allowed: 0 to 1",
        ),
        ({"quantizer": "softest"}, "quantizer is 'softest'; allowed: 'nearest', 'gumbel'"),
    ],
)
def test_bad_configs_say_what_is_allowed(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)
