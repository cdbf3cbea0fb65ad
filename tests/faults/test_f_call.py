"""The pipeline's call and loader are those of diffusers."""

from inspect import signature

import numpy as np
import pytest
import torch
from diffusers.pipelines.deprecated.vq_diffusion import pipeline_vq_diffusion
from support.tiny import diffusers_pipeline, write_diffusers_folder

from vqlearn import CheckpointError, TextToImagePipeline, VQDiffusionPipeline
from vqlearn.checkpoints import HubOptions
from vqlearn.checkpoints.hub import needed_files
from vqlearn.pipeline import Film, Parts
from vqlearn.pipeline.placement import best_device

THEIRS = pipeline_vq_diffusion.VQDiffusionPipeline
MASK, STEPS, TOKENS = 11, 10, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_diffusers_folder(tmp_path_factory.mktemp("call") / "model")


@pytest.fixture(scope="module")
def pipe(folder):
    pipeline = VQDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def moving(pipe):
    """The pipeline, which is back where it was after the test."""
    yield pipe
    pipe.to("cpu", torch.float32)


@pytest.fixture(scope="module")
def theirs():
    """Their pipeline with the weights of the folder."""
    torch.manual_seed(0)
    return diffusers_pipeline()


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# F1 ------------------------------------------------------------------------------


def test_our_call_begins_as_theirs():
    """Every parameter of theirs: its place, its name, its default.

    None stands for what the checkpoint recommends, and without that for their default.
    """
    theirs = list(signature(THEIRS.__call__).parameters.values())
    ours = list(signature(VQDiffusionPipeline.__call__).parameters.values())
    for our, their in zip(ours, theirs, strict=False):
        default = None if our.name in ("guidance_scale", "truncation_rate") else their.default
        assert (our.name, our.default, our.kind) == (their.name, default, their.kind)
    assert [more.name for more in ours[len(theirs) :]] == ["noise", "rule", "negative_prompt"]


def test_arguments_in_their_order_mean_what_they_mean_by_name(pipe):
    seen, latents = [], torch.full((2, TOKENS), 3)
    values = (4, 2.0, 0.9, 2, seeded(1), latents, "np", False, lambda *found: seen.append(found), 2)
    names = list(signature(THEIRS.__call__).parameters)[2:]
    in_order = pipe("a red circle", *values)
    values = (*values[:4], seeded(1), *values[5:])
    by_name = pipe(prompt="a red circle", **dict(zip(names, values, strict=True)))
    assert isinstance(in_order, tuple)
    assert np.array_equal(in_order[0], by_name[0])
    assert [i for i, _, _ in seen] == [0, 2, 0, 2]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("start", [None, 3, "mixed"])
def test_latents_give_the_tokens_that_they_give_in_diffusers(pipe, theirs, start):
    if start == "mixed":
        start = torch.arange(2 * TOKENS).view(2, TOKENS) % (MASK + 1)
    elif start is not None:
        start = torch.full((2, TOKENS), start)
    before = None if start is None else start.clone()
    found = {}
    for name, pipeline, more in (("ours", pipe, {"noise": "reference"}), ("theirs", theirs, {})):
        states = found.setdefault(name, [])
        keep = lambda i, t, x, states=states: states.append(x)  # noqa: E731
        pipeline(
            ["a red circle", "a blue square"], STEPS, 2.0, 0.9, 1, seeded(3), start, "np",
            callback=keep, **more,
        )  # fmt: skip
    assert len(found["ours"]) == STEPS
    assert torch.equal(torch.stack(found["ours"]), torch.stack(found["theirs"]))
    assert start is None or torch.equal(start, before)


def test_latents_are_a_start_and_are_not_held(pipe):
    start = torch.full((1, TOKENS), 3)
    film = Film(pipe, start)
    pipe("a red circle", STEPS, latents=start.int(), generator=seeded(0), callback=film)
    assert torch.equal(film.states[0], start)
    assert not torch.equal(film.states[-1], start)
    all_mask = torch.full((1, TOKENS), MASK)
    images = [
        pipe("a red circle", STEPS, generator=seeded(0), latents=latents)[0][0].tobytes()
        for latents in (None, all_mask)
    ]
    assert images[0] == images[1]


