"""Bad input gets one short error of the right kind, before the work."""

import math
import os
import socket
import sys
import time
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from faults import fuzz_checkpoints
from safetensors.torch import load_file
from support.command import run_command
from support.tiny import edit_json, write_diffusers_folder
from support.training import train_stages
from torch.utils._python_dispatch import TorchDispatchMode

from vqlearn import CheckpointError, VQDiffusionPipeline, __version__
from vqlearn.checkpoints import hub, resolve
from vqlearn.cli import commands, models
from vqlearn.diffusion import quick
from vqlearn.diffusion.reveal import entropy_bound, fixed_count, purity
from vqlearn.pipeline.arguments import check_reference_generator
from vqlearn.storage import write_json
from vqlearn.training.recipes import RECIPES

# E1 ------------------------------------------------------------------------------


LONG, DEEP = "9" * 5000, "[" * 5000 + "]" * 5000
CONFIGS = (
    *("model_index.json", "vqvae/config.json", "transformer/config.json"),
    *("learned_classifier_free_sampling_embeddings/config.json", "text_encoder/config.json"),
    *("scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json"),
    "tokenizer/tokenizer.json",
)


def refusal(folder, name):
    """The sentence with which a folder is refused, soon."""
    begin = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        VQDiffusionPipeline.from_pretrained(folder)
    assert time.process_time() - begin < 5
    message = str(caught.value)
    assert len(message) <= 400
    assert name in message
    return message


@pytest.mark.parametrize("name", CONFIGS)
def test_json_that_no_one_means_is_refused_by_name(checkpoint, name):
    whole = (checkpoint / name).read_text()
    for value in (DEEP, LONG, "-Infinity", "1e999"):
        (checkpoint / name).write_text(whole.replace("{", '{"more": ' + value + ",", 1))
        refusal(checkpoint, name)
    for content in (b"", b"[]", whole.encode("utf-16")):
        (checkpoint / name).write_bytes(content)
        refusal(checkpoint, name)
    (checkpoint / name).unlink()
    (checkpoint / name).mkdir()
    refusal(checkpoint, name.split("/")[0])


def test_a_text_of_any_size_is_refused_before_it_is_read(checkpoint):
    with (checkpoint / "model_index.json").open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    assert "allowed: 67108864" in refusal(checkpoint, "model_index.json")


SIZES = (2**31, 2**63, 10**30, -1, "x", 1.5, [1])


@pytest.mark.parametrize(
    ("part", "key"),
    [
        *((("vqvae"), key) for key in ("latent_channels", "num_vq_embeddings", "norm_num_groups")),
        *((("transformer"), key) for key in ("sample_size", "num_layers")),
        *((("text_encoder"), key) for key in ("vocab_size", "hidden_size")),
        ("learned_classifier_free_sampling_embeddings", "length"),
    ],
)
def test_sizes_that_no_network_has_are_refused_by_name(checkpoint, part, key):
    for value in SIZES:
        edit_json(checkpoint / part / "config.json", **{key: value})
        refusal(checkpoint, part)


@pytest.mark.parametrize("value", ["x", -1, 2, 1.5, True, [77]])
def test_a_length_that_no_text_has_is_refused_by_name(checkpoint, value):
    edit_json(checkpoint / "tokenizer" / "tokenizer_config.json", model_max_length=value)
    assert "model_max_length is" in refusal(checkpoint, "tokenizer_config.json")


def test_a_schedule_longer_than_the_denoiser_knows_is_not_built(checkpoint):
    edit_json(checkpoint / "scheduler" / "scheduler_config.json", num_train_timesteps=2**31 - 1)
    assert "num_embeds_ada_norm" in refusal(checkpoint, "scheduler_config.json")


