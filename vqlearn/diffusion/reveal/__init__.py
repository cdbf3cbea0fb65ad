"""Unmasking rules: how many MASK tokens a step reveals, which ones, and with which values."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    counts="Binomial EntropyBound FixedCount",
    known_rules="ancestral confidence entropy_bound fixed_count halton purity released_purity "
    "top_purity",
    orders="at_random by_purity Halton least_entropy surest_first",
    released="CountTable released_counts",
    rule="ChooseThenDraw DrawThenChoose plain Sharpened UnmaskingRule",
    unmasking="unmask",
)
