"""Training checkpoints as the official solver and as Lightning write them, and what may be in one.

`pickled` makes the pickle of any file by hand: `Numbers` and `Call` stand for what torch.save would
write, so that they may be wrong.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._utils import _rebuild_tensor_v2


class Denoiser(nn.Module):
    """What has an average of its own: the rest of the model has none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.empty_text_embed = nn.Parameter(torch.randn(3, 5, dtype=torch.float64))
        self.register_buffer("Lt_count", torch.arange(4))
        self.transformer = nn.ModuleDict(
            {"blocks": nn.ModuleList([nn.ModuleDict({"attn1": Attention(width)})])}
        )


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.key = nn.Linear(width, width).half()


class Model(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.content_codec = nn.Linear(3, 2)
        self.transformer = Denoiser(width)


def solver_content(width: int = 16, seed: int = 0) -> dict[str, Any]:
    """The official solver's dict after a step of Adam; EMA and raw weights differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, average = Model(width), Denoiser(width)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {
        "last_epoch": 99,
        "last_iter": 0,
        "model": model.state_dict(),
        "ema": average.state_dict(),
        "clip_grad_norm": {"start_iteration": 0, "end_iteration": -1, "max_norm": 0.5},
        "optimizer_and_scheduler": {
            "none": {
                "optimizer": {"module": optimizer.state_dict(), "start_epoch": -1},
                "scheduler": {"module": {"best": 1.5, "mode": "min"}, "step_iteration": 1},
            }
        },
    }


def write_solver_file(file: Path, **options: int) -> dict[str, Any]:
    """Write such a file; returns its content."""
    content = solver_content(**options)
    torch.save(content, file)
    return content


def same(ours: Any, theirs: Any) -> bool:
    """Have both the same names, and tensors of the same type, shape and bits?"""
    return list(ours) == list(theirs) and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(ours[name], theirs[name])
        for name in theirs
    )


def members_of(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


class Numbers:
    """The numbers of a tensor, `count` of a kind, in the member data/`key`."""

    def __init__(self, key: Any = "0", count: Any = 4, kind: Any = torch.FloatStorage) -> None:
        self.id = ("storage", kind, key, "cuda:0", count)


class Call:
    """A pickle that calls a function when it is opened by the usual means."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = function, arguments, state

    def __reduce__(self) -> Any:
        return self.reduced


def tensor(shape: Any = (4,), stride: Any = (1,), offset: Any = 0, numbers: Any = None) -> Call:
    """The call by which torch.save writes a tensor."""
    arguments = numbers or Numbers(), offset, shape, stride, False, OrderedDict()
    return Call(_rebuild_tensor_v2, *arguments)


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.id if isinstance(value, Numbers) else None


def pickled(content: Any, protocol: int = 2) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream, protocol).dump(content)
    return stream.getvalue()


FOUR = torch.tensor([1.0, 2.0, 3.0, 4.0])
"""The numbers of the member data/0 that `archive_of` writes."""


def archive_of(pickle_bytes: bytes, **others: bytes) -> bytes:
    """A file with this pickle, and the four numbers."""
    members = {"x/data.pkl": pickle_bytes, "x/version": b"3", "x/data/0": FOUR.numpy().tobytes()}
    return zipped(members | {f"x/{name}": data for name, data in others.items()})
