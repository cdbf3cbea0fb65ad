"""The pipeline's call: its arguments, its order, its seeds, and what it refuses."""

import copy
import logging
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.tiny import write_diffusers_folder

from vqlearn import VQDiffusionPipeline
from vqlearn.diffusion import DiffusionModel
from vqlearn.diffusion.kernels import uniform
from vqlearn.diffusion.quick import quick_denoiser
from vqlearn.pipeline.text_to_image import Parts, TextToImagePipeline
from vqlearn.probability.filters import top_p
from vqlearn.probability.model import Sampling
from vqlearn.text import NullText, NullTextConfig

MASK, STEPS = 11, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_diffusers_folder(tmp_path_factory.mktemp("pipeline") / "model", text_length=77)


@pytest.fixture(scope="module")
def pipe(folder):
    return VQDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float64)


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def tokens_of(pipe, *args, **kwargs):
    seen = []
    pipe(*args, callback=lambda i, timestep, tokens: seen.append(tokens), **kwargs)
    return seen[-1]


def test_the_defaults_are_those_of_diffusers(pipe):
    from inspect import signature

    from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import (
        VQDiffusionPipeline as Reference,
    )

    theirs = signature(Reference.__call__).parameters
    ours = dict(signature(VQDiffusionPipeline.__call__).parameters)
    assert list(ours)[-3:] == ["noise", "rule", "negative_prompt"]  # diffusers has none of them
    assert ours.pop("noise").default == "exact"
    assert ours.pop("rule").default is ours.pop("negative_prompt").default is None
    # None there: what the checkpoint recommends, or else what diffusers takes
    usual = VQDiffusionPipeline.usual
    for name in ("guidance_scale", "truncation_rate"):
        assert ours.pop(name).default is None
        assert getattr(usual, name) == theirs[name].default
    for name, parameter in ours.items():
        if name != "self":
            assert parameter.default == theirs[name].default, name


def test_images_are_prompt_major_and_pil_by_default(pipe):
    prompts = ["a red circle", "a blue square"]
    together = pipe(prompts, 5, num_images_per_prompt=2, generator=seeded(0, 1, 2, 3))
    assert len(together.images) == 4
    assert together.images[0].size == (8, 8)
    assert together.images[0].mode == "RGB"
    alone = pipe("a blue square", 5, num_images_per_prompt=2, generator=seeded(2, 3))
    for left, right in zip(together.images[2:], alone.images, strict=True):
        assert left.tobytes() == right.tobytes()


def test_np_output_is_float32_in_zero_to_one_and_agrees_with_pil(pipe):
    array = pipe("a red circle", 5, generator=seeded(0), output_type="np").images
    assert array.shape == (1, 8, 8, 3)
    assert array.dtype == np.float32
    assert array.min() >= 0
    assert array.max() <= 1
    pil = np.asarray(pipe("a red circle", 5, generator=seeded(0)).images[0])
    assert np.abs(array[0] * 255 - pil).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_runs_from_sentence_to_picture(folder, dtype):
    pipe = VQDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype)
    images = pipe("a red circle", 5, truncation_rate=0.9, output_type="np").images
    assert images.dtype == np.float32
    assert np.isfinite(images).all()


@pytest.mark.parametrize("noise", ["exact", "fast"])
def test_a_list_of_generators_makes_pictures_independent_of_the_batch_split(pipe, noise):
    prompts = ["a red circle", "a blue square", "a green ring"]
    whole = tokens_of(pipe, prompts, STEPS, noise=noise, generator=seeded(5, 6, 7))
    parts = [
        tokens_of(pipe, [prompt], STEPS, noise=noise, generator=seeded(seed))
        for prompt, seed in zip(prompts, (5, 6, 7), strict=True)
    ]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_exact_noise_draws_the_tokens_of_the_plain_loop(pipe, scale):
    """In float64 what is computed once and for all changes no token."""
    prompts, sampling = ["a red circle", "a blue square"], Sampling(scale, 0.9)
    condition = pipe.conditioning(prompts, guided=sampling.is_guided)
    start = torch.full((2, 16), MASK)
    plan = range(STEPS, -1, -1)
    how = {"sampling": sampling, "generator": seeded(3, 4)}
    *_, (_, wanted) = pipe.model.steps(start, plan, condition, **how)
    found = tokens_of(
        *(pipe, prompts, STEPS),
        **{"guidance_scale": scale, "truncation_rate": 0.9, "generator": seeded(3, 4)},
    )
    assert torch.equal(found, wanted)


