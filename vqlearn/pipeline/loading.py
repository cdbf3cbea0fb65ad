"""What `from_pretrained` reads from, and those of diffusers' arguments that ours does not need."""

from pathlib import Path
from typing import Any, NamedTuple

from vqlearn.checkpoints import HubOptions
from vqlearn.checkpoints.layout import INDICES
from vqlearn.checkpoints.modules import Wanted
from vqlearn.probability.checks import shown

NOTHING_RUNS = "nothing in a checkpoint is executed"
NO_SUCH_PART = "a checkpoint of VQ-Diffusion has no such part"
ONE_DEVICE = "all parts are on one device"
REASONS = {
    "custom_pipeline": NOTHING_RUNS,
    "custom_revision": NOTHING_RUNS,
    "trust_remote_code": NOTHING_RUNS,
    "quantization_config": "weights are of a float type",
    "max_memory": ONE_DEVICE,
    "offload_folder": ONE_DEVICE,
    "offload_state_dict": ONE_DEVICE,
    "use_onnx": "weights are safetensors or .bin",
    "proxies": "the environment variable HTTPS_PROXY sets one",
    "feature_extractor": NO_SUCH_PART,
    "safety_checker": NO_SUCH_PART,
    "requires_safety_checker": NO_SUCH_PART,
}
"""By the name of the argument, why it can only be None or False."""

PARTS = {name for index in INDICES.values() for name in index}


class Source(NamedTuple):
    """A checkpoint by the name that it was asked for, its folder, and how it shall be read."""

    name: str | Path
    folder: Path
    hub: HubOptions
    wanted: Wanted

    @property
    def read(self) -> tuple[Path, Wanted]:
        """What the loaders of its parts take."""
        return self.folder, self.wanted


def check_others(others: dict[str, Any]) -> None:
    """Refuse by name what would change something, and accept what means nothing.

    Raises `TypeError` for arguments that nobody has, and `ValueError` for the others.
    """
    for name, value in others.items():
        if name in PARTS:
            raise ValueError(
                f"{name} is a {type(value).__name__}; allowed: the part of the checkpoint. "
                "Other parts are put together by the pipeline's class itself"
            )
        if name not in REASONS:
            raise TypeError(f"from_pretrained has no argument {name!r}")
        if value is not None and value is not False:
            seen = "given" if name == "proxies" else shown(value)  # they may hold a password
            raise ValueError(f"{name} is {seen}; allowed: None, since {REASONS[name]}")