ODD = {
    "sparse": lambda value: value.to_sparse(),
    "meta": lambda value: value.to("meta"),
    "quantised": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    "whole numbers": lambda value: value.long(),
    "complex": lambda value: value.to(torch.complex64),
    "float8": lambda value: value.to(torch.float8_e4m3fn),
    "more than the file": lambda value: torch.zeros(1).expand(2**40),
    "numbers": lambda value: value.tolist(),
    "nothing": lambda value: None,
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
@pytest.mark.parametrize("kind", [*ODD, "a name that is none"])
@pytest.mark.parametrize("zipped", [True, False])
def test_only_dense_floats_under_names_are_weights(checkpoint, part, kind, zipped):
    source = next((checkpoint / part).glob("*.safetensors"))
    weights = load_file(source)
    source.unlink()
    name = next(iter(weights))
    if kind in ODD:
        weights[name] = ODD[kind](weights[name])
    else:
        weights[3] = weights.pop(name)
    stem = "pytorch_model" if part == "text_encoder" else "diffusion_pytorch_model"
    file = checkpoint / part / f"{stem}.bin"
    torch.save(weights, file, _use_new_zipfile_serialization=zipped)
    refusal(checkpoint, file.name)


def test_a_message_is_never_longer_than_400_characters():
    message = str(CheckpointError("begin " + "x" * 14_000 + " end"))
    assert len(message) <= 400
    assert message.startswith("begin x")
    assert message.endswith("x end")


# E2 ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [10_000, 100_000, 2**30])
@pytest.mark.parametrize(
    ("part", "key"),
    [
        ("transformer", "num_layers"),
        ("vqvae", "layers_per_block"),
        ("text_encoder", "num_hidden_layers"),
    ],
)
def test_weights_are_counted_before_layers_are_built(checkpoint, part, key, count):
    edit_json(checkpoint / part / "config.json", **{key: count})
    assert "layers" in refusal(checkpoint, part)


def test_blocks_are_counted_before_they_are_built(checkpoint):
    blocks = 10_000
    edit_json(
        checkpoint / "vqvae" / "config.json",
        block_out_channels=[4] * blocks,
        down_block_types=["DownEncoderBlock2D"] * blocks,
        up_block_types=["UpDecoderBlock2D"] * blocks,
    )
    assert "layers" in refusal(checkpoint, "vqvae")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_key_that_takes_for_ever_to_hash_is_refused(checkpoint, zipped):
    written = fuzz_checkpoints.endless_key()
    content = fuzz_checkpoints._archive({"x/data.pkl": written}) if zipped else written * 5
    weights = checkpoint / "vqvae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.with_suffix(".bin").write_bytes(content)
    assert "holds tuples 60 deep" in refusal(checkpoint, "vqvae")


# E3 ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_diffusers_folder(tmp_path_factory.mktemp("errors") / "model")
    pipeline = VQDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Odd:
    """Something that cannot even be shown."""

    def __repr__(self):
        raise RuntimeError("no")


REFUSED = {
    "prompt": (b"x", {"a": 1}, ["a", None], [], "\ud800", np.array(["a"]), Odd()),
    "num_inference_steps": (0, -1, 11, 2.5, True, "5", None, 10**5000, np.float64(5)),
    "guidance_scale": (float("nan"), float("inf"), "5", True, 1j, 10**5000, 1e39, Odd()),
    "truncation_rate": (0, 1e-320, -0.5, 1.1, float("nan"), "1", True, np.array([0.5])),
    "num_images_per_prompt": (0, -1, 10**9, 10**5000, 1.0, True, None, "2"),
    "generator": (3, "cpu", [], [None], [torch.Generator()] * 2, Odd()),
    "latents": ("x", 3, torch.zeros(1, 16), np.zeros((1, 16), dtype=int)),
    "output_type": ("latent", "pt", "PIL", 5, ["np"], Odd()),
    "return_dict": (None, 0, "no", print),
    "callback": (3, "print", [print], Odd()),
    "callback_steps": (0, -1, 1.5, None, True, "2"),
    "noise": ("Exact", None, 3, ["exact"]),
    "negative_prompt": (3, b"x", ["a", None], [], ["a", "b"], "\ud800", Odd()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_argument_is_refused_by_its_name_before_work(pipe, monkeypatch, name):
    monkeypatch.setattr(pipe, "conditioning", lambda *_, **__: pytest.fail("the work was begun"))
    for value in REFUSED[name]:
        with pytest.raises((TypeError, ValueError), match=rf"^{name}\b.*allowed") as refused:
            pipe(**{"prompt": "a red circle", "num_inference_steps": 2, name: value})
        assert len(str(refused.value)) <= 400


def test_numbers_of_other_types_mean_what_they_say(pipe):
    def image(**more):
        start = torch.Generator().manual_seed(0)
        return pipe("a red circle", generator=[start, start], output_type="np", **more)[0]

    plain = {"num_inference_steps": 5, "guidance_scale": 1.5, "truncation_rate": 0.5}
    plain |= {"num_images_per_prompt": 2, "callback_steps": 2}
    other = {"num_inference_steps": np.int32(5), "guidance_scale": Fraction(3, 2)}
    other |= {"truncation_rate": np.float16(0.5), "num_images_per_prompt": np.int64(2)}
    assert np.array_equal(image(**plain), image(**other, callback_steps=np.uint8(2)))


def test_noise_of_the_references_needs_their_generator(pipe):
    for generator in ([torch.Generator()], SimpleNamespace(device=torch.device("cuda"))):
        with pytest.raises((TypeError, ValueError), match=r"^generator is .*; allowed with noise="):
            check_reference_generator(generator, pipe.device)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--seed", value) for value in ("9" * 20, "-9223372036854775809", "9" * 5000)),
        *(("--images", value) for value in ("1000000000", "0", "-1", "9" * 4000, "2.5")),
    ],
)  # fmt: skip
def test_options_are_refused_before_work(tmp_path, monkeypatch, capsys, option, value):
    monkeypatch.setattr(models, "open_model", lambda *_: pytest.fail("the work was begun"))
    monkeypatch.chdir(tmp_path)
    code, out, error = run_command(monkeypatch, capsys, "generate", "x", option, value)
    assert (code != 0, out) == (True, "")
    assert error.startswith("vqlearn: ")
    assert option in error
    assert error.count("\n") == 1
    assert len(error) < 450


def test_the_largest_seed_can_be_used(pipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(models, "open_model", lambda *_: pipe)
    out = ["--steps", 2, "--out", tmp_path / "image.png"]
    for seed, images, expected in ((2**64 - 2, 2, 0), (2**64 - 1, 2, 1), (-(2**63), 1, 0)):
        words = ["generate", "x", "--seed", seed, "--images", images, *out]
        assert run_command(monkeypatch, capsys, *words)[0] == expected


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("a mistake of ours"), False),
    ],
)
def test_a_memory_that_does_not_suffice_is_one_line(tmp_path, monkeypatch, capsys, error, known):
    def fail(*_):
        raise error

    monkeypatch.setattr(models, "open_model", fail)
    words = ["generate", "x", "--out", tmp_path / "image.png"]
    if known:
        code, _, said = run_command(monkeypatch, capsys, *words)
        assert (code, said[:35]) == (1, "vqlearn: the memory does not suffic")
    else:
        with pytest.raises(RuntimeError, match="a mistake of ours"):
            run_command(monkeypatch, capsys, *words)


