"""What is trained one after the other in one folder, kept, resumed, lengthened, told of."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    order="copy_frozen_parts train",
    plan="Plan",
)
