"""Where networks are, and in which precision: devices and dtypes as users name them.

All functions raise `TypeError` or `ValueError` that names the argument, the value seen and the
values allowed.
"""

import psutil
import torch

from vqlearn.probability.checks import check_choice, shown

DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}
AS_STORED = (None, "auto")


def best_device() -> torch.device:
    """A GPU if torch sees one (CUDA, then MPS), else the CPU."""
    return torch.device(_devices()[0])


def as_device(name: str, value: torch.device | str | int) -> torch.device:
    """A device of this machine. It is tried: a tensor without elements is put there."""
    try:
        device = torch.device(value)
        if not isinstance(value, bool) and device.type != "meta":
            torch.empty(0, device=device)
            return device
    # torch without CUDA raises AssertionError
    except (AssertionError, RuntimeError, TypeError):
        pass
    allowed = ", ".join(map(repr, _devices()))
    raise ValueError(f"{name} is {shown(value)}; allowed on this machine: {allowed}") from None


def as_dtype(name: str, value: torch.dtype | str | None) -> torch.dtype | None:
    """A dtype of weights, such as `torch.float16` or "float16"; None for None or "auto"."""
    key = str(value).removeprefix("torch.") if isinstance(value, str | torch.dtype) else value
    if isinstance(key, str) and key in DTYPES:
        return DTYPES[key]
    if isinstance(value, torch.dtype) or value not in AS_STORED:
        check_choice(name, value, (*DTYPES, *AS_STORED))
    return None


def destination(
    *args: object,
    device: object = None,
    dtype: object = None,
    torch_device: object = None,
    torch_dtype: object = None,
) -> tuple[torch.device | None, torch.dtype | None]:
    """What the arguments of a pipeline's `to` mean: a device and a dtype; None: as it is.

    Unnamed ones are a device, a dtype, or a device and a dtype.
    """
    if len(args) > 2 or (len(args) == 2 and isinstance(args[0], torch.dtype)):
        seen = ", ".join(map(shown, args))
        raise ValueError(f"to has the arguments {seen}; allowed: a device, a dtype, or both")
    first, second = (*args, None, None)[:2]
    if isinstance(first, torch.dtype):
        first, second = None, first
    device = one_of("device", device, "torch_device", torch_device)
    place = one_of("device", first, "device", device)
    kind = one_of("dtype", second, "dtype", one_of("dtype", dtype, "torch_dtype", torch_dtype))
    place = None if place is None else as_device("device", place)
    return place, as_dtype("dtype", kind)


def one_of(name: str, value: object, other_name: str, other: object) -> object:
    """What was given under one of two names, or None. Raises `ValueError` if they differ."""
    if value is not None and other is not None and value != other:
        raise ValueError(
            f"{name} is {shown(value)} and {other_name} is {shown(other)}; allowed: one of them"
        )
    return other if value is None else value


def check_precision(device: torch.device, dtype: torch.dtype) -> None:
    """Refuse float64 on MPS, which has none."""
    if device.type == "mps" and dtype == torch.float64:
        raise ValueError("dtype is torch.float64; allowed on 'mps': float16, bfloat16, float32")


def memory(device: torch.device) -> int:
    """The bytes of memory that the device has, used or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total


def _devices() -> list[str]:
    """The devices of this machine, the fastest first."""
    found = ["cuda"] if torch.cuda.is_available() else []
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
