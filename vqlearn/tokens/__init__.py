"""From an image to tokens and back: quantisers and the VQ network."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CodebookEMA": "quantizer",
        "GumbelQuantizer": "gumbel",
        "PatchDiscriminator": "discriminator",
        "VectorQuantizer": "quantizer",
        "VQVAE": "vqvae",
        "VQVAEConfig": "vqvae",
        "from_network_range": "vqvae",
        "to_network_range": "vqvae",
    },
)
