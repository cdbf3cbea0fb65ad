"""Editing: given tokens stay, an edit begins at its level, and all else is the pipeline's call."""

from inspect import getmembers, isfunction, signature

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny import write_diffusers_folder

from vqlearn import VQDiffusionPipeline
from vqlearn.diffusion import levels_to_visit
from vqlearn.diffusion.reveal import (
    ChooseThenDraw,
    CountTable,
    DrawThenChoose,
    FixedCount,
    ForwardAndBack,
    ReMDM,
    Sharpened,
    by_purity,
    known_rules,
)
from vqlearn.pipeline.arguments import CallOptions
from vqlearn.pipeline.prompt_editing import swapped
from vqlearn.probability import Conditioning, Sampling
from vqlearn.text import null_states

TOP, MASK, SIZE, N = 10, 11, 8, 16
PROMPT, OTHER = "a red circle", "a blue square above a green ring"
RULES = {
    "no rule": None,
    "ancestral": known_rules.ancestral([10, 6, 0]),
    "fixed_count": known_rules.fixed_count(6),
    "purity": known_rules.purity(6, 0.5),
    "top_purity": known_rules.top_purity(6),
    "confidence": known_rules.confidence(6),
    "halton": known_rules.halton(6, 4, 4),
    "entropy_bound": known_rules.entropy_bound(12.0),
    "fixed_count, released": known_rules.fixed_count(6, compatible="released"),
    "purity, released": known_rules.purity(6, 1.0, compatible="released"),
    "confidence, released": DrawThenChoose(FixedCount(6), 4.5, compatible="released"),
    "scheduled": known_rules.scheduled((2, 4, 10)),
    "released_purity": ChooseThenDraw(  # its own table is of 1,024 tokens
        CountTable((1, 1, 2, 2, 2, 2, 2, 2, 2), 2),
        by_purity,
        Sharpened(1.0, relative=True),
        "released",
    ),
    "forward and back": ForwardAndBack(known_rules.fixed_count(6)),
    "ReMDM": ReMDM(known_rules.fixed_count(6), 0.3),
}


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_diffusers_folder(tmp_path_factory.mktemp("editing") / "model")
    pipe = VQDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(*seeds):
    found = [torch.Generator().manual_seed(seed) for seed in seeds]
    return found if len(found) > 1 else found[0]


def random_images(count):
    return torch.rand(count, 3, SIZE, SIZE, generator=seeded(count))


def options(rule=None, *seeds, **others):
    steps = {} if RULES.get(rule) else {"num_inference_steps": 3}
    rule = RULES.get(rule)
    return {
        "rule": rule,
        "generator": seeded(*seeds or (0,)),
        "output_type": "np",
        **steps,
    } | others


def spied(method, *args, **kwargs):
    """The images, and what the callback saw: (i, timestep, tokens) of every step."""
    seen = []
    result = method(*args, callback=lambda *step: seen.append(step), **kwargs)
    return torch.from_numpy(result.images).permute(0, 3, 1, 2), seen


def test_every_known_rule_is_tried():
    made_here = lambda f: isfunction(f) and f.__module__ == known_rules.__name__  # noqa: E731
    assert {name for name, _ in getmembers(known_rules, made_here)} <= set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_under_1000_random_masks_no_given_token_changes(pipe, rule):
    """In no step; squares of one white pixel are free, and free tokens are sampled."""
    images, count = random_images(1000), 1000
    density = torch.rand(count, 1, 1, generator=seeded(1)) ** 2
    masks = torch.rand(count, SIZE, SIZE, generator=seeded(2)) < density
    x_0 = pipe.vqvae.encode(images)
    white = masks.unfold(1, 2, 2).unfold(2, 2, 2).sum(dim=(3, 4)).flatten(1)
    given = white == 0
    assert 0.2 < given.float().mean() < 0.8
    prompts = [PROMPT] * count
    _, seen = spied(pipe.inpaint, images, masks, prompts, guidance_scale=1.0, **options(rule))
    for _, _, tokens in seen:
        assert torch.equal(tokens[given], x_0[given])
    assert (tokens < MASK).all()
    assert (tokens != x_0)[~given].float().mean() > 0.5


