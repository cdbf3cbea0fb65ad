"""Files that want something done while they are read, and a program that watches the reader.

`hostile_files` gives them by name, with what must become of them.
"""

import os
import pickle
import shutil
import struct
import zipfile
from typing import Any

import torch
from support.training_files import FOUR, Call, Numbers, archive_of, pickled, tensor, zipped

REFUSED, WEIGHT_REFUSED = "refused", "weight refused"
READ, OTHERS = "read", "other numbers"

WATCHED = """
import json, re, sys
from pathlib import Path
from support.time_limit import at_most
from vqlearn.checkpoints import CheckpointError
from vqlearn.released import read_training_file

def outcome(file):
    try:
        with at_most(20.0, TimeoutError):
            content = read_training_file(file)
    except CheckpointError:
        return "refused"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    try:
        with at_most(20.0, TimeoutError):
            same = content.weights()["a"].tolist() == [1.0, 2.0, 3.0, 4.0]
        return "read" if same else "other numbers"
    except CheckpointError:
        return "weight refused"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"

folder = Path(sys.argv[1])
assert outcome(folder / "harmless") == "read"  # now all is imported
files, events, modules = sorted(folder.iterdir()), [], set(sys.modules)
sys.addaudithook(lambda name, values: events.append((name, str(values[:2]))))
found = {file.name: outcome(file) for file in files}
watched, events = events, []
status = Path("/proc/self/status")  # getrusage counts the program that started this one, too
peak = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) / 1024 if status.exists() else 0
print(json.dumps([found, watched, sorted(set(sys.modules) - modules), peak]))
"""
"""A program that reads every file of a folder, and prints what became of each, what Python did
meanwhile (audit events), which modules are new, and the peak of its memory (MB)."""


class Attributes:
    """An object with attributes, made anew by `__setstate__` or into its `__dict__`."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__ |= attributes


def calls(shell: str, code: str) -> dict[str, Any]:
    """What would do something if it were called, by name."""
    return {
        "os.system": Call(os.system, shell),
        "builtins.eval": Call(eval, code),
        "exec": Call(exec, code),
        "a module that is not there yet": Call(__import__, "antigravity"),
        "attributes": Call(dict, state={"x": Call(os.system, shell)}),
        "__setstate__": Call(torch.nn.Linear, 2, 2, state={"f": Call(eval, code)}),
        "attributes of a function": Call(len, state=(None, {"__code__": Call(eval, code)})),
        "a call of a call": Call(getattr, Call(__import__, "os"), "system"),
        "a hook": Call(torch._utils._rebuild_parameter, tensor(), True, {"h": Call(eval, code)}),
        "a folder": Call(shutil.rmtree, shell),
    }


def hostile_files(shell: str, code: str) -> dict[str, tuple[bytes, str]]:
    """The content of each file, and what must become of it."""
    found = {"harmless": (archive_of(pickled({"model": {"a": tensor()}})), READ)}
    for name, call in calls(shell, code).items():
        beside = {"model": {"a": tensor()}, "callbacks": {"c": {"deep": (call,)}}, "x": call}
        found[f"{name} beside the model"] = archive_of(pickled(beside)), READ
        found[f"{name} as model"] = archive_of(pickled({"model": call})), REFUSED
        found[f"{name} as a weight"] = archive_of(pickled({"model": {"a": call}})), WEIGHT_REFUSED
    found["a hook as a weight"] = found["a hook as a weight"][0], READ  # of a parameter, left out
    found |= {name: (archive_of(p), result) for name, (p, result) in _programs(shell).items()}
    found |= {
        f"tensor: {n}": (_with(value), WEIGHT_REFUSED)
        for n, value in _tensors(Call(os.system, shell)).items()
    }
    return found | _archives(shell)


def _with(value: Any) -> bytes:
    return archive_of(pickled({"model": {"a": value}}))


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _programs(shell: str) -> dict[str, tuple[bytes, str]]:
    """Pickles that Python's pickle would not write."""
    weights = pickled({"a": tensor()}).removeprefix(b"\x80\x02").removesuffix(b".")
    begin, end = b"\x80\x02}(" + _text("model") + weights + _text("x"), b"u."
    doubled = b")" + b"2\x86" * 60
    words = _text("os") + _text("system")
    beside = {
        "INST": b"(" + _text(shell) + b"ios\nsystem\n",
        "OBJ": b"(cos\nsystem\n" + _text(shell) + b"o",
        "NEWOBJ": b"cos\nsystem\n" + _text(shell) + b"\x85\x81",
        "STACK_GLOBAL": words + b"\x93" + _text(shell) + b"\x85R",
        "a name that takes for ever to print": doubled + b"2\x93",
        "a key that takes for ever to hash": b"}" + doubled + b"K\x01s",
        "an extension": b"\x82\x01",
        "a name outside": b"P/etc/passwd\n",
        "a memo with a large index": b"Nr\xff\xff\xff\x7f",
        "many marks": b"N" + b"(" * 2**17 + b"0" * 2**17,
        "many times the same": b"N" + b"20" * 2**16,
        "tuples in tuples": b")" + b"\x85" * 2**17,
        "itself": b"]q\x07h\x07a",
        "a dict in itself": b"}q\x07" + _text("self") + b"h\x07s",
    }
    found = {name: (begin + program + end, READ) for name, program in beside.items()}
    huge = {
        "a text of 2 GB": b"X\xff\xff\xff\x7f",
        "bytes of 2**60": b"\x8e" + struct.pack("<Q", 2**60),
        "a frame of 2**60": b"\x95" + struct.pack("<Q", 2**60) + b"X\xff\xff\xff\x7f",
        "a number of 2 GB": b"\x8b\xff\xff\xff\x7f",
        "a number of a million digits": b"I" + b"9" * 10**6 + b"\n",
        "a memo that is empty": b"h\x63",
        "no such operation": b"\xff",
    }
    found |= {name: (begin + program + end, REFUSED) for name, program in huge.items()}
    found["a call alone"] = f"cos\nsystem\n(S{shell!r}\ntR.".encode(), REFUSED
    found["a pickle behind the pickle"] = (
        begin + b"N" + end + f"cos\nsystem\n(S{shell!r}\ntR.".encode(),
        READ,
    )
    return found


