"""What users of diffusers call on any pipeline: kept where it means something, or nothing, here."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from tqdm.auto import tqdm


class PipelineMembers:
    """The progress bar, and switches that save memory in diffusers."""

    progress_bar_config: Mapping[str, Any] = MappingProxyType({"leave": False})

    def set_progress_bar_config(self, **config: Any) -> None:
        """Arguments of tqdm for the bar of every call, for example `disable=True`."""
        self.progress_bar_config = config

    def progress_bar(self, iterable: Iterable | None = None, total: int | None = None) -> tqdm:
        """A bar of tqdm with these arguments."""
        return tqdm(iterable, total=total, **self.progress_bar_config)

    def enable_attention_slicing(self, slice_size: str | int | None = "auto") -> None:
        """Changes nothing: torch's attention never holds a whole table of weights."""

    def disable_attention_slicing(self) -> None:
        """Changes nothing, as `enable_attention_slicing` does not."""

    def enable_xformers_memory_efficient_attention(self, attention_op: Any = None) -> None:
        """Changes nothing: torch's attention is the one that saves memory."""

    def disable_xformers_memory_efficient_attention(self) -> None:
        """Changes nothing, as `enable_xformers_memory_efficient_attention` does not."""

    def enable_model_cpu_offload(self, *_: Any, **__: Any) -> NoReturn:
        """Raises `ValueError`: all parts stay on one device, as in diffusers' VQ-Diffusion."""
        raise ValueError(
            "enable_model_cpu_offload cannot be used: all parts stay on one device; "
            "allowed: to('cuda'), with torch_dtype=torch.float16 for half the memory"
        )
