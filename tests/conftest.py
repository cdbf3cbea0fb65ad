"""Every test runs with the array annotations of vqlearn checked at run time."""

from jaxtyping import install_import_hook

install_import_hook("vqlearn", "beartype.beartype")
