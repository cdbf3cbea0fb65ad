"""What every model speaks: log-probabilities, random numbers, filters, estimates, checks."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    estimates="average_estimate Bits bits_per_token Estimate linear_combination ratio "
    "student_interval wilson_interval",
    filters="Filter guide temperature top_k top_p",
    log_probs="at_least_float32 IMPOSSIBLE kl_divergence log_add log_normalise log_one_hot log_sum",
    model="check_condition check_request ClassConditioning Condition Conditioning Given "
    "GuidanceScale PLAIN Sampling TokenModel",
    random="finest_float Generators inverse_cdf random_stream sample_categorical uniform",
)