@pytest.mark.parametrize(
    ("latents", "error", "message"),
    [
        ("x", TypeError, "latents is 'x'; allowed"),
        ([[3] * TOKENS], TypeError, r"latents is \[\[3, .*; allowed"),
        (torch.full((1, TOKENS), 3.0), TypeError, "latents is torch.float32; allowed"),
        (torch.ones(1, TOKENS, dtype=torch.bool), TypeError, "latents is torch.bool; allowed"),
        (torch.zeros(2, TOKENS).long(), ValueError, r"latents has the shape \(2, 16\); allowed"),
        (torch.zeros(TOKENS).long(), ValueError, r"latents has the shape \(16,\); allowed"),
        (torch.full((1, TOKENS), 12), ValueError, "latents holds 12 to 12; allowed: 0 to 11"),
        (torch.full((1, TOKENS), -1), ValueError, "latents holds -1 to -1; allowed: 0 to 11"),
    ],
)
def test_latents_are_checked(pipe, latents, error, message):
    with pytest.raises(error, match=message):
        pipe("a red circle", STEPS, latents=latents)


def test_the_output_is_theirs(pipe):
    output = pipe("a red circle", 2)
    assert output[0] is output["images"] is output.images is output.to_tuple()[0]
    assert output[0][0].size == (8, 8)
    arrays = [
        pipe("a red circle", 2, generator=seeded(0), output_type=kind, return_dict=False)[0]
        for kind in ("np", "numpy", None)
    ]
    assert all(np.array_equal(array, arrays[0]) for array in arrays)
    with pytest.raises(IndexError):
        output[1]
    with pytest.raises(KeyError):
        output["latents"]


def test_every_pipeline_has_this_output(pipe):
    parts = Parts(pipe.vqvae, pipe.text_encoder, pipe.null_text)
    plain = TextToImagePipeline(parts, pipe.model)
    assert plain("a red circle", 2)[0][0].size == (8, 8)
    assert plain("a red circle", 2, output_type="numpy", return_dict=False)[0].shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    ("args", "named", "dtype"),
    [
        (("cpu",), {}, torch.float32),
        ((torch.float16,), {}, torch.float16),
        (("cpu", torch.bfloat16), {}, torch.bfloat16),
        ((torch.device("cpu"), "float64"), {}, torch.float64),
        ((), {"device": "cpu", "dtype": torch.float16}, torch.float16),
        ((), {"torch_device": "cpu", "torch_dtype": "torch.float16"}, torch.float16),
        (("cpu",), {"dtype": torch.float64, "silence_dtype_warnings": True}, torch.float64),
        ((None,), {}, torch.float32),
        ((), {}, torch.float32),
    ],
)
def test_to_moves_and_converts_as_theirs(moving, args, named, dtype):
    assert moving.to(*args, **named) is moving
    assert moving.device == torch.device("cpu")
    for part in moving.networks:
        assert {weight.dtype for weight in part.parameters()} == {dtype}


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((torch.int8,), {}, "dtype is torch.int8; allowed: 'float16'"),
        (("cpu", torch.float8_e4m3fn), {}, "dtype is torch.float8_e4m3fn; allowed"),
        ((), {"dtype": torch.complex64}, "dtype is torch.complex64; allowed"),
        ((), {"dtype": 16}, "dtype is 16; allowed"),
        (("float16",), {}, "device is 'float16'; allowed on this machine: "),
        (("cuda:99",), {}, "device is 'cuda:99'; allowed on this machine: "),
        (("meta",), {}, "device is 'meta'; allowed on this machine: "),
        ((True,), {}, "device is True; allowed on this machine: "),
        ((torch.float16, "cpu"), {}, "to has the arguments torch.float16, 'cpu'; allowed"),
        (("cpu", torch.float16, True), {}, "to has the arguments .*; allowed"),
        (("cpu",), {"device": "cuda"}, "device is 'cpu' and device is 'cuda'; allowed: one"),
        ((), {"dtype": "float16", "torch_dtype": "float64"}, "dtype is .* and torch_dtype is"),
    ],
)
def test_to_refuses_by_name_and_moves_nothing(moving, args, named, message):
    with pytest.raises(ValueError, match=message):
        moving.to(*args, **named)
    assert moving.dtype == torch.float32


