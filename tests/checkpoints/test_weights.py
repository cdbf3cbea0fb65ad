"""Every file that the released checkpoints come in is read; every bad one is named, not run."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.peak_memory import PEAK
from support.tiny import write_diffusers_folder

from vqlearn import CheckpointError, VQDiffusionPipeline
from vqlearn.checkpoints.weights import WeightsFile

DIFFUSERS = "diffusion_pytorch_model"
PARTS = {
    "vqvae": (DIFFUSERS, DIFFUSERS),
    "transformer": (DIFFUSERS, DIFFUSERS),
    "learned_classifier_free_sampling_embeddings": (DIFFUSERS, DIFFUSERS),
    "text_encoder": ("model", "pytorch_model"),
}
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


@pytest.fixture
def folder(tmp_path):
    return write_diffusers_folder(tmp_path / "model")


def rewrite(folder, *, suffix, variant=None, change=lambda part, weights: weights, keep=False):
    """Store the weights of every part again, in another kind of file."""
    for part, (new, old) in PARTS.items():
        file = folder / part / f"{new}.safetensors"
        weights = change(part, load_file(file))
        if not keep:
            file.unlink()
        stem = old if suffix == ".bin" else new
        target = folder / part / f"{stem}{'' if variant is None else f'.{variant}'}{suffix}"
        if suffix == ".bin":
            torch.save(weights, target)
        else:
            save_file(weights, target, metadata={"format": "pt"})


def state(pipeline):
    parts = (pipeline.vqvae, pipeline.denoiser, pipeline.null_text, pipeline.text_encoder.model)
    return [weight for part in parts for weight in part.state_dict().values()]


def load(folder, **options):
    return VQDiffusionPipeline.from_pretrained(folder, **options)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize("variant", [None, "fp16"])
def test_pickles_and_variants_hold_the_same_weights(folder, suffix, variant):
    wanted = state(load(folder))
    rewrite(folder, suffix=suffix, variant=variant)
    for seen, expected in zip(state(load(folder, variant=variant)), wanted, strict=True):
        assert torch.equal(seen, expected)


def test_the_variant_is_read_where_both_stand(folder, caplog):
    rewrite(
        folder,
        suffix=".safetensors",
        variant="fp16",
        change=lambda part, weights: {name: w.half() for name, w in weights.items()},
        keep=True,
    )
    assert {weight.dtype for weight in state(load(folder))} == {torch.float32}
    assert {weight.dtype for weight in state(load(folder, variant="fp16"))} == {torch.float16}
    with caplog.at_level(logging.WARNING, "vqlearn"):
        load(folder, variant="bf16")
    assert "has no 'bf16' weights" in caplog.text


def test_attention_of_the_vq_network_may_have_its_old_names(folder):
    wanted = state(load(folder))

    def older(part, weights):
        if part != "vqvae":
            return weights
        renamed = {}
        for name, weight in weights.items():
            for new, old in OLD_NAMES.items():
                name = name.replace(f".{new}.", f".{old}.") if ".attentions." in name else name
            renamed[name] = weight
        assert sum("proj_attn" in name for name in renamed) > 0
        return renamed

    rewrite(folder, suffix=".bin", change=older)
    assert all(map(torch.equal, state(load(folder)), wanted))


def test_text_encoders_of_older_files_have_a_prefix_and_position_ids(folder):
    wanted = state(load(folder))

    def older(part, weights):
        if part != "text_encoder":
            return weights
        plain = {name.removeprefix("text_model."): weight for name, weight in weights.items()}
        plain["embeddings.position_ids"] = torch.arange(9)[None]
        return {f"text_model.{name}": weight for name, weight in plain.items()}

    rewrite(folder, suffix=".bin", change=older)
    assert all(map(torch.equal, state(load(folder)), wanted))


def test_an_old_tokenizer_of_two_files_is_read(folder):
    prompt = "a red circle"
    wanted = load(folder).text_encoder.tokenize([prompt])
    tokenizer = folder / "tokenizer"
    inside = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    (tokenizer / "vocab.json").write_text(json.dumps(inside["vocab"]))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in inside["merges"]]
    (tokenizer / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (tokenizer / "tokenizer.json").unlink()
    assert torch.equal(load(folder).text_encoder.tokenize([prompt]), wanted)


def test_pickles_of_before_2020_are_read(folder, tmp_path):
    weights = load_file(folder / "vqvae" / f"{DIFFUSERS}.safetensors")
    torch.save(weights, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    file = WeightsFile(tmp_path / "old.bin")
    assert all(torch.equal(file.read(n, torch.float32), w) for n, w in weights.items())


class Bomb:
    """A pickle that writes a file when it is opened by the usual means."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_pickle_is_executed(folder, tmp_path, zipped):
    weights = load_file(folder / "vqvae" / f"{DIFFUSERS}.safetensors")
    (folder / "vqvae" / f"{DIFFUSERS}.safetensors").unlink()
    file = folder / "vqvae" / f"{DIFFUSERS}.bin"
    bomb = {**weights, "bomb": Bomb(tmp_path / "gone off")}
    torch.save(bomb, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"vqvae/diffusion_pytorch_model\.bin"):
        load(folder)
    assert not (tmp_path / "gone off").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "gone off").exists()  # the bomb does work


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": "text"}, {"a": {"b": 1}}])
def test_a_pickle_of_something_else_is_named(tmp_path, content):
    torch.save(content, tmp_path / "weights.bin")
    with pytest.raises(CheckpointError, match="allowed: named tensors"):
        WeightsFile(tmp_path / "weights.bin")