@pytest.mark.parametrize("rule", RULES)
def test_an_all_given_mask_leaves_every_token_as_encoded(pipe, rule):
    images, nothing = random_images(2), np.zeros((SIZE, SIZE), dtype=bool)
    found, _ = spied(pipe.inpaint, images, nothing, [PROMPT, OTHER], **options(rule))
    assert torch.equal(found, pipe.vqvae.decode(pipe.vqvae.encode(images)).detach())
    pasted, _ = spied(pipe.inpaint, images, nothing, [PROMPT, OTHER], paste=True, **options(rule))
    assert torch.equal(pasted, images)


@pytest.mark.parametrize("rule", RULES)
def test_an_all_free_mask_is_the_plain_sampler(pipe, rule):
    everything = Image.new("1", (SIZE, SIZE), 1)
    images, truncation = random_images(1), {"truncation_rate": 0.9}
    found, seen = spied(pipe.inpaint, images, everything, PROMPT, **options(rule), **truncation)
    expected, plain = spied(pipe, PROMPT, **options(rule), **truncation)
    assert torch.equal(found, expected)
    assert [step[:2] for step in seen] == [step[:2] for step in plain]
    assert all(torch.equal(a, b) for (_, _, a), (_, _, b) in zip(seen, plain, strict=True))


def test_pasted_pixels_are_those_of_the_image(pipe):
    image = Image.fromarray((random_images(1)[0].permute(1, 2, 0) * 255).byte().numpy())
    mask = np.zeros((SIZE, SIZE), dtype=np.uint8)
    mask[1:4, 3:] = 200
    how = {"num_images_per_prompt": 2, "num_inference_steps": 2, "generator": None}
    for output_type in ("pil", "np"):
        plain, pasted = (
            pipe.inpaint(
                *(image, mask, PROMPT),
                **{**how, "generator": seeded(3, 4)},
                paste=paste,
                output_type=output_type,
            ).images
            for paste in (False, True)
        )
        scale = 1 if output_type == "pil" else 255
        for before, after in zip(plain, pasted, strict=True):
            outside = mask < 128
            assert np.array_equal(np.asarray(after)[mask > 127], np.asarray(before)[mask > 127])
            original = np.asarray(image)[outside]
            assert np.allclose(scale * np.asarray(after)[outside], original, atol=1e-4)
            assert not np.allclose(scale * np.asarray(before)[outside], original, atol=2)


def test_outpainting_is_inpainting_around_the_image(pipe):
    small, position = random_images(1)[0, :, :3, :5], (2, 4)
    canvas = np.pad(small.numpy(), ((0, 0), (4, 1), (2, 1)), mode="edge")
    outside = np.ones((SIZE, SIZE), dtype=bool)
    outside[4:7, 2:7] = False
    for paste in (False, True):
        how = {**options(), "paste": paste}
        found, _ = spied(pipe.outpaint, small, PROMPT, position=position, **how)
        how = {**options(), "paste": paste}
        expected, _ = spied(pipe.inpaint, torch.from_numpy(canvas), outside, PROMPT, **how)
        assert torch.equal(found, expected)


@pytest.mark.parametrize(("level", "steps"), [(7, None), (7, 3), (1, 1), (TOP, 4)])
def test_an_edit_corrupts_to_its_level_and_takes_the_steps_that_it_counts(pipe, level, steps):
    images, prompts = random_images(2), [PROMPT, OTHER]
    how = options(None, 5, 6, num_inference_steps=steps or level, guidance_scale=2.0)
    if steps is None:
        del how["num_inference_steps"]
    found, seen = spied(pipe.edit, images, prompts, level, **how)
    levels = levels_to_visit(level, steps or level)
    assert [timestep for _, timestep, _ in seen] == [t - 1 for t in levels[:-1]]
    generators = seeded(5, 6)
    x_t = pipe.process.corrupt(pipe.vqvae.encode(images), level, generator=generators)
    how = {"sampling": Sampling(2.0), "generator": generators}
    *_, (_, x_0) = pipe.model.steps(x_t, levels, pipe.conditioning(prompts), **how)
    assert torch.equal(seen[-1][2], x_0)
    assert torch.equal(found, pipe.vqvae.decode(x_0).detach())


