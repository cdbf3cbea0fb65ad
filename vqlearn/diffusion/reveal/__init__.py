"""Unmasking rules: how many MASK tokens a step reveals, which ones, and with which values."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    correctors="ForwardAndBack ReMDM",
    counts="Binomial EntropyBound FixedCount ScheduledCounts",
    known_rules="ancestral confidence entropy_bound fixed_count halton purity released_purity "
    "scheduled top_purity",
    orders="at_random by_purity Halton least_entropy surest_first",
    planning="best_schedule expected_cost mean_counts",
    profile="InformationProfile measured_profile",
    released="CountTable released_counts",
    rule="ChooseThenDraw DrawThenChoose plain Sharpened UnmaskingRule",
    unmasking="unmask",
)
