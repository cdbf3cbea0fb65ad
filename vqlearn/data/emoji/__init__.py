"""Emoji with English captions, from a package of the npm registry: a folder to train on."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    captions="TONES",
    download="TWEMOJI",
    folder="build DATA INDEX METADATA Picture pictures",
    split="kind",
)
