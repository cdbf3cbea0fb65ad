"""The truth by enumeration: an oracle in fractions, and tiny worlds with their true denoiser."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "all_states": "world",
        "chain": "examples",
        "exact_bound": "world",
        "ExactWorld": "world",
        "one_token": "examples",
        "parity": "examples",
        "point_distribution": "world",
        "prior_distribution": "world",
        "sampler_distribution": "world",
        "total_variation": "world",
        "twins": "examples",
    },
)
