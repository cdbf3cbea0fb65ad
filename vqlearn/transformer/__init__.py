"""The networks that predict clean tokens from corrupted ones."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    convolutional="ClassDenoiser ClassDenoiserConfig ConvolutionalTextDenoiser "
    "UnconditionalDenoiser UnconditionalDenoiserConfig",
    denoiser="Denoiser DenoiserConfig initialise",
    layers="Attention causal_mask FeedForward PreNormBlock",
    ordinal="OrdinalDenoiser",
    sequence="SequenceBlock SequenceConfig SequenceDenoiser",
    variants="CausalDenoiser DirectDenoiser",
)