COMPILED = """
import sys, torch
from vqlearn import VQDiffusionPipeline

def tokens(noise):
    seen, generators = [], [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    how = {"noise": noise, "generator": generators, "output_type": "np"}
    pipe(["a red circle", "a blue square"], 10, **how, callback=lambda *args: seen.append(args[2]))
    return seen[-1]

pipe, graphs = VQDiffusionPipeline.from_pretrained(sys.argv[1], torch.float64), []
plain = [tokens("exact"), tokens("fast")]
names = [*pipe.denoiser.state_dict()]
pipe.compile(backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
for noise, wanted in zip(["exact", "fast"], plain, strict=True):
    assert torch.equal(tokens(noise), wanted), noise
assert len(graphs) >= 2, "both halves of a block"
assert [*pipe.denoiser.state_dict()] == names
seen = len(graphs)
pipe.denoiser(torch.zeros(1, 16, dtype=torch.long), 1, pipe.text_encoder(["a"]))
assert len(graphs) == seen, "training stays as it is"
"""


def test_a_compiled_pipeline_draws_the_same_tokens(folder):
    """In float64, with a compiler that counts what it is given and changes nothing.

    In a process of its own: the checks of shapes that tests put around functions do not compile.
    """
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_fast_noise_takes_the_quick_path(pipe, monkeypatch):
    """The network's own forward is never called, and scores are asked for at some positions."""
    asked, quick_scores = [], pipe.denoiser.quick_scores

    def watched(x_t, t, text, positions):
        asked.append((len(x_t), t, positions))
        return quick_scores(x_t, t, text, positions)

    monkeypatch.setattr(pipe.denoiser, "quick_scores", watched)
    monkeypatch.setattr(pipe.denoiser, "forward", None)
    tokens = tokens_of(pipe, "a red circle", STEPS, noise="fast", generator=seeded(0))
    assert {rows for rows, _, _ in asked} == {1}  # both captions look at the same tokens
    assert sum(len(positions) for *_, positions in asked) < STEPS * pipe.model.num_positions
    monkeypatch.undo()
    exact = tokens_of(pipe, "a red circle", STEPS, generator=seeded(0))
    assert not torch.equal(tokens, exact)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(3.0, 0.6), Sampling(lambda t: t / 4)])
