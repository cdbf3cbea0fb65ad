"""The truth by enumeration: an oracle in fractions, and tiny worlds with their true denoiser."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    examples="chain one_token parity twins",
    revealed="unmasking_distribution",
    world="all_states exact_bound ExactWorld point_distribution "
    "prior_distribution sampler_distribution total_variation",
)
