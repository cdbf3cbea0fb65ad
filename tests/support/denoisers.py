"""Denoisers of two sizes, their inputs, and diffusers' class beside them."""

from dataclasses import asdict

import torch

from vqlearn.transformer.denoiser import DenoiserConfig

SMALL = DenoiserConfig(
    num_attention_heads=2,
    attention_head_dim=8,
    num_layers=2,
    cross_attention_dim=6,
    attention_bias=True,
    num_vector_embeds=8,
    sample_size=3,
    num_embeds_ada_norm=10,
)
RELEASED = DenoiserConfig(
    num_attention_heads=16,
    attention_head_dim=88,
    num_layers=36,
    cross_attention_dim=512,
    attention_bias=True,
    num_vector_embeds=4097,
    sample_size=32,
    num_embeds_ada_norm=100,
)


def spread_weights(module: torch.nn.Module, seed: int) -> None:
    """Large random weights everywhere, biases and norms included, so that no term is hidden."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(0.5 * noise + 0.1)


def random_inputs(config: DenoiserConfig, batch: int, length: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, config.num_positions)
    x_t = torch.randint(config.num_vector_embeds, shape, generator=generator)
    t = torch.randint(1, config.num_embeds_ada_norm + 1, (batch,), generator=generator)
    text = torch.randn(
        batch, length, config.cross_attention_dim, generator=generator, dtype=torch.float64
    )
    return x_t, t, text


def build_reference(config: DenoiserConfig):
    from diffusers import Transformer2DModel

    return Transformer2DModel(
        **asdict(config), norm_type="ada_norm", activation_fn="geglu-approximate"
    )
