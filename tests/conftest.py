"""Every test runs with the array annotations of vqlearn checked at run time.

Not those of `pipeline`, `cli`, `training` and `evaluate`: they check what users pass by hand, and
the tests want to see their messages.
"""

from jaxtyping import install_import_hook

ROOMS = (
    *("tokens", "diffusion", "transformer"),
    *("continuous", "autoregressive", "data", "checkpoints", "face_off"),
)

install_import_hook([f"vqlearn.{room}" for room in ROOMS], "typecheck.check")
