"""From an image to tokens and back: quantisers and the VQ network."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    discriminator="adaptive_weight adversarial_loss discriminator_loss PatchDiscriminator",
    gumbel="GumbelQuantizer",
    quantizer="CodebookEMA VectorQuantizer",
    vqvae="from_network_range QUANTIZERS to_network_range VQVAE VQVAEConfig",
)