def test_a_rule_starts_from_what_is_mask(pipe):
    image, rule = random_images(1), known_rules.fixed_count(1)
    x_t = pipe.process.corrupt(pipe.vqvae.encode(image), 6, generator=seeded(9))
    masked = int((x_t == MASK).sum())
    assert 0 < masked < N
    _, seen = spied(pipe.edit, image, PROMPT, 6, rule=rule, generator=seeded(9), output_type="np")
    assert [(tokens == MASK).sum().item() for _, _, tokens in seen] == list(range(masked))[::-1]
    nothing_masked = seeded(1)
    _, seen = spied(
        pipe.edit, image, PROMPT, 1, rule=rule, generator=nothing_masked, output_type="np"
    )
    assert seen == []


def test_variations_attend_to_the_null_embedding_alone(pipe):
    images, generators = random_images(2), seeded(1, 2)
    how = options(None, 1, 2, truncation_rate=0.8)
    _, seen = spied(pipe.variations, images, 6, **how)
    x_t = pipe.process.corrupt(pipe.vqvae.encode(images), 6, generator=generators)
    null = Conditioning(null_states(pipe.null_text, pipe.text_encoder, 2))
    how = {"sampling": Sampling(1.0, 0.8), "generator": generators}
    *_, (_, x_0) = pipe.model.steps(x_t, levels_to_visit(6, 3), null, **how)
    assert torch.equal(seen[-1][2], x_0)
    pair = pipe.variations(images[0], 6, num_images_per_prompt=2, generator=seeded(1, 2))
    assert len(pair.images) == 2


@pytest.mark.parametrize("rule", ["no rule", "purity", "entropy_bound", "purity, released"])
def test_a_swap_at_either_end_is_one_prompt(pipe, rule):
    for level, prompt in ((0, PROMPT), (TOP, OTHER)):
        found, _ = spied(pipe.swap_prompt, PROMPT, OTHER, level, **options(rule))
        expected, _ = spied(pipe, prompt, **options(rule))
        assert torch.equal(found, expected)


def test_a_swap_happens_at_its_level(pipe, monkeypatch):
    asked, quick_scores = [], pipe.denoiser.quick_scores
    keys = [
        pipe.denoiser.prepared(pipe.text_encoder([prompt])).blocks[0].keys[0]
        for prompt in (PROMPT, OTHER)
    ]

    def spy(x_t, t, text, *positions):
        seen = text.blocks[0].keys[-1]
        asked.append((t, [torch.allclose(seen, one) for one in keys].index(True)))
        return quick_scores(x_t, t, text, *positions)

    monkeypatch.setattr(pipe.denoiser, "quick_scores", spy)
    pipe.swap_prompt(PROMPT, OTHER, 6)
    assert asked == [(t, int(t <= 6)) for t in range(TOP, 0, -1)]


def test_under_a_rule_each_sequence_has_a_level_of_its_own():
    above, below = (lambda x, t, v=v: torch.full((*x.shape, 2), v) for v in (1.0, 2.0))
    found = swapped(above, below, 3)(torch.zeros(3, 4), torch.tensor([4, 3, 2]))
    assert found[:, 0, 0].tolist() == [1.0, 2.0, 2.0]


def test_images_are_prompt_major_and_do_not_depend_on_each_other(pipe):
    images, mask = random_images(2), torch.ones(SIZE, SIZE)
    mask[:, :3] = 0
    for method, extra in ((pipe.inpaint, (mask,)), (pipe.edit, ())):
        level = () if extra else (5,)
        together, _ = spied(
            *(method, images, *extra, [PROMPT, OTHER], *level),
            **options(None, 1, 2, 3, 4, num_images_per_prompt=2),
        )
        alone, _ = spied(
            *(method, images[1], *extra, OTHER, *level),
            **options(None, 3, 4, num_images_per_prompt=2),
        )
        assert torch.equal(together[2:], alone)
        assert not torch.equal(together[2], together[3])


