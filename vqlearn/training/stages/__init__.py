"""The stages in order, in one folder: trained, kept, resumed, lengthened, recorded."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    order="take_tokenizer train",
    plan="Plan",
    taken_parts="copy_frozen_parts",
)