def test_the_best_device_is_one_of_this_machine(moving, monkeypatch):
    assert moving.to(best_device()).device.type == best_device().type
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert best_device() == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device() == torch.device("cuda")


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"dtype": torch.float16}, torch.float16),
        ({"torch_dtype": "float16"}, torch.float16),
        ({"torch_dtype": "torch.bfloat16", "dtype": "torch.bfloat16"}, torch.bfloat16),
        ({"dtype": "auto"}, torch.float32),
        ({"use_safetensors": True, "token": "x", "low_cpu_mem_usage": False}, torch.float32),
        ({"device_map": "cpu", "force_download": True}, torch.float32),
        ({"safety_checker": None, "custom_pipeline": None, "proxies": None}, torch.float32),
    ],
)
def test_from_pretrained_takes_what_theirs_takes(folder, options, dtype):
    pipe = VQDiffusionPipeline.from_pretrained(folder, **options)
    assert {part.dtype for part in (pipe, pipe.text_encoder.model)} == {dtype}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"torch_dtype": torch.int8}, ValueError, "torch_dtype is torch.int8; allowed: 'float16'"),
        ({"torch_dtype": "int8"}, ValueError, "torch_dtype is 'int8'; allowed"),
        ({"dtype": torch.float8_e5m2}, ValueError, "dtype is torch.float8_e5m2; allowed"),
        ({"dtype": {"vqvae": torch.float16}}, ValueError, "dtype is {'vqvae': .*; allowed"),
        ({"torch_dtype": torch.float16, "dtype": torch.float64}, ValueError, "torch_dtype is"),
        ({"device_map": "balanced"}, ValueError, "device_map is 'balanced'; allowed"),
        ({"device_map": {"": "cpu"}}, ValueError, "device_map is {'': 'cpu'}; allowed"),
        ({"use_safetensors": "yes"}, TypeError, "use_safetensors is 'yes'; allowed"),
        ({"token": 5}, TypeError, "token is a int; allowed"),
        ({"revision": 5}, TypeError, "revision is 5; allowed"),
        ({"proxies": {"https": "u:secret@x"}}, ValueError, "proxies is given; allowed: None"),
        ({"low_cpu_mem_usage": "no"}, TypeError, "low_cpu_mem_usage is 'no'; allowed"),
        ({"custom_pipeline": "x/y"}, ValueError, "custom_pipeline is 'x/y'; .*nothing .* executed"),
        ({"trust_remote_code": True}, ValueError, "trust_remote_code is True; allowed: None"),
        ({"vqvae": None}, ValueError, "vqvae is a NoneType; allowed: the part of the checkpoint"),
        ({"scheduler": object()}, ValueError, "scheduler is a object; allowed"),
        ({"local_filez_only": True}, TypeError, "no argument 'local_filez_only'"),
        ({"use_safetensors": False}, CheckpointError, "allowed: one of .*bin"),
    ],
)
def test_from_pretrained_refuses_by_name(folder, options, error, message):
    with pytest.raises(error, match=message) as refused:
        VQDiffusionPipeline.from_pretrained(folder, **options)
    assert len(str(refused.value)) <= 400
    assert "secret" not in str(refused.value)


def test_a_path_is_needed():
    with pytest.raises(TypeError, match="pretrained_model_name_or_path is 5; allowed: a path"):
        VQDiffusionPipeline.from_pretrained(5)


def test_components_have_the_names_of_theirs(pipe, theirs):
    assert pipe.components.keys() == theirs.components.keys()
    modules = {
        name for name, part in theirs.components.items() if isinstance(part, torch.nn.Module)
    }
    for name in modules:
        assert isinstance(pipe.components[name], torch.nn.Module)


def test_what_users_of_diffusers_call(pipe):
    pipe.enable_attention_slicing()
    pipe.enable_xformers_memory_efficient_attention()
    pipe.disable_attention_slicing()
    assert list(pipe.progress_bar(range(3))) == [0, 1, 2]
    assert pipe.progress_bar(total=5).total == 5
    with pytest.raises(ValueError, match=r"enable_model_cpu_offload cannot be used: .*; allowed"):
        pipe.enable_model_cpu_offload()


def test_the_kind_of_file_can_be_chosen():
    both = [f"vqvae/diffusion_pytorch_model{suffix}" for suffix in (".bin", ".safetensors")]
    assert needed_files(both, None) == needed_files(both, None, True) == both[1:]
    assert needed_files(both, None, False) == both[:1]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"revision": 3}, TypeError),
        ({"variant": b"fp16"}, TypeError),
        ({"local_files_only": "yes"}, TypeError),
        ({"force_download": 1}, TypeError),
        ({"use_safetensors": "true"}, TypeError),
        ({"cache_dir": 5}, TypeError),
        ({"cache_dir": ""}, ValueError),
        ({"force_download": True, "local_files_only": True}, ValueError),
    ],
)
def test_options_of_the_hub_are_refused_by_name(options, error):
    with pytest.raises(error, match=f"{next(iter(options))} is .*; allowed"):
        HubOptions(**options)


def test_a_token_is_never_shown():
    assert "secret" not in repr(HubOptions(token="secret"))
    with pytest.raises(TypeError, match="token is a bytes; allowed: str, bool, None"):
        HubOptions(token=b"secret")
