"""What every model speaks: log-probabilities, random numbers, filters, estimates, checks."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Bits": "estimates",
        "bits_per_token": "estimates",
        "Conditioning": "model",
        "Given": "model",
        "guide": "filters",
        "log_normalise": "log_probs",
        "random_stream": "random",
        "sample_categorical": "random",
        "Sampling": "model",
        "temperature": "filters",
        "TokenModel": "model",
        "top_k": "filters",
        "top_p": "filters",
    },
)
