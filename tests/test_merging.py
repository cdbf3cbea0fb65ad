"""Merging codes: look-alikes become one, the rest stay, nothing else changes."""

import pytest
import torch

from vqlearn.tokens.merging import mean_squares, merge_codes
from vqlearn.tokens.vqvae import VQVAE, VQVAEConfig


@pytest.fixture
def vqvae():
    torch.manual_seed(0)
    network = VQVAE(VQVAEConfig((4, 4), 1, 4, 2, 8, 2, (), ())).eval()
    torch.nn.init.normal_(network.quantizer.codebook.weight)
    return network


def planted(vqvae, monkeypatch, tokens):
    """The network says these tokens of any pictures."""
    monkeypatch.setattr(vqvae, "encode", lambda images: tokens[: len(images)])
    return vqvae


def plain(*greys):
    """One picture of 2 x 2 pixels, which is one token, for each grey."""
    return torch.tensor(greys).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)


def test_codes_that_stand_for_the_same_squares_become_their_weighted_mean(vqvae, monkeypatch):
    """Codes 1 and 4 stand for white, 2 for grey, 6 for black; 4 is used three times."""
    planted(vqvae, monkeypatch, torch.tensor([[1], [4], [4], [4], [2], [6]]))
    merged = merge_codes(vqvae, plain(1.0, 0.99, 1.0, 1.0, 0.0, -1.0), 3)
    old = vqvae.quantizer.codebook.weight
    expected = [(old[1] + 3 * old[4]) / 4, old[2], old[6]]
    found = merged.quantizer.codebook.weight
    assert merged.config.num_vq_embeddings == len(found) == 3
    for code in expected:
        assert torch.isclose(found, code, atol=1e-6).all(dim=1).any()


def test_codes_that_no_picture_uses_are_dropped_and_the_rest_kept(vqvae, monkeypatch):
    planted(vqvae, monkeypatch, torch.tensor([[5], [0]]))
    merged = merge_codes(vqvae, plain(1.0, -1.0), 7)
    assert torch.equal(merged.quantizer.codebook.weight, vqvae.quantizer.codebook.weight[[0, 5]])


def test_everything_but_the_codebook_is_the_same(vqvae):
    merged = merge_codes(vqvae, torch.rand(40, 3, 8, 8) * 2 - 1, 3)
    assert 1 <= merged.config.num_vq_embeddings <= 3
    for name, weight in merged.state_dict().items():
        if "codebook" not in name:
            assert torch.equal(weight, vqvae.state_dict()[name]), name
    with pytest.raises(ValueError, match="num_codes is 0; allowed: 1, 2"):
        merge_codes(vqvae, torch.zeros(1, 3, 8, 8), 0)


def test_mean_squares_by_hand(vqvae):
    images = torch.rand(150, 3, 4, 6) * 2 - 1
    counts, squares = mean_squares(vqvae, images)
    tokens = vqvae.encode(images).view(150, 2, 3)
    assert counts.sum() == 150 * 6
    for code in range(8):
        own = [
            images[i, :, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].flatten()
            for i, r, c in (tokens == code).nonzero().tolist()
        ]
        assert counts[code] == len(own)
        if own:
            torch.testing.assert_close(squares[code], torch.stack(own).mean(0))