def test_the_quick_denoiser_predicts_what_the_plain_one_does(pipe, sampling):
    """Guided and truncated, at all positions and at some, within 1e-10 in float64."""
    condition = pipe.conditioning(["a red circle", "a blue square"], guided=sampling.is_guided)
    plain = pipe.model.denoiser(condition, sampling)
    quick = quick_denoiser(pipe.model, condition, sampling)
    x_t = torch.randint(MASK + 1, (2, 16), generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([0, 3, 17, 30])
    for t in (1, 4, STEPS, torch.tensor([3, 9])):
        with torch.no_grad():
            wanted = plain(x_t, t).exp()
        torch.testing.assert_close(quick(x_t, t).exp(), wanted, rtol=0, atol=1e-10)
        found = quick(x_t, t, positions).exp()
        torch.testing.assert_close(found, wanted.flatten(0, 1)[positions], rtol=0, atol=1e-10)


def test_the_same_seed_gives_the_same_picture_and_calls_share_no_state(pipe):
    first = tokens_of(pipe, "a red circle", STEPS, generator=seeded(1))
    pipe(["other", "prompts"], 2, truncation_rate=0.5, guidance_scale=1.0)
    second = tokens_of(pipe, "a red circle", STEPS, generator=seeded(1))
    assert torch.equal(first, second)
    assert not torch.equal(first, tokens_of(pipe, "a red circle", STEPS, generator=seeded(2)))


@pytest.mark.parametrize(
    ("num_steps", "expected"), [(1, [9]), (3, [9, 8, 5]), (10, list(range(9, -1, -1)))]
)
@pytest.mark.parametrize("noise", ["exact", "fast"])
def test_the_callback_sees_every_step_the_last_included(pipe, noise, num_steps, expected):
    """ "fast" has fewer steps where nothing can change."""
    seen = []
    each = {"num_images_per_prompt": 2, "noise": noise, "generator": seeded(0, 1, 2, 3)}
    pipe(["a", "b"], num_steps, **each, callback=lambda *args: seen.append(args))
    assert [i for i, _, _ in seen] == list(range(len(seen)))
    timesteps = [timestep for _, timestep, _ in seen]
    if noise == "exact":
        assert timesteps == expected
    else:
        assert timesteps == sorted({*timesteps} & {*expected}, reverse=True)
        assert timesteps[0] == expected[0]
    for _, _, tokens in seen:
        assert tokens.dtype == torch.int64
        assert tokens.shape == (4, 16)
    assert (seen[-1][2] < MASK).all()
    masked = [(tokens == MASK).sum().item() for _, _, tokens in seen]
    assert masked == sorted(masked, reverse=True)


def test_the_denoiser_is_told_the_true_level_and_starts_from_all_mask(pipe, monkeypatch):
    asked = []
    quick_scores = pipe.denoiser.quick_scores

    def spy(x_t, t, *others):
        asked.append((t, (x_t == MASK).all().item()))
        return quick_scores(x_t, t, *others)

    monkeypatch.setattr(pipe.denoiser, "quick_scores", spy)
    pipe("a red circle", 4)
    assert [level for level, _ in asked] == [10, 9, 8, 4]
    assert asked[0][1]


def test_the_progress_bar_can_be_switched_off(folder, capsys):
    pipe = VQDiffusionPipeline.from_pretrained(folder)
    pipe("a", num_inference_steps=2)
    assert "0/2" in capsys.readouterr().err
    pipe.set_progress_bar_config(disable=True)
    pipe("a", num_inference_steps=2)
    assert capsys.readouterr().err == ""


def test_callback_steps_skips_calls(pipe):
    seen = []
    pipe("a", 10, callback=lambda i, timestep, tokens: seen.append(i), callback_steps=4)
    assert seen == [0, 4, 8]


def test_guidance_of_one_or_less_asks_the_denoiser_once_per_image(pipe):
    rows = []
    pipe.denoiser.to_logits.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    for scale, expected in ((1.0, 1), (0.0, 1), (-3.0, 1), (1.5, 2), (5, 2)):
        pipe("a red circle", 1, guidance_scale=scale)
        assert rows.pop() == expected


def test_one_guided_p_x0_by_hand(pipe):
    """log u + s (log c - log u), renormalised, with the learned null states as u."""
    text = pipe.text_encoder(["a red circle"])
    x_t = torch.full((1, 16), MASK)
    level = torch.tensor([10])
    conditional = pipe.denoiser(x_t, level, text).log_softmax(-1)
    unconditional = pipe.denoiser(x_t, level, pipe.null_text(1)).log_softmax(-1)
    expected = (unconditional + 3 * (conditional - unconditional)).log_softmax(-1)
    condition = pipe.conditioning(["a red circle"])
    found = pipe.model.denoiser(condition, Sampling(3.0))(x_t, 10)
    assert torch.allclose(found, expected, atol=1e-12, rtol=0)
    cut = pipe.model.denoiser(condition, Sampling(3.0, 0.5))(x_t, 10)
    assert torch.equal(cut, top_p(found, 0.5))
    assert cut.isneginf().any()


def test_the_prompt_as_its_own_negative_is_no_guidance(pipe):
    """log c + w (log c - log c) is log c, whatever w is."""
    plain = tokens_of(pipe, "a red circle", 4, guidance_scale=1, generator=seeded(3))
    how = {"guidance_scale": 7.0, "generator": seeded(3)}
    same = tokens_of(pipe, "a red circle", 4, negative_prompt="a red circle", **how)
    assert torch.equal(same, plain)


def test_the_empty_caption_is_the_null_of_a_checkpoint_that_learned_none(pipe):
    """Of one that learned a null it is another one."""
    plain = copy.copy(pipe)
    plain.null_text = NullText(NullTextConfig(learnable=False))
    asked = {"prompt": "a red circle", "num_inference_steps": 4, "guidance_scale": 50.0}
    empty = tokens_of(pipe, **asked, negative_prompt="", generator=seeded(3))
    assert torch.equal(empty, tokens_of(plain, **asked, generator=seeded(3)))
    assert not torch.equal(empty, tokens_of(pipe, **asked, generator=seeded(3)))


def test_each_prompt_may_have_a_negative_prompt_of_its_own(pipe):
    """Two images of each of two prompts, with negatives in the order of the prompts, or one."""
    prompts, negatives = ["a red circle", "a blue square"], ["a green ring", "a square above"]
    how = {"num_inference_steps": 2, "guidance_scale": 50.0}
    seeds = {1: 0, 2: 0, 3: 1, 4: 1}  # and the prompt that each belongs to
    for given, told in ((negatives, negatives), ("a green ring", ["a green ring"] * 2)):
        options = {**how, "negative_prompt": given, "num_images_per_prompt": 2}
        together = tokens_of(pipe, prompts, **options, generator=seeded(*seeds))
        alone = [
            tokens_of(pipe, prompts[i], **how, negative_prompt=told[i], generator=seeded(seed))
            for seed, i in seeds.items()
        ]
        assert torch.equal(together, torch.cat(alone))
    assert len(told) == 2
    assert not torch.equal(
        tokens_of(pipe, prompts, **how, negative_prompt=negatives, generator=seeded(1, 3)),
        tokens_of(pipe, prompts, **how, negative_prompt=negatives[::-1], generator=seeded(1, 3)),
    )


def test_the_pipeline_of_any_token_model_takes_a_negative_prompt(pipe, monkeypatch):
    plain = TextToImagePipeline(Parts(pipe.vqvae, pipe.text_encoder, pipe.null_text), pipe.model)
    told = []

    def sample(count, condition, **_):
        told.append(condition)
        return torch.zeros(count, 16, dtype=torch.long)

    monkeypatch.setattr(pipe.model, "sample", sample)
    plain(["a red circle"] * 2, guidance_scale=2.0, negative_prompt=["", "a blue square"])
    (condition,) = told
    assert torch.equal(condition.null, pipe.text_encoder(["", "a blue square"]))
    with pytest.raises(ValueError, match="negative_prompt is 'x'; allowed without guidance: None"):
        plain("a red circle", negative_prompt="x")


@pytest.mark.parametrize("noise", ["exact", "fast", "reference"])
def test_the_scale_may_be_a_function_of_the_level(pipe, noise):
    """It is asked for 1..T; one that always says 3 is the number 3."""
    levels = []

    def scale(t):
        levels.append(t)
        return 3

    (generator,) = seeded(5)
    function = tokens_of(pipe, "a", STEPS, scale, noise=noise, generator=generator)
    number = tokens_of(pipe, "a", STEPS, 3.0, noise=noise, generator=generator.manual_seed(5))
    assert torch.equal(function, number)
    assert set(levels) == set(range(1, STEPS + 1))
    assert {type(t) for t in levels} == {int}


@pytest.mark.parametrize("prompt", ["", "🎈🎉 a red circle", "word " * 500, "&lt;b&gt; ünïcode"])
def test_odd_prompts_give_a_picture(pipe, prompt, caplog):
    with caplog.at_level(logging.WARNING, logger="vqlearn"):
        assert len(pipe(prompt, 1).images) == 1
    assert bool(caplog.records) == (len(prompt) > 100)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompt": 5}, TypeError, "prompt is 5"),
        ({"prompt": None}, TypeError, "prompt is None"),
        ({"prompt": ["a", 5]}, TypeError, "prompt is"),
        ({"prompt": []}, ValueError, "empty list"),
        ({"num_inference_steps": 0}, ValueError, "num_inference_steps is 0; allowed: 1 to 10"),
        ({"num_inference_steps": 11}, ValueError, "num_inference_steps is 11; allowed: 1 to 10"),
        ({"num_inference_steps": 2.5}, TypeError, r"num_inference_steps is 2\.5"),
        ({"truncation_rate": 0}, ValueError, "truncation_rate is 0"),
        ({"truncation_rate": 1.5}, ValueError, r"truncation_rate is 1\.5"),
        ({"truncation_rate": float("nan")}, ValueError, "truncation_rate is nan"),
        ({"guidance_scale": float("nan")}, ValueError, "guidance_scale is nan"),
        ({"guidance_scale": float("inf")}, ValueError, "guidance_scale is inf"),
        ({"guidance_scale": 1e39}, ValueError, r"guidance_scale is 1e\+39; allowed: -1000 to 1000"),
        ({"guidance_scale": "5"}, TypeError, "guidance_scale is '5'"),
        (
            {"guidance_scale": lambda t: t - 5},
            ValueError,
            r"guidance_scale\(1\) is -4; allowed: 0",
        ),
        ({"guidance_scale": lambda t: math.inf}, ValueError, r"guidance_scale\(1\) is inf"),
        ({"guidance_scale": lambda t: math.nan}, ValueError, r"guidance_scale\(1\) is nan"),
        ({"guidance_scale": lambda t: None}, TypeError, r"guidance_scale\(1\) is None"),
        ({"negative_prompt": 5}, TypeError, "negative_prompt is 5"),
        ({"negative_prompt": []}, ValueError, "negative_prompt is an empty list"),
        ({"negative_prompt": ["a", "b"]}, ValueError, "negative_prompt is a list of 2; allowed: 1"),
        (
            {"negative_prompt": "x", "guidance_scale": 1},
            ValueError,
            "negative_prompt is 'x'; allowed without guidance: None",
        ),
        ({"num_images_per_prompt": 0}, ValueError, "num_images_per_prompt is 0"),
        ({"callback_steps": 0}, ValueError, "callback_steps is 0"),
        ({"output_type": "jpg"}, ValueError, "output_type is 'jpg'"),
        ({"generator": 42}, TypeError, "generator is 42"),
        ({"generator": [None]}, TypeError, r"generator is \[None\]"),
        (
            {"generator": [torch.Generator()] * 2},
            ValueError,
            "generator is a list of 2; allowed: 1",
        ),
    ],
)
def test_bad_arguments_are_named(folder, arguments, error, message):
    pipe = VQDiffusionPipeline.from_pretrained(folder)
    with pytest.raises(error, match=message):
        pipe(**{"prompt": "a red circle", "num_inference_steps": 1, **arguments})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_pictures_in_half_precision(folder):
    pipe = VQDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float16).to("cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    images = pipe("a red circle", 10, generator=generator, output_type="np").images
    assert np.isfinite(images).all()


def test_other_networks_and_processes_are_refused(pipe):
    parts = Parts(pipe.vqvae, pipe.text_encoder, pipe.null_text)
    strange = DiffusionModel(pipe.process, torch.nn.Identity(), num_positions=4)
    with pytest.raises(ValueError, match="the network is a Identity; allowed: a Denoiser"):
        VQDiffusionPipeline(parts, strange)
    unmasked = DiffusionModel(uniform(pipe.model.num_codes, STEPS), pipe.denoiser)
    with pytest.raises(ValueError, match="the process is a DenseProcess; allowed: a Mask"):
        VQDiffusionPipeline(parts, unmasked)


def test_a_rule_decides_the_steps(pipe):
    from vqlearn.diffusion.reveal import purity

    n, top = pipe.model.num_positions, pipe.process.num_timesteps
    rule, seen = purity(n - 1), []
    pipe("a red circle", rule=rule, generator=seeded(0), callback=lambda *step: seen.append(step))
    assert [i for i, _, _ in seen] == [0, 1]
    assert seen[0][1] == top - 1 > seen[1][1]
    assert (seen[0][2] == pipe.process.mask).sum() == 1
    for noise in ("exact", "fast"):
        again = tokens_of(pipe, "a red circle", rule=rule, noise=noise, generator=seeded(0))
        assert torch.equal(seen[-1][2], again)
    with pytest.raises(ValueError, match="noise is 'reference'; allowed with a rule: 'exact',"):
        pipe("a red circle", rule=rule, noise="reference")
    with pytest.raises(ValueError, match="noise is 'gumbel'; allowed: 'exact', 'fast', "):
        pipe("a red circle", rule=rule, noise="gumbel")
    with pytest.raises(TypeError, match="rule is 'purity'; allowed: UnmaskingRule, None"):
        pipe("a red circle", rule="purity")
