"""Synthetic checkpoint files with the names and the nesting of the official ones.

`sizes.SMALL` makes files of a few megabytes. `training_states` and `codec_state` return state
dicts; without a seed they are on the meta device, at any size. `save_*` write files.
"""

import sys
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest import mock

import torch
from official import keys
from official.keys import Shapes
from official.sizes import CodecSizes, ReleaseSizes
from official.values import as_saved, filled, schedule_buffers
from torch import Tensor

State = dict[str, Tensor]


def with_prefix(prefix: str, state: State) -> State:
    return {f"{prefix}.{key}": value for key, value in state.items()}


def diffusion_state(sizes: ReleaseSizes, seed: int | None, part: str) -> State:
    """What the EMA holds. The buffers of the process are those of the schedule, the rest random."""
    state = filled(keys.diffusion_model(sizes), seed, part)
    return state if seed is None else state | schedule_buffers(sizes.denoiser)


def codec_state(sizes: CodecSizes, seed: int | None) -> State:
    return filled(keys.codec(sizes), seed, "codec")


def codec_twice(codec: State) -> State:
    """The tokenizer as a training checkpoint holds it: an encoding and a decoding half.

    Both halves have the quantizer.
    """
    halves = {
        "enc": ("encoder.", "quant_conv.", "quantize."),
        "dec": ("decoder.", "post_quant_conv.", "quantize."),
    }
    return {
        f"content_codec.{half}.{key}": value
        for half, parts in halves.items()
        for part in parts
        for key, value in codec.items()
        if key.startswith(part)
    }


def training_states(sizes: ReleaseSizes, seed: int | None) -> tuple[OrderedDict, OrderedDict]:
    """`model` and `ema` of a training checkpoint. All their weights differ."""
    raw = diffusion_state(sizes, seed, "model")
    model = codec_twice(codec_state(sizes.codec, seed)) | with_prefix("transformer", raw)
    return as_saved(model), as_saved(diffusion_state(sizes, seed, "ema"))


def trained(sizes: ReleaseSizes) -> Shapes:
    """What the optimizer changes: the denoiser and the learned null, not CLIP and no buffer."""
    shapes = keys.diffusion_model(sizes)
    return {
        key: shape
        for key, shape in shapes.items()
        if key.startswith(("transformer.", "empty_text_embed")) and not key.endswith(".mask")
    }


def adam_state(shapes: Shapes, seed: int | None) -> dict:
    moments = {name: filled(shapes, seed, name) for name in ("exp_avg", "exp_avg_sq")}
    state = {
        number: {"step": 1000, **{name: moments[name][key] for name in moments}}
        for number, key in enumerate(shapes)
    }
    group = {
        "lr": 3e-06,
        "betas": (0.9, 0.96),
        "eps": 1e-08,
        "weight_decay": 0.045,
        "amsgrad": False,
        "params": list(range(len(shapes))),
    }
    return {"state": state, "param_groups": [group]}


def scheduler_state() -> dict:
    """Of the schedule of the learning rate: numbers, strings, lists and None."""
    return {
        **{"factor": 0.5, "min_lrs": [1e-06], "patience": 25000, "verbose": False},
        **{"cooldown": 0, "cooldown_counter": 0, "mode": "min", "threshold": 0.1},
        **{"threshold_mode": "rel", "warmup_lr": 0.00045, "warmup": 1000, "best": 1.25},
        **{"num_bad_epochs": 7, "mode_worse": float("inf"), "eps": 1e-08, "last_epoch": 1000},
        **{"warmup_lrs": [0.00045], "warmup_lr_steps": [4.47e-07], "_last_lr": [0.00045]},
    }


def training_checkpoint(sizes: ReleaseSizes, seed: int | None = 0) -> dict:
    """Everything that the solver saves."""
    model, ema = training_states(sizes, seed)
    optimizer = {"step_iteration": 1, "module": adam_state(trained(sizes), seed)}
    run = {"name": "none", "start_epoch": 0, "end_epoch": -1}
    run |= {"start_iteration": 0, "end_iteration": -1, "optimizer": optimizer}
    run |= {"scheduler": {"step_iteration": 1, "module": scheduler_state()}}
    clip = {"start_iteration": 0, "end_iteration": 5000, "max_norm": 0.5, "last_epoch": 999}
    return {
        **{"last_epoch": 99, "last_iter": 999, "model": model, "ema": ema},
        **{"clip_grad_norm": clip, "optimizer_and_scheduler": {"none": run}},
    }


def loss_state(seed: int) -> State:
    """Some of what the loss of a taming model adds: a perceptual network and a discriminator."""
    shapes = keys.joined(
        [
            ("perceptual_loss.scaling_layer", {"shift": keys.tensor(1, 3, 1, 1)}),
            ("perceptual_loss.net.slice1.0", keys.layer(4, 3, 3, 3)),
            ("perceptual_loss.lin0.model.1", {"weight": keys.tensor(1, 4, 1, 1)}),
            ("discriminator.main.0", keys.layer(4, 3, 4, 4)),
        ]
    )
    return filled(shapes, seed, "loss")