@pytest.mark.parametrize("weights", [{}, {"a": torch.ones(2, dtype=torch.int64)}])
@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_file_without_floats_has_no_common_type_and_is_named(tmp_path, weights, suffix):
    file = tmp_path / f"weights{suffix}"
    (torch.save if suffix == ".bin" else save_file)(weights, file)
    with pytest.raises(CheckpointError, match="holds no weights of a float type"):
        WeightsFile(file).common_dtype()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", PARTS)
def test_nan_and_infinity_are_named(folder, part, bad):
    broken = []

    def spoil(name, weights):
        if name == part:
            broken.append(next(iter(weights)))
            weights[broken[0]].view(-1)[-1] = bad
        return weights

    rewrite(folder, suffix=".bin", change=spoil)
    with pytest.raises(CheckpointError, match="holds NaN or infinity") as caught:
        load(folder)
    assert part in str(caught.value)


def test_float16_that_overflows_is_named(folder):
    def grow(part, weights):
        return {n: w * 1e9 if n == "out.weight" else w for n, w in weights.items()}

    rewrite(folder, suffix=".safetensors", change=grow)
    load(folder)
    with pytest.raises(CheckpointError, match=r"out\.weight holds NaN or infinity as torch\.float"):
        load(folder, torch_dtype=torch.float16)


def test_shapes_are_compared_before_anything_is_read(folder, monkeypatch):
    file = folder / "transformer" / f"{DIFFUSERS}.safetensors"
    weights = load_file(file)
    weights["out.weight"] = weights["out.weight"][:, :-1].contiguous()
    save_file(weights, file)

    def read(self, name, dtype):
        assert name != "out.weight"
        return torch.empty(self.stored[name].shape, dtype=dtype)

    monkeypatch.setattr(WeightsFile, "read", read)
    with pytest.raises(CheckpointError, match=r"out\.weight has the shape \(11, 9\)"):
        load(folder)


def test_a_part_without_weights_is_named_with_what_it_may_hold(folder):
    (folder / "vqvae" / f"{DIFFUSERS}.safetensors").unlink()
    allowed = r"holds \['config\.json'\]; allowed: one of diffusion_pytorch_model\.safetensors, "
    with pytest.raises(CheckpointError, match=allowed):
        load(folder)


@pytest.mark.parametrize("library", ["diffusers", "vq_diffusion", "vqlearn", "os"])
def test_any_library_may_stand_in_the_index_and_none_is_imported(folder, library):
    file = folder / "model_index.json"
    index = json.loads(file.read_text())
    index = {k: [library, v[1]] if isinstance(v, list) else v for k, v in index.items()}
    index["another part"] = [library, "system"]
    file.write_text(json.dumps(index))
    load(folder)


@pytest.mark.parametrize("part", ["vqvae", "transformer", "scheduler", "tokenizer"])
@pytest.mark.parametrize("named", [["diffusers", "AutoencoderKL"], "../elsewhere", None])
def test_other_classes_in_the_index_are_refused(folder, part, named):
    file = folder / "model_index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), part: named}))
    with pytest.raises(CheckpointError, match=f"describes {part} as a .*; allowed: '"):
        load(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_loading_in_half_precision_needs_little_more_than_the_weights(tmp_path):
    """A file of 500 MB in float32, read as 250 MB; at most 1.3 times that."""
    from vqlearn.checkpoints import folder as files
    from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig

    for name, width in (("small", 8), ("large", 96)):
        config = DenoiserConfig(8, width, 14, 512, True, 1025, 16, 100)
        files.save_network(Denoiser(config), tmp_path / name)
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    times, megabytes = map(float, run.stdout.split())
    assert megabytes > 200
    assert times < 1.3