class NoFloat64(TorchDispatchMode):
    """No float64 but in the tables of a schedule, and in what `allowed` computes: on the CPU."""

    def __init__(self):
        super().__init__()
        self.is_on = True

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if self.is_on and isinstance(found, torch.Tensor) and found.dtype == torch.float64:
            assert found.numel() <= 12, function  # levels 0 to T, or classes
        return found

    def allowed(self, work):
        def allowed(*args, **options):
            self.is_on = False
            found = work(*args, **options)
            self.is_on = True
            return found

        return allowed


def test_sampling_needs_nothing_that_mps_lacks(pipe, monkeypatch):
    """As on MPS; the plan of the quick sampler is made on the CPU, as it says."""
    for name, module in list(sys.modules.items()):
        if name.startswith("vqlearn.") and hasattr(module, "finest_float"):
            monkeypatch.setattr(module, "finest_float", lambda device: torch.float32)
    with NoFloat64() as watch:
        monkeypatch.setattr(quick, "planned", watch.allowed(quick.planned))
        for noise in ("exact", "fast", "reference"):
            pipe("a red circle", 10, truncation_rate=0.9, noise=noise)
        for rule in (fixed_count(4), purity(4), entropy_bound(1.0)):
            pipe("a red circle", guidance_scale=1.5, rule=rule)
        pipe.model.sample(2, pipe.conditioning(["a", "b"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--seed 99999999999999999999", "seed is 99999999999999999999; allowed: 0 to 4294967295"),
        ("--seed -1", "seed is -1; allowed: 0 or more"),
        ("--steps 0", "steps is 0; allowed: 1 or more"),
        ("--steps 99999999999999999999", "steps is 99999999999999999999; allowed: 1 to"),
        ("--batch-size 1000000000000", "batch_size is 1000000000000; allowed: 1 to 65536"),
        ("--batch-size -1", "batch_size is -1; allowed: 1 or more"),
        ("--save-every 0", "save_every is 0; allowed: 1 or more"),
        ("--image-size 30", "image_size is 30; allowed: multiples of 4"),
        ("--image-size -32", "image_size is -32; allowed: multiples of 4"),
        ("--image-size 4", "image_size is 4; allowed: multiples of 4, such as 32 or 64, 16 to"),
        ("--image-size 4000000000000", "image_size is 4000000000000; allowed: multiples of 4"),
        ("--data nowhere", "data is 'nowhere'; allowed: 'scenes', or a folder"),
        ("--quantizer odd", "quantizer is 'odd'; allowed: 'nearest', 'gumbel'"),
    ],
)
def test_numbers_of_a_training_are_refused_by_name(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vqlearn", "train", *arguments.split()])
    with pytest.raises(SystemExit):
        commands.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vqlearn: {message}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        *({"learning_rate": value} for value in (math.nan, math.inf, -1e-3, "fast", None)),
        *({"ema_decay": value} for value in (math.nan, 1, 1.5, -0.1, "slow")),
        *({"steps": value} for value in (1.5, True, "many", 0)),
        *({"seed": value} for value in (0.5, None, 2**32)),
        *({"warmup_steps": value} for value in (0, -5, math.nan)),
    ],
)
def test_numbers_of_a_recipe_are_refused_by_name(changes):
    (name,) = changes
    with pytest.raises((TypeError, ValueError), match=f"{name} is .*; allowed: "):
        replace(RECIPES["text"], **changes)


