"""The head for ordered codes: a shift and a width in place of K scores."""

from dataclasses import replace

import pytest
import torch

from vqlearn.transformer.ordinal import OrdinalDenoiser
from vqlearn.transformer.sequence import SequenceConfig

ORDINAL = SequenceConfig(
    num_codes=6,
    num_classes=6,
    num_positions=9,
    num_timesteps=10,
    width=16,
    num_layers=2,
    num_heads=2,
)


def test_the_ordinal_head_centres_its_p_x0_on_what_it_sees():
    """With weights of 0: a logistic distribution of scale 1 around tanh(x_t), cut into 6 bins."""
    model = OrdinalDenoiser(ORDINAL).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    x_t = torch.tensor([[0, 1, 2, 3, 4, 5, 5, 0, 2]])
    edges = torch.linspace(-1.2, 1.2, 7, dtype=torch.float64)
    mean = torch.linspace(-1, 1, 6, dtype=torch.float64)[x_t].tanh()
    mass = (edges - mean[..., None]).sigmoid().diff(dim=-1)
    expected = (mass / mass.sum(dim=-1, keepdim=True)).log()
    torch.testing.assert_close(model(x_t, 3), expected, rtol=1e-10, atol=1e-10)


def test_the_ordinal_head_reads_a_shift_and_a_width():
    """The bias of the last map alone: a shift of 20 is the top code, a log-scale of -9 is sharp."""
    model = OrdinalDenoiser(ORDINAL).double()
    x_t = torch.randint(6, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.network.to_logits.bias.copy_(torch.tensor([20.0, -9.0]))
    log_p = model(x_t, 3)
    assert (log_p[..., 5] > -1e-6).all()
    torch.testing.assert_close(log_p.exp().sum(dim=-1), torch.ones(2, 9, dtype=torch.float64))


def test_the_ordinal_head_has_no_position_for_mask():
    with pytest.raises(ValueError, match="num_classes is 6; allowed: 5"):
        OrdinalDenoiser(replace(ORDINAL, num_codes=5))