def language_model_shapes(codes: int, length: int, width: int = 8) -> Shapes:
    """The autoregressive transformer beside the tokenizer of faces, with one block."""
    linears = [(f"attn.{name}", keys.layer(width, width)) for name in ("key", "query", "value")]
    linears += [("attn.proj", keys.layer(width, width))]
    linears += [("mlp.0", keys.layer(4 * width, width)), ("mlp.2", keys.layer(width, 4 * width))]
    norms = [(name, keys.layer(width)) for name in ("ln1", "ln2")]
    mask = {"attn.mask": keys.tensor(1, 1, length, length)}
    return {
        "pos_emb": keys.tensor(1, length, width),
        "tok_emb.weight": keys.tensor(codes, width),
        **keys.under("blocks.0", keys.joined(norms) | mask | keys.joined(linears)),
        **keys.under("ln_f", keys.layer(width)),
        "head.weight": keys.tensor(codes, width),
    }


def taming_checkpoint(codec: State, callback: type, seed: int) -> dict:
    """A tokenizer as Lightning saved it. `callbacks` has a class among its keys."""
    state = as_saved(codec | with_prefix("loss", loss_state(seed)))
    return {
        **{"epoch": 9, "global_step": 1000, "pytorch-lightning_version": "1.0.8"},
        **{"callbacks": {callback: {"best_model_score": None}}, "optimizer_states": []},
        **{"lr_schedulers": [], "state_dict": state},
    }


def net2net_checkpoint(codec: State, callback: type, seed: int) -> dict:
    """The tokenizer of faces: a part of an autoregressive model, in the same frame."""
    codes, length = len(codec["quantize.embedding.weight"]), 16
    language_model = filled(language_model_shapes(codes, length), seed, "language model")
    state = with_prefix("first_stage_model", codec) | with_prefix("transformer", language_model)
    return taming_checkpoint({}, callback, seed) | {"state_dict": as_saved(state)}


@contextmanager
def lightning_callback():
    """A class that pickle writes down as one of Lightning, which need not be installed."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    packages = ("pytorch_lightning", "pytorch_lightning.callbacks")
    parents = {package: ModuleType(package) for package in packages}
    with mock.patch.dict(sys.modules, {name: module, **parents}):
        yield module.ModelCheckpoint


@contextmanager
def saved_from_cuda(on_cpu: State):
    """torch.save notes `cuda:0` as the place of all storages but those of `on_cpu`."""
    kept = {tensor.untyped_storage().data_ptr() for tensor in on_cpu.values()}

    def place(storage) -> str:
        return "cpu" if storage.data_ptr() in kept else "cuda:0"

    with mock.patch("torch.serialization.location_tag", place):
        yield


def save_training(path: Path, sizes: ReleaseSizes, seed: int = 0) -> dict:
    """Write a training checkpoint; return what was written. Only the EMA was not on a GPU."""
    checkpoint = training_checkpoint(sizes, seed)
    with saved_from_cuda(on_cpu=checkpoint["ema"]):
        torch.save(checkpoint, path)
    return checkpoint


def save_codec(path: Path, sizes: CodecSizes, seed: int = 0, *, net2net: bool = False) -> State:
    """Write a stand-alone tokenizer in the frame of its kind; return its own state."""
    codec = codec_state(sizes, seed)
    if sizes.kind == "ema":
        torch.save({"model": as_saved(codec)}, path)
        return codec
    frame = net2net_checkpoint if net2net else taming_checkpoint
    with lightning_callback() as callback:
        torch.save(frame(codec, callback, seed), path)
    return codec


def remap_table(sizes: ReleaseSizes) -> Tensor:
    """From full to used codes, as the original has it: 0 for all that are not used."""
    full, used = sizes.codec.codes, sizes.denoiser.codes
    table = torch.zeros(full, dtype=torch.int64)
    which = 1 + torch.randperm(full - 1, generator=torch.Generator().manual_seed(0))[: used - 1]
    table[which.sort().values] = torch.arange(1, used)
    return table


def save_remap(path: Path, sizes: ReleaseSizes) -> Tensor:
    table = remap_table(sizes)
    torch.save(table, path)
    return table


def split(path: Path, parts: int) -> list[Path]:
    """Cut NAME.pth into NAME_aa, NAME_ab, … and delete it: joined they are the file."""
    content = path.read_bytes()
    size = -(-len(content) // parts)
    names = [path.with_name(f"{path.stem}_a{chr(ord('a') + i)}") for i in range(parts)]
    for i, name in enumerate(names):
        name.write_bytes(content[i * size : (i + 1) * size])
    path.unlink()
    return names