# E4 ------------------------------------------------------------------------------


LEFT_BEHIND = (
    *(".DS_Store", "vqvae/.DS_Store", "vqvae/Thumbs.db", "transformer/desktop.ini"),
    *("vqvae/.ipynb_checkpoints/config-checkpoint.json", "tokenizer/.part-tokenizer.json"),
    *("vqvae/._config.json", "README.md", "vqvae/config.json~", ".part-new/vqvae/config.json"),
)


def test_files_that_are_never_read_are_let_be_and_never_signed(checkpoint, tmp_path):
    pipeline = VQDiffusionPipeline.from_pretrained(checkpoint)
    pipeline.save_pretrained(tmp_path / "signed")
    before = (tmp_path / "signed" / "SHA256SUMS").read_text()
    for name in LEFT_BEHIND:
        file = tmp_path / "signed" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0")
    VQDiffusionPipeline.from_pretrained(tmp_path / "signed")
    pipeline.save_pretrained(tmp_path / "signed")
    assert (tmp_path / "signed" / "SHA256SUMS").read_text() == before
    assert (tmp_path / "signed" / "vqvae" / ".DS_Store").exists()


@pytest.mark.parametrize(
    "name",
    [
        *("vqvae/diffusion_pytorch_model.bin", "vqvae/diffusion_pytorch_model.fp16.safetensors"),
        *("text_encoder/pytorch_model.bin", "tokenizer/vocab.json", "tokenizer/merges.txt"),
        *("tokenizer/added_tokens.json", "tokenizer/special_tokens_map.json", "clip/config.json"),
    ],
)
def test_files_that_could_be_read_must_be_listed(checkpoint, tmp_path, name):
    VQDiffusionPipeline.from_pretrained(checkpoint).save_pretrained(tmp_path / "signed")
    (tmp_path / "signed" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "signed" / name).write_bytes(b"{}")
    assert "is not listed" in refusal(tmp_path / "signed", name)


# E5 ------------------------------------------------------------------------------


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    "name", ["vqvae/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json"]
)
def test_a_pointer_of_git_lfs_is_called_one(checkpoint, signed, name):
    if signed:
        VQDiffusionPipeline.from_pretrained(checkpoint).save_pretrained(checkpoint)
    (checkpoint / name).write_text(POINTER)
    assert "is a git-lfs pointer, not the file itself: run git lfs pull" in refusal(
        checkpoint, name
    )


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def unresolved(name):
    begin = time.perf_counter()
    with pytest.raises(CheckpointError, match=f"no folder '{name}'.*vqlearn download {name}"):
        resolve(name)
    return time.perf_counter() - begin


