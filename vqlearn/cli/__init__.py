"""The command `vqlearn`."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    commands="main",
)