def _tensors(call: Any) -> dict[str, Any]:
    """Calls that torch would turn into a tensor, or that are almost such calls."""
    tall = ()
    for _ in range(60):
        tall = (tall, tall)
    return {
        "offset beyond": tensor(offset=1),
        "offset far beyond": tensor(offset=2**61),
        "offset below": tensor(offset=-1),
        "stride beyond": tensor(stride=(2,)),
        "stride far beyond": tensor(stride=(2**61,)),
        "stride below": tensor(stride=(-1,)),
        "shape beyond": tensor(shape=(5,)),
        "shape far beyond": tensor(shape=(2**40,), stride=(0,)),
        "shape that overflows": tensor(shape=(2**33, 2**33), stride=(0, 0)),
        "shape below": tensor(shape=(-4,)),
        "one number many times": tensor(shape=(5,), stride=(0,)),
        "more axes than strides": tensor(shape=(2, 2)),
        "too many axes": tensor(shape=(1,) * 64, stride=(1,) * 64),
        "too many axes, and large ones": tensor(shape=(2**40,) * 2**16, stride=(0,) * 2**16),
        "a shape that is no number": tensor(shape=("4",)),
        "a shape that is a bool": tensor(shape=(True,)),
        "a shape that is a call": tensor(shape=call),
        "a shape without end": tensor(shape=tall),
        "a shape of real numbers": tensor(shape=(float("inf"),)),
        "a call in the place of the numbers": tensor(numbers=call),
        "another number of numbers": tensor(numbers=Numbers(count=3)),
        "far too many numbers": tensor(numbers=Numbers(count=2**60)),
        "shape beyond, with one axis of one": tensor(shape=(1, 5), stride=(5, 1)),
        "empty and large": tensor(shape=(0, 2**61, 2**61), stride=(0, 0, 0)),
        "one byte in no member": tensor((1,), numbers=Numbers("7", 1, torch.ByteStorage)),
        "numbers in no member": tensor(numbers=Numbers(key="7")),
        "numbers outside the folder": tensor(numbers=Numbers(key="../../../../etc/passwd")),
        "numbers that are a pickle": tensor(numbers=Numbers(key="../data.pkl")),
        "a key that is a call": tensor(numbers=Numbers(key=call)),
        "a type that is a call": tensor(numbers=Numbers(kind=call)),
        "a type that is none": tensor(numbers=Numbers(kind=os.system)),
        "another function": Call(torch._utils._rebuild_sparse_tensor, torch.strided, ()),
        "a parameter in a parameter": Call(
            torch._utils._rebuild_parameter,
            Call(torch._utils._rebuild_parameter, tensor(), False, {}),
            False,
            {},
        ),
        "no arguments": Call(torch._utils._rebuild_tensor_v2),
    }


def _archives(shell: str) -> dict[str, tuple[bytes, str]]:
    good, bad = pickled({"model": {"a": tensor()}}), pickle.dumps(Call(os.system, shell))
    numbers = FOUR.numpy().tobytes()
    members = {"x/data.pkl": good, "x/data/0": numbers}
    zeros = bytes(2**24)
    return {
        "another pickle in another folder": (zipped({**members, "y/data.pkl": bad}), REFUSED),
        "another pickle beside": (zipped({**members, "x/constants.pkl": bad}), READ),
        "code beside": (zipped({**members, "x/code/a.py": b"import antigravity"}), READ),
        "names outside": (
            zipped({**members, "../../evil": b"x", "/tmp/evil": b"x", "x/../data/0": b"x"}),
            READ,
        ),
        "no pickle": (zipped({"x/data/0": numbers}), REFUSED),
        "an empty archive": (zipped({}), REFUSED),
        "compressed": (zipped(members, zipfile.ZIP_DEFLATED), REFUSED),
        "a compressed bomb": (zipped({"x/data.pkl": zeros}, zipfile.ZIP_DEFLATED), REFUSED),
        "only numbers compressed": (_half_compressed(members), WEIGHT_REFUSED),
        "a size of 4 GB": (_with_entry(members, 20, struct.pack("<II", *[2**32 - 2] * 2)), REFUSED),
        "a locked member": (_with_entry(members, 8, b"\x01"), REFUSED),
        "bytes in front": (b"MZ" + zipped(members), REFUSED),
        "members in front": (zipped(members) + zipped(members), REFUSED),
        "an old file": (bad, REFUSED),
        "an empty file": (b"", REFUSED),
        "a page": (b"<!DOCTYPE html><title>Not Found</title>", REFUSED),
    }


def _half_compressed(members: dict[str, bytes]) -> bytes:
    packed = zipped({"x/data/0": members["x/data/0"]}, zipfile.ZIP_DEFLATED)
    # the method stands at byte 8 of the header, and at byte 10 of the entry in the directory
    data = bytearray(zipped(members))
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    data[entry + 10 : entry + 12] = packed[8:10]
    return bytes(data)


def _with_entry(members: dict[str, bytes], at: int, value: bytes) -> bytes:
    """An archive whose directory has this value in the entry of the first member."""
    data = bytearray(zipped(members))
    begin = data.index(b"PK\x01\x02") + at
    data[begin : begin + len(value)] = value
    return bytes(data)