@pytest.mark.parametrize("network", ["none", "silent", "no name server"])
def test_a_hub_out_of_reach_is_asked_once_and_soon_given_up(no_cache, monkeypatch, network):
    monkeypatch.setattr(hub, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes calls and never answers
        port = 9 if network == "none" else silent.getsockname()[1]
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        if network == "no name server":
            monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **options: time.sleep(5))
        assert unresolved("some/body") < 3


def test_a_folder_that_is_not_there_yet_is_not_looked_for_on_the_hub(
    no_cache, tmp_path, monkeypatch
):
    def never(*arguments, **options):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(hub.HfApi, "model_info", never)
    (tmp_path / "runs").mkdir()
    assert unresolved("runs/mine") < 1
    assert hub.is_repository("runs/mine")


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "", "a\0b"])
def test_names_that_are_no_paths_are_refused_by_name(name):
    with pytest.raises(ValueError, match="the checkpoint is"):
        resolve(name)


def test_the_home_folder_is_understood(checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert resolve(f"~/{checkpoint.name}") == checkpoint
    VQDiffusionPipeline.from_pretrained(checkpoint).save_pretrained(f"~{os.sep}saved")
    assert (checkpoint.parent / "saved" / "SHA256SUMS").is_file()


def test_the_command_alone_prints_its_help(monkeypatch, capsys):
    code, out, error = run_command(monkeypatch, capsys)
    assert (code, error) == (0, "")
    assert all(word in out for word in ("Usage:", "generate", "train", "doctor", "--version"))


def test_the_version_is_told(monkeypatch, capsys):
    assert run_command(monkeypatch, capsys, "--version") == (0, f"vqlearn {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["--bogus"],
        ["generate", "x", "y"],
        ["generate", "x", "--nope", "1"],
    ],
)
def test_unknown_words_are_refused_in_one_line(monkeypatch, capsys, arguments):
    code, out, error = run_command(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert error.startswith("vqlearn: ")
    assert error.count("\n") == 1


TOKENS_AND_TEXT = ["vqvae/config.json", "text_encoder/config.json", "tokenizer/tokenizer.json"]


@pytest.mark.parametrize(
    ("there", "stage", "command"),
    [
        ([".training/tokens/5"], "tokens", "vqlearn train --out"),
        (["vqvae/config.json"], "text", "vqlearn train --out"),
        (TOKENS_AND_TEXT, "diffusion", "vqlearn train --out"),
        ([*TOKENS_AND_TEXT, ".training/raster/5"], "raster", "vqlearn train raster --out"),
    ],
)
def test_an_unfinished_training_says_what_is_missing(
    tmp_path, monkeypatch, capsys, there, stage, command
):
    for name in there:
        path = tmp_path / "run" / name
        if path.suffix:
            write_json(path, {})
        else:
            path.mkdir(parents=True)
    run, image, report = (tmp_path / name for name in ("run", "image.png", "report"))
    for words in (
        ["generate", "x", "--model", run, "--out", image],
        ["verify", run, "--out", report],
        ["evaluate", "--model", run],
    ):
        code, _, error = run_command(monkeypatch, capsys, *words)
        assert code == 1
        assert f"the stage {stage} is missing" in error
        assert f"{command} {run}" in error
        assert error.count("\n") == 1


def test_a_folder_of_something_else_is_no_training(tmp_path, monkeypatch, capsys):
    words = ["generate", "x", "--model", tmp_path, "--out", tmp_path / "image.png"]
    assert "is no checkpoint; allowed" in run_command(monkeypatch, capsys, *words)[2]


@pytest.mark.parametrize("stage", ["diffusion", "raster", "imagebart"])
def test_a_token_model_says_what_comes_first(tmp_path, stage):
    """First tokens, then text, with the command for it; its folder may have a space."""
    folder, recipe = tmp_path / "my run", {stage: replace(RECIPES[stage], steps=1, batch_size=1)}
    with pytest.raises(CheckpointError, match="tokens and text come first") as refused:
        train_stages(folder, recipe)
    command = f"`vqlearn train tokens --data scenes --out '{folder}'`"
    assert command in str(refused.value)
    (folder / "vqvae").mkdir()
    with pytest.raises(CheckpointError, match=r"has no text encoder; .*`vqlearn train text "):
        train_stages(folder, recipe)
