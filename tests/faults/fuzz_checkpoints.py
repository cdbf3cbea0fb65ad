"""Damaged checkpoints by the thousand: every one is refused in a sentence, or it is as before.

`soak(count, seed)` loads `count` of them and counts what happens; `bombs` are pickles that would
write a file if anything in them were executed.
"""

import hashlib
import io
import json
import os
import pickle
import random
import shutil
import string
import struct
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from support.time_limit import at_most
from support.tiny import write_diffusers_folder

from vqlearn import CheckpointError, VQDiffusionPipeline
from vqlearn.checkpoints import folder as files
from vqlearn.text import build_clip

LONGEST = 400
SLOW = 10.0
WEIGHTS = ("diffusion_pytorch_model", "model")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n"


class Mutant(NamedTuple):
    """A damaged copy of a checkpoint: where it is, what was done to which file."""

    folder: Path
    base: str
    file: str
    change: str


# Checkpoints to start from --------------------------------------------------------


def write_bases(root: Path) -> list[Path]:
    """Four layouts of one small checkpoint; "signed" alone has digests."""
    plain = write_diffusers_folder(root / "plain")
    pipeline = VQDiffusionPipeline.from_pretrained(plain)
    pipeline.save_pretrained(root / "signed")
    files.save_clip(build_clip(pipeline.text_encoder.model, 8), plain)
    for name, zipped in (("archives", True), ("pickles", False)):
        shutil.copytree(plain, root / name)
        for file in list((root / name).rglob("*.safetensors")):
            stem = "pytorch_model" if file.stem == "model" else file.stem
            torch.save(
                load_file(file),
                file.with_name(f"{stem}.bin"),
                _use_new_zipfile_serialization=zipped,
            )
            file.unlink()
    _with_two_files(root / "pickles" / "tokenizer")
    return [root / name for name in ("plain", "signed", "archives", "pickles")]


