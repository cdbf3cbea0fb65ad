"""Tokens for the used codes alone: by hand, from a folder, and decoded by diffusers."""

from dataclasses import replace

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import edit_json

from vqlearn import CheckpointError
from vqlearn.checkpoints import load_vqvae, save_network
from vqlearn.checkpoints.modules import Wanted
from vqlearn.tokens.full_codes import FullCodes, check_used_codes
from vqlearn.tokens.quantizer import VectorQuantizer
from vqlearn.tokens.vqvae import VQVAE, VQVAEConfig

USED = [0, 2, 3, 9, 15]
KINDS = ["nearest", "gumbel"]
SMALL = VQVAEConfig(
    block_out_channels=(8, 12),
    layers_per_block=1,
    latent_channels=6,
    vq_embed_dim=5,
    num_vq_embeddings=len(USED),
    norm_num_groups=4,
    encoder_attention_resolutions=(1,),
    decoder_attention_resolutions=(1,),
    num_full_codes=16,
)
WEIGHTS = "vqvae/diffusion_pytorch_model.safetensors"


def make(kind, config=SMALL):
    """A network whose small quantizer has the used codes of its full one."""
    torch.manual_seed(0)
    network = VQVAE(replace(config, quantizer=kind)).eval()
    torch.nn.init.normal_(network.to_code_space.weight, std=3)  # features as far apart as codes
    full = network.full_codes
    full.used_codes.copy_(torch.tensor(USED))
    for weight in full.quantizer.parameters():
        torch.nn.init.normal_(weight)
    state = {name: value[USED] for name, value in full.quantizer.state_dict().items()}
    network.quantizer.load_state_dict(state)
    return network


def images(count=6):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def scores(network, vectors):
    """How well each full code fits, by the definitions."""
    full = network.full_codes.quantizer
    if network.config.quantizer == "gumbel":
        return vectors @ full.to_logits.weight.T + full.to_logits.bias
    return -(vectors[..., None, :] - full.codebook.weight).square().sum(-1)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_an_unused_code_is_token_0_or_the_best_used_one(kind):
    network = make(kind)
    found = scores(network, network.encode_features(images())).flatten(1, 2)  # (b, n, full)
    full = found.argmax(-1)
    expected = [[USED.index(c) if c in USED else 0 for c in row] for row in full.tolist()]
    tokens = network.encode(images())
    assert tokens.tolist() == expected
    assert (tokens == 0).any()
    assert len(tokens.unique()) > 2
    nearest = network.encode(images(), nearest_used=True)
    assert torch.equal(nearest, found[..., USED].argmax(-1))
    assert torch.equal(nearest[tokens > 0], tokens[tokens > 0])
    assert not torch.equal(nearest, tokens)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_where_all_codes_are_used_the_option_changes_nothing(kind):
    network = VQVAE(replace(SMALL, quantizer=kind, num_full_codes=None))
    plain, nearest = (network.encode(images(), nearest_used=used) for used in (False, True))
    assert torch.equal(plain, nearest)
    assert network.full_codes is None


def test_tokens_of_full_codes_by_hand():
    full = FullCodes(VectorQuantizer(6, 2), 3)
    full.used_codes.copy_(torch.tensor([0, 2, 5]))
    assert full.to_tokens(torch.arange(6).view(2, 3)).tolist() == [[0, 0, 1], [0, 0, 2]]
    with pytest.raises(ValueError, match="num_used is 7; allowed: 1 to 6"):
        FullCodes(VectorQuantizer(6, 2), 7)


@pytest.mark.parametrize("used", [[1, 2], [0, 2, 2], [0, 3, 2], [0, 16], [-1, 0], [0, -1, 3]])
def test_bad_lists_of_used_codes_are_refused(used):
    check_used_codes(torch.tensor([0]), 1)
    check_used_codes(torch.tensor([0, 1, 15]), 16)
    with pytest.raises(ValueError, match=r"used_codes go from .* allowed: 0 and then ascending"):
        check_used_codes(torch.tensor(used), 16)


def test_fewer_full_codes_than_tokens_are_refused():
    with pytest.raises(ValueError, match="num_full_codes is 4; allowed: 5 or more"):
        replace(SMALL, num_full_codes=4)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_folder_keeps_the_list_in_every_dtype_and_diffusers_decodes_it(kind, tmp_path):
    network = make(kind)
    save_network(network, tmp_path)
    again = load_vqvae(tmp_path)
    assert again.config == network.config
    assert torch.equal(again.encode(images()), network.encode(images()))
    half = load_vqvae(tmp_path, Wanted(torch.float16))
    for one in (half, again.to(torch.float16)):
        assert one.full_codes.used_codes.tolist() == USED
        assert one.full_codes.used_codes.dtype == torch.int64
        assert {weight.dtype for weight in one.parameters()} == {torch.float16}
    theirs = diffusers.VQModel.from_pretrained(tmp_path / "vqvae")
    tokens = torch.tensor([[0, 1, 2, 3], [4, 4, 0, 1]])
    vectors = theirs.quantize.get_codebook_entry(tokens, shape=(2, 2, 2, 5))
    decoded = theirs.decode(vectors, force_not_quantize=True).sample
    expected = (decoded / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(network.decode(tokens), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("used", "message"),
    [
        (torch.tensor([0, 2, 3, 9, 16]), "vqvae cannot be used: used_codes go from 0 to 16"),
        (torch.tensor([0.0, 2, 3, 9, 15]), "used_codes is torch.float32; allowed: int64"),
        (torch.tensor([0, 2, 3, 9, 15]).int(), "used_codes is I32; allowed: int64"),
    ],
)
def test_a_folder_with_a_bad_list_is_refused(used, message, tmp_path):
    save_network(make("nearest"), tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    save_file(state | {"quantize.used_codes": used}, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=message):
        load_vqvae(tmp_path)


def test_a_weight_of_whole_numbers_is_refused(tmp_path):
    save_network(make("nearest"), tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    state["quant_conv.bias"] = state["quant_conv.bias"].long()
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"quant_conv.bias is torch.int64; allowed: a float"):
        load_vqvae(tmp_path)


@pytest.mark.parametrize("number", [4, "16", 2.0])
def test_a_bad_number_of_full_codes_is_refused(number, tmp_path):
    save_network(make("nearest"), tmp_path)
    edit_json(tmp_path / "vqvae" / "config.json", num_full_codes=number)
    with pytest.raises(CheckpointError, match=f"num_full_codes is {number!r}; allowed"):
        load_vqvae(tmp_path)
