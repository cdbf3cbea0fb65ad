"""The networks that predict clean tokens from corrupted ones."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CausalDenoiser": "variants",
        "Denoiser": "denoiser",
        "DenoiserConfig": "denoiser",
        "DirectDenoiser": "variants",
        "OrdinalDenoiser": "ordinal",
        "SequenceConfig": "sequence",
        "SequenceDenoiser": "sequence",
    },
)