def test_the_options_and_their_defaults_are_those_of_the_call():
    call = signature(VQDiffusionPipeline.__call__).parameters
    request = signature(VQDiffusionPipeline._request).parameters
    assert set(request) - set(call) == {"level"}
    assert set(call) - set(request) == {"latents"}
    assert set(CallOptions.__annotations__) <= set(request) - {"self", "prompt", "noise", "level"}
    for name in CallOptions.__annotations__:
        assert request[name].default == call[name].default, name


IMAGE, WHITE = torch.zeros(3, SIZE, SIZE), np.ones((SIZE, SIZE), dtype=bool)


@pytest.mark.parametrize(
    ("method", "arguments", "error", "message"),
    [
        ("inpaint", (IMAGE, WHITE), TypeError, "missing 1 required positional argument: 'prompt'"),
        ("inpaint", (IMAGE, WHITE, None), TypeError, "prompt is None; allowed: a string"),
        ("edit", (IMAGE, "", 0), ValueError, "level is 0; allowed: 1 to 10"),
        ("edit", (IMAGE, "", 11), ValueError, "level is 11; allowed: 1 to 10"),
        ("edit", (IMAGE, "", 2.5), TypeError, r"level is 2\.5; allowed: a whole number"),
        ("variations", (IMAGE, 0), ValueError, "level is 0; allowed: 1 to 10"),
        ("swap_prompt", ("a", "b", 11), ValueError, "level is 11; allowed: 0 to 10"),
        ("swap_prompt", ("a", ["b", "c"], 5), ValueError, "prompts in then is 2; allowed: 1"),
        ("inpaint", (IMAGE, WHITE[1:], "a"), ValueError, r"mask has the shape \(7, 8\); allowed"),
        ("inpaint", (IMAGE[:, 1:], WHITE, "a"), ValueError, r"image has the shape \(3, 7, 8\)"),
        ("inpaint", ([IMAGE] * 2, WHITE, "a"), ValueError, "the number of images is 2; allowed: 1"),
        ("outpaint", (IMAGE, "a"), TypeError, "missing .*: 'position'"),
    ],
)
def test_bad_arguments_are_named_before_any_work(
    pipe, monkeypatch, method, arguments, error, message
):
    for part in (pipe.vqvae, pipe.text_encoder, pipe.denoiser):
        monkeypatch.setattr(part, "forward", None)
    monkeypatch.setattr(pipe.vqvae, "encode", None)
    with pytest.raises(error, match=message):
        getattr(pipe, method)(*arguments)


@pytest.mark.parametrize(
    ("method", "arguments", "option", "error", "message"),
    [
        ("edit", (IMAGE, "a", 4), {"num_inference_steps": 5}, ValueError, "5; allowed: 1 to 4"),
        ("edit", (IMAGE, "a", 4), {"noise": "exact"}, TypeError, "edit has no argument 'noise'"),
        ("inpaint", (IMAGE, WHITE, "a"), {"latents": None}, TypeError, "no argument 'latents'"),
        ("inpaint", (IMAGE, WHITE, "a"), {"paste": 1}, TypeError, "paste is 1; allowed: bool"),
        ("inpaint", (IMAGE, WHITE, "a"), {"rule": "x"}, TypeError, "rule is 'x'; allowed: Unm"),
        (
            "variations",
            (IMAGE, 4),
            {"guidance_scale": 2.0},
            TypeError,
            "variations has no argument",
        ),
        ("variations", (IMAGE, 4), {"callback_steps": 0}, ValueError, "callback_steps is 0"),
        ("outpaint", (IMAGE, "a"), {"position": (1, 0)}, ValueError, "left of position is 1"),
    ],
)
def test_bad_options_are_named_before_any_work(
    pipe, monkeypatch, method, arguments, option, error, message
):
    monkeypatch.setattr(pipe.vqvae, "encode", None)
    monkeypatch.setattr(pipe.text_encoder, "forward", None)
    with pytest.raises(error, match=message):
        getattr(pipe, method)(*arguments, **option)
