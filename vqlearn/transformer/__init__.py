"""The networks that predict clean tokens from corrupted ones."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    denoiser="Denoiser DenoiserConfig initialise",
    layers="Attention FeedForward",
    ordinal="OrdinalDenoiser",
    sequence="SequenceConfig SequenceDenoiser",
    variants="CausalDenoiser DirectDenoiser",
)