def _with_two_files(tokenizer: Path) -> None:
    """The tokenizer as older files have it."""
    model = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    (tokenizer / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (tokenizer / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (tokenizer / "tokenizer.json").unlink()


# Changes of any file --------------------------------------------------------------


def flip(file: Path, chance: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 1, 4, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def flip_the_head(file: Path, chance: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(4):
        data[chance.randrange(min(len(data), 400))] = chance.randrange(256)
    file.write_bytes(data)


def truncate(file: Path, chance: random.Random) -> None:
    file.write_bytes(file.read_bytes()[: chance.randrange(file.stat().st_size)])


def append(file: Path, chance: random.Random) -> None:
    file.write_bytes(file.read_bytes() + chance.randbytes(chance.choice((1, 100))))


def empty(file: Path, chance: random.Random) -> None:
    file.write_bytes(b"")


def remove(file: Path, chance: random.Random) -> None:
    file.unlink()


def folder_instead(file: Path, chance: random.Random) -> None:
    file.unlink()
    file.mkdir()


def dangling_link(file: Path, chance: random.Random) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def loop(file: Path, chance: random.Random) -> None:
    file.unlink()
    file.symlink_to(file.name)


def pointer(file: Path, chance: random.Random) -> None:
    file.write_text(POINTER.format(hashlib.sha256(file.read_bytes()).hexdigest()))


def noise(file: Path, chance: random.Random) -> None:
    file.write_bytes(chance.randbytes(chance.choice((8, 1000))))


ANY = (
    *(flip, flip_the_head, truncate, append, empty, remove, folder_instead),
    *(dangling_link, loop, pointer, noise),
)

# Changes of JSON ------------------------------------------------------------------

HUGE = (2**31, 2**63, 2**64, 10**30, -1, 0, 10_000, 100_000, 1e308, -5e-324)
OTHERS = (None, True, "x", "", 0, 1, -1, 1.5, [], {}, [[]], [None], {"a": 1}, ["x"] * 50)
RAW = (
    *("[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000, "9" * 5000),
    *("NaN", "Infinity", "-Infinity", "1e999", '"\\ud800"', '"' + "x" * 10_000 + '"'),
)


def _spots(values: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value: its container and its key."""
    entries = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in list(entries):
        yield values, key
        if isinstance(value, dict | list) and value:
            yield from _spots(value)


def _edited(file: Path, chance: random.Random, edit: Callable[[Any, Any], None]) -> None:
    values = json.loads(file.read_text())
    outer = [(values, key) for key in values]
    edit(*chance.choice(chance.choice((outer, list(_spots(values))))))
    file.write_text(json.dumps(values))


def swap_type(file: Path, chance: random.Random) -> None:
    _edited(file, chance, lambda at, key: at.__setitem__(key, chance.choice(OTHERS)))


def huge_number(file: Path, chance: random.Random) -> None:
    _edited(file, chance, lambda at, key: at.__setitem__(key, chance.choice(HUGE)))


def delete_key(file: Path, chance: random.Random) -> None:
    _edited(file, chance, lambda at, key: at.__delitem__(key))


def raw_value(file: Path, chance: random.Random) -> None:
    _edited(file, chance, lambda at, key: at.__setitem__(key, "RAW"))
    file.write_text(file.read_text().replace('"RAW"', chance.choice(RAW), 1))


def raw_file(file: Path, chance: random.Random) -> None:
    file.write_text(chance.choice(RAW))


def another_encoding(file: Path, chance: random.Random) -> None:
    file.write_bytes(file.read_text().encode(chance.choice(("utf-16", "utf-32", "utf-8-sig"))))


def foreign_code(file: Path, chance: random.Random) -> None:
    values = json.loads(file.read_text())
    values["auto_map"] = {"AutoConfig": "os.system", "AutoModel": "a--b.c", "AutoTokenizer": "x.y"}
    values["trust_remote_code"] = True
    values["attn_implementation"] = values["_attn_implementation"] = "kernels-community/x"
    values["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    file.write_text(json.dumps(values))


JSON = (swap_type, huge_number, delete_key, raw_value, raw_file, another_encoding, foreign_code)

# Changes of safetensors -----------------------------------------------------------


def _with_header(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    edit(header)
    packed = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(packed)) + packed + data[8 + size :])


def _one(header: dict[str, Any], chance: random.Random) -> str:
    return chance.choice([name for name in header if name != "__metadata__"])


def another_name(file: Path, chance: random.Random) -> None:
    def edit(header: dict[str, Any]) -> None:
        name = _one(header, chance)
        header["".join(chance.choices(string.printable, k=5)) + name] = header.pop(name)

    _with_header(file, edit)


def another_dtype(file: Path, chance: random.Random) -> None:
    kinds = ("F16", "BF16", "F64", "I8", "U8", "I64", "BOOL", "F8_E4M3", "F4", "X", 3)
    _with_header(
        file, lambda header: header[_one(header, chance)].update(dtype=chance.choice(kinds))
    )


def another_shape(file: Path, chance: random.Random) -> None:
    shapes = ([], [0], [1] * 30, [2**63], [2**64], [-1], [2**32, 2**32], "x", None, [1.5])
    _with_header(
        file, lambda header: header[_one(header, chance)].update(shape=chance.choice(shapes))
    )


def another_place(file: Path, chance: random.Random) -> None:
    places = ([0, 4], [4, 0], [0, 2**63], [2**63, 2**63 + 4], [-4, 0], [], [0], "x")
    _with_header(
        file,
        lambda header: header[_one(header, chance)].update(data_offsets=chance.choice(places)),
    )


def fewer_weights(file: Path, chance: random.Random) -> None:
    _with_header(file, lambda header: header.pop(_one(header, chance)))


def long_header(file: Path, chance: random.Random) -> None:
    size = chance.choice((0, 2**31, 2**63, 2**64 - 1))
    file.write_bytes(struct.pack("<Q", size) + file.read_bytes()[8:])


SAFETENSORS = (
    *(another_name, another_dtype, another_shape, another_place, fewer_weights, long_header),
)

# Changes of pickles ---------------------------------------------------------------


def _rezipped(file: Path, *, how: int = zipfile.ZIP_STORED, edit: Any = lambda n, d: d) -> None:
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, data in members.items():
            if (data := edit(name, data)) is not None:
                archive.writestr(name, data)


def deflated(file: Path, chance: random.Random) -> None:
    kinds = (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    _rezipped(file, how=chance.choice(kinds))


def fewer_members(file: Path, chance: random.Random) -> None:
    with zipfile.ZipFile(file) as archive:
        gone = chance.choice(archive.namelist())
    _rezipped(file, edit=lambda name, data: None if name == gone else data)


def shorter_member(file: Path, chance: random.Random) -> None:
    with zipfile.ZipFile(file) as archive:
        cut = chance.choice(archive.namelist())
    _rezipped(file, edit=lambda name, data: data[: len(data) // 2] if name == cut else data)


def changed_pickle(file: Path, chance: random.Random) -> None:
    def edit(name: str, data: bytes) -> bytes:
        if not name.endswith("data.pkl"):
            return data
        changed = bytearray(data)
        for _ in range(chance.choice((1, 3))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)

    _rezipped(file, edit=edit)


def odd_tensors(file: Path, chance: random.Random) -> None:
    """What a pickle may hold beside dense numbers."""
    weights = torch.load(file, weights_only=True)
    name = chance.choice(list(weights))
    value = weights.pop(name)
    odd = {
        "sparse": lambda: value.to_sparse(),
        "meta": lambda: value.to("meta"),
        "quantised": lambda: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
        "whole": lambda: value.long(),
        "complex": lambda: value.to(torch.complex64),
        "float8": lambda: value.to(torch.float8_e4m3fn),
        "expanded": lambda: torch.zeros(1).expand(10**9),
        "parameter": lambda: torch.nn.Parameter(value),
        "list": lambda: value.tolist(),
        "None": lambda: None,
        "nested": lambda: {name: value},
    }
    keys = (name, 3, None, ("a", name), b"x", 1.5, "")
    changed = chance.choice(list(odd.values()))()
    weights[chance.choice(keys)] = changed
    torch.save(weights, file, _use_new_zipfile_serialization=zipfile.is_zipfile(file))


ARCHIVES = (deflated, fewer_members, shorter_member, changed_pickle, odd_tensors)
PICKLES = (odd_tensors,)

# Changes of the list of digests ---------------------------------------------------


def outside_line(file: Path, chance: random.Random) -> None:
    name = chance.choice(("/etc/hostname", "../../x", "tokenizer/../../x", "", "\0"))
    file.write_text(file.read_text() + f"{'0' * 64}  {name}\n")


def not_text(file: Path, chance: random.Random) -> None:
    file.write_bytes(file.read_bytes() + b"\xff\xfe")


SUMS = (outside_line, not_text)


def changes(file: Path, base: str) -> tuple[Callable[[Path, random.Random], None], ...]:
    """All that may be done to this file."""
    own = {".json": JSON, ".safetensors": SAFETENSORS, "": SUMS}.get(file.suffix, ())
    if file.suffix == ".bin":
        own = ARCHIVES if base == "archives" else PICKLES
    return (*ANY, *own, *own)


def mutated(folder: Path, count: int, seed: int) -> Iterator[Mutant]:
    """Damaged copies of a checkpoint, one at a time: each is gone when the next one comes."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    for i in range(count):
        chance = random.Random(f"{seed}/{folder.name}/{i}")
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / folder.name
            shutil.copytree(folder, copy)
            name = names[i % len(names)]
            change = chance.choice(changes(name, folder.name))
            change(copy / name, chance)
            yield Mutant(copy, folder.name, str(name), change.__name__)


# What happens to them -------------------------------------------------------------


class Hung(BaseException):
    """Loading took too long."""


def fingerprint(pipeline: VQDiffusionPipeline) -> str:
    """Everything in a pipeline that decides what it draws."""
    encoder = pipeline.text_encoder
    found = hashlib.sha256(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for network in (pipeline.vqvae, pipeline.denoiser, pipeline.null_text, encoder.model):
        for name, value in network.state_dict().items():
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().float().numpy().tobytes())
    sizes = (pipeline.vqvae.config, pipeline.denoiser.config, pipeline.schedule, encoder.length)
    chosen = [getattr(encoder.model.config, key) for key in ("hidden_act", "layer_norm_eps")]
    tokens = encoder.tokenize(["a red circle!", ""]).tolist()
    return hashlib.sha256(repr((found.digest(), sizes, chosen, tokens)).encode()).hexdigest()


def outcome(mutant: Mutant, expected: str) -> str:
    """What loading a damaged checkpoint and drawing with it comes to."""
    begin = time.perf_counter()
    try:
        with at_most(2 * SLOW, Hung):
            pipeline = VQDiffusionPipeline.from_pretrained(mutant.folder)
            pipeline.set_progress_bar_config(disable=True)
            pipeline("a red circle", num_inference_steps=2, output_type="np")
            files.load_clip(mutant.folder)
    except Hung:
        return "hung"
    except CheckpointError as error:
        is_good = len(str(error)) <= LONGEST and "weights_only" not in str(error)
        is_good = is_good and "\x1b" not in str(error) and mutant.base in str(error)
        result = "refused" if is_good else f"foreign: {error}"
    except BaseException as error:  # Rust panics are no `Exception`
        result = f"foreign: {type(error).__name__}: {error}"
    else:
        if fingerprint(pipeline) == expected:
            result = "loaded_equal"
        else:
            result = "loaded_other" if mutant.base == "signed" else "loaded_other_unsigned"
    return "hung" if time.perf_counter() - begin > SLOW else result


KINDS = (
    *("refused", "loaded_equal", "loaded_other", "loaded_other_unsigned"),
    *("foreign", "hung", "executed"),
)


def soak(count: int, seed: int) -> dict[str, int]:
    """Load `count` damaged checkpoints and all bombs, and count what happens.

    "loaded_other" is a change that the digests did not show, "loaded_other_unsigned" one of a
    folder without digests, where no one can know. Every fault is printed.
    """
    found: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    with tempfile.TemporaryDirectory() as temporary:
        bases = write_bases(Path(temporary))
        for number, base in enumerate(bases):
            expected = fingerprint(VQDiffusionPipeline.from_pretrained(base))
            share = len(range(number, count, len(bases)))
            for mutant in mutated(base, share, seed):
                result = outcome(mutant, expected)
                if result.split(":")[0] in ("foreign", "hung", "loaded_other"):
                    print(*mutant[1:], result)
                found[result.split(":")[0]] += 1
        _explode(Path(temporary), bases[0], found)
    return {"tried": sum(found.values()) - found["executed"], **found}


def _explode(root: Path, base: Path, found: Counter[str]) -> None:
    """Put every bomb in the place of every kind of weights."""
    marker = root / "gone off"
    places = {
        "vqvae": "diffusion_pytorch_model",
        "text_encoder": "pytorch_model",
        "transformer": "diffusion_pytorch_model",
    }
    for i, (name, content) in enumerate(bombs(marker).items()):
        part, stem = list(places.items())[i % len(places)]
        folder = root / "bomb" / base.name
        shutil.copytree(base, folder)
        for file in (folder / part).glob("*.safetensors"):
            file.unlink()
        (folder / part / f"{stem}.bin").write_bytes(content)
        result = outcome(Mutant(folder, base.name, part, name), "")
        found[result.split(":")[0]] += 1
        if result != "refused":
            print(name, result)
        if marker.exists():
            print(name, "was executed")
            found["executed"] += 1
            marker.unlink()
        shutil.rmtree(root / "bomb")


# Pickles that would write a file --------------------------------------------------


class Call:
    """A pickle that calls a function when it is opened by the usual means."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def bombs(marker: Path) -> dict[str, bytes]:
    """Files that write `marker` if something in them is executed, and some that only look odd."""
    shell, code = f"touch '{marker}'", f"open({str(marker)!r}, 'w').close()"
    weights = {"a": torch.zeros(3)}
    calls = {
        "os.system": Call(os.system, shell),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "touch": Call(Path.touch, marker),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "subprocess": Call(__import__("subprocess").call, shell, 0, None),
        "torch.load": Call(torch.load, str(marker)),
        "open": Call(open, str(marker), "w"),
    }
    found = {}
    for name, call in calls.items():
        found[f"{name} in an archive"] = _saved({**weights, "bomb": call})
        found[f"{name} in an old file"] = _saved({**weights, "bomb": call}, zipped=False)
    found |= {
        "as a key": _saved({Call(eval, code): 1}),
        "lightning": _saved({"state_dict": weights, "callbacks": {"c": calls["os.system"]}}),
        "lightning without code": _saved(
            {"state_dict": weights, "epoch": 3, "hyper_parameters": {"lr": 0.1}}
        ),
        "plain pickle": pickle.dumps(calls["os.system"]),
        "protocol 0": pickle.dumps(calls["eval"], protocol=0),
        "GLOBAL": f"cos\nsystem\n(S{shell!r}\ntR.".encode(),
        "INST": f"(S{shell!r}\nios\nsystem\n.".encode(),
        "OBJ": f"(cos\nsystem\nS{shell!r}\no.".encode(),
        "STACK_GLOBAL": _stack_global(shell),
        "a storage type": _storage_type(weights, shell),
        "tar": _tar(pickle.dumps(calls["os.system"])),
        "a module": _saved(torch.nn.Linear(2, 2)),
        "TorchScript": _torchscript(),
        "an empty archive": _archive({}),
        "a key that takes for ever to hash": _archive({"x/data.pkl": endless_key()}),
        "another member": _archive({"x/data.pkl": pickle.dumps(calls["exec"]), "x/version": b"3"}),
    }
    return found


def endless_key() -> bytes:
    """A pickle of {t: 1}, where t holds twice a tuple that holds twice a tuple, and so on."""
    key = ()
    for _ in range(60):
        key = (key, key)
    header, stop = b"\x80\x02", b"."
    written = pickle.dumps(key, protocol=2).removeprefix(header).removesuffix(stop)
    return header + b"}" + written + b"K\x01s" + stop


def _saved(content: Any, *, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def _archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _stack_global(shell: str) -> bytes:
    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()

    return b"\x80\x04" + text("os") + text("system") + b"\x93" + text(shell) + b"\x85R."


def _storage_type(weights: dict[str, Any], shell: str) -> bytes:
    """The type of a storage, which torch looks up while it reads a tensor, is a call."""
    file = io.BytesIO(_saved(weights))
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    call = (
        b"cos\nsystem\n" + b"X" + struct.pack("<I", len(shell.encode())) + shell.encode() + b"\x85R"
    )
    for name, data in members.items():
        if name.endswith("data.pkl"):
            members[name] = data.replace(b"ctorch\nFloatStorage\n", call)
            assert members[name] != data
    return _archive(members)


def _tar(content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def _torchscript() -> bytes:
    return _archive(
        {
            "x/version": b"3",
            "x/constants.pkl": pickle.dumps(()),
            "x/data.pkl": pickle.dumps({}),
            "x/code/__torch__.py": b"class Module: pass",
        }
    )


if __name__ == "__main__":
    import sys

    print(soak(int(sys.argv[1]), int(sys.argv[2])))
