"""The truth: an oracle in fractions, tiny worlds by enumeration, a long one by forward-backward."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    examples="chain long_chain one_token parity square twins",
    hidden_markov="MarkovWorld",
    profile="exact_profile",
    revealed="unmasking_distribution",
    world="all_states exact_bound ExactWorld point_distribution "
    "prior_distribution sampler_distribution total_variation",
)
