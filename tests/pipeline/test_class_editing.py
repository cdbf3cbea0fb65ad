"""Editing under a class and under nothing: what stays, what is drawn, and under which condition."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.convolutional import official_pipeline

from vqlearn.diffusion import levels_to_visit
from vqlearn.diffusion.reveal import purity
from vqlearn.probability import ClassConditioning, Sampling

SIZE, N, FACTOR, TOP, MASK, NULL = 8, 16, 2, 100, 11, 1000


@pytest.fixture(scope="module")
def pipes():
    """A class-conditional and an unconditional model, float64: rounding decides no token."""
    return {name: official_pipeline(name)[0] for name in ("imagenet_pretrained", "ffhq")}


@pytest.fixture
def by_class(pipes):
    return pipes["imagenet_pretrained"]


@pytest.fixture(params=["imagenet_pretrained", "ffhq"])
def either(request, pipes):
    """A pipeline, what its methods are told, and the name of the argument that counts results."""
    is_class = request.param == "imagenet_pretrained"
    each = "num_images_per_label" if is_class else "num_images_per_image"
    return pipes[request.param], (3,) if is_class else (), each


def seeded(*seeds):
    found = [torch.Generator().manual_seed(seed) for seed in seeds]
    return found if len(found) > 1 else found[0]


def random_images(count):
    return torch.rand(count, 3, SIZE, SIZE, generator=seeded(count)).double()


def spied(method, *args, **options):
    """The images, (b, 3, h, w), and the tokens after every step."""
    seen = []
    options = {"output_type": "np", "callback": lambda *step: seen.append(step[2]), **options}
    return torch.from_numpy(method(*args, **options).images).permute(0, 3, 1, 2), seen


def test_under_random_masks_no_given_token_changes(either):
    pipe, told, _ = either
    image, chance = random_images(1), np.random.default_rng(0)
    x_0 = pipe.vqvae.encode(image.float().to(pipe.dtype))
    for trial in range(50):
        mask = chance.random((SIZE, SIZE)) < chance.random() / 4
        squares = mask.reshape(SIZE // FACTOR, FACTOR, SIZE // FACTOR, FACTOR)
        given = torch.from_numpy(~squares.any(axis=(1, 3)).reshape(1, N))
        how = {"num_inference_steps": 2, "generator": seeded(trial)}
        _, seen = spied(pipe.inpaint, image, mask, *told, **how)
        assert all(torch.equal(x_t[given], x_0[given]) for x_t in seen)
        assert (seen[-1] < MASK).all()


@pytest.mark.parametrize("options", [{}, {"truncation_rate": 0.7}, {"rule": purity(4)}])
def test_an_all_free_mask_is_the_plain_sampler(either, options):
    pipe, told, _ = either
    everything = Image.new("1", (SIZE, SIZE), 1)
    how = {} if "rule" in options else {"num_inference_steps": 7}
    how |= options | ({"guidance_scale": 3.0} if told else {})
    found, seen = spied(
        pipe.inpaint, random_images(1), everything, *told, **how, generator=seeded(4)
    )
    expected, plain = spied(pipe, *told, **how, generator=seeded(4))
    assert torch.equal(found, expected)
    assert all(torch.equal(a, b) for a, b in zip(seen, plain, strict=True))


def test_pasted_pixels_are_those_of_the_image(either):
    pipe, told, _ = either
    image, mask = random_images(1), torch.zeros(SIZE, SIZE)
    mask[1:4, 3:] = 1
    pasted, plain = (
        spied(pipe.inpaint, image, mask, *told, paste=paste, generator=seeded(0))[0]
        for paste in (True, False)
    )
    kept = (mask == 0).expand(1, 3, -1, -1)
    assert torch.equal(pasted[kept], image.float()[kept])
    assert torch.equal(pasted[~kept], plain[~kept])
    assert not torch.equal(plain[kept], image.float()[kept])


def test_outpainting_is_inpainting_around_the_image(either):
    pipe, told, _ = either
    small = random_images(1)[0, :, :3, :5]
    canvas = np.pad(small.numpy(), ((0, 0), (4, 1), (2, 1)), mode="edge")
    outside = np.ones((SIZE, SIZE), dtype=bool)
    outside[4:7, 2:7] = False
    for paste in (False, True):
        how = {"paste": paste, "num_inference_steps": 5}
        found, _ = spied(pipe.outpaint, small, *told, position=(2, 4), **how, generator=seeded(1))
        expected, _ = spied(
            pipe.inpaint, canvas.transpose(1, 2, 0), outside, *told, **how, generator=seeded(1)
        )
        assert torch.equal(found, expected)


@pytest.mark.parametrize(("level", "steps"), [(70, None), (70, 3), (1, 1), (TOP, 4)])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_an_edit_is_the_forward_process_and_then_the_models_steps(by_class, level, steps, scale):
    images, labels = random_images(2), [3, 999]
    how = {} if steps is None else {"num_inference_steps": steps}
    found, seen = spied(
        by_class.edit, images, labels, level, **how, guidance_scale=scale, generator=seeded(5, 6)
    )
    generators = seeded(5, 6)
    x_t = by_class.process.corrupt(
        by_class.vqvae.encode(images.to(by_class.dtype)), level, generator=generators
    )
    *_, (_, x_0) = by_class.model.steps(
        x_t,
        levels_to_visit(level, steps or level),
        ClassConditioning(torch.tensor(labels), NULL),
        sampling=Sampling(scale),
        generator=generators,
    )
    assert torch.equal(seen[-1], x_0)
    assert torch.equal(found, by_class.pixels(x_0))


def test_variations_are_told_the_null_class_or_nothing(either):
    pipe, told, each = either
    images, generators = random_images(2), seeded(1, 2)
    how = {"truncation_rate": 0.8, "num_inference_steps": 9, "generator": seeded(1, 2)}
    _, seen = spied(pipe.variations, images, 60, **how)
    x_t = pipe.process.corrupt(pipe.vqvae.encode(images.to(pipe.dtype)), 60, generator=generators)
    null = ClassConditioning(torch.tensor([NULL, NULL])) if told else None
    how = {"sampling": Sampling(1.0, 0.8), "generator": generators}
    *_, (_, x_0) = pipe.model.steps(x_t, levels_to_visit(60, 9), null, **how)
    assert torch.equal(seen[-1], x_0)
    three = pipe.variations(images[0], 6, **{each: 3}).images
    assert len(three) == 3


def test_results_come_one_label_after_the_other_and_do_not_depend_on_each_other(either):
    pipe, told, each = either
    images, mask = random_images(2), torch.ones(SIZE, SIZE)
    mask[:, :3] = 0
    several, alone = (([3, 999],), (999,)) if told else ((), ())
    how = {each: 2, "num_inference_steps": 5}
    calls = [(pipe.inpaint, (mask,), ()), (pipe.outpaint, (), ())]
    if told:
        calls += [(pipe.edit, (), (50,))]
    for method, before, after in calls:
        extra = {"position": (0, 0)} if method == pipe.outpaint else {}
        shown = images[..., :5] if extra else images
        together, _ = spied(
            *(method, shown, *before, *several, *after),
            **how,
            **extra,
            generator=seeded(1, 2, 3, 4),
        )
        second, _ = spied(
            *(method, shown[1], *before, *alone, *after), **how, **extra, generator=seeded(3, 4)
        )
        assert torch.equal(together[2:], second)
        assert not torch.equal(together[2], together[3])


def test_the_class_decides(by_class):
    found = [
        spied(by_class.edit, random_images(1), label, 90, generator=seeded(0))[1][-1]
        for label in (3, 999)
    ]
    assert not torch.equal(*found)


def test_what_a_checkpoint_recommends_is_taken(by_class, monkeypatch):
    image = random_images(1)
    monkeypatch.setattr(by_class, "recommended", Sampling(4.0, 0.6))
    found = spied(by_class.edit, image, 3, 90, generator=seeded(0))[1][-1]
    for scale, rate, is_same in ((4.0, 0.6, True), (1.0, 0.6, False), (4.0, 1.0, False)):
        how = {"guidance_scale": scale, "truncation_rate": rate, "generator": seeded(0)}
        assert torch.equal(found, spied(by_class.edit, image, 3, 90, **how)[1][-1]) == is_same


IMAGE, WHITE = torch.zeros(3, SIZE, SIZE), np.ones((SIZE, SIZE), dtype=bool)


@pytest.mark.parametrize(
    ("method", "arguments", "options", "error", "message"),
    [
        ("inpaint", (IMAGE, WHITE), {}, TypeError, "positional argument: 'class_labels'"),
        (
            "inpaint",
            (IMAGE, WHITE, 1000),
            {},
            ValueError,
            "class_labels is 1000; allowed: 0 to 999",
        ),
        ("inpaint", (IMAGE, WHITE, "dog"), {}, ValueError, "is 'dog'; allowed: a number, 0 to 999"),
        ("inpaint", (IMAGE, WHITE, []), {}, ValueError, "class_labels is an empty list"),
        ("inpaint", (IMAGE, WHITE[1:], 3), {}, ValueError, r"mask has the shape \(7, 8\)"),
        ("inpaint", ([IMAGE] * 2, WHITE, 3), {}, ValueError, "number of images is 2; allowed: 1$"),
        ("inpaint", (IMAGE, WHITE, 3), {"paste": 1}, TypeError, "paste is 1; allowed: bool"),
        ("inpaint", (IMAGE, WHITE, 3), {"prompt": "a"}, TypeError, "inpaint has no argument 'pro"),
        ("inpaint", (IMAGE, WHITE, 3), {"latents": None}, TypeError, "no argument 'latents'"),
        ("edit", (IMAGE, 3, 0), {}, ValueError, "level is 0; allowed: 1 to 100"),
        ("edit", (IMAGE, 3, 4), {"num_inference_steps": 5}, ValueError, "5; allowed: 1 to 4"),
        ("edit", (IMAGE, 3, 4), {"num_images_per_label": 0}, ValueError, "per_label is 0; allow"),
        ("edit", (IMAGE, 3, 4), {"generator": seeded(0, 1)}, ValueError, "list of 2; allowed: 1"),
        ("edit", (IMAGE[1:], 3, 4), {}, ValueError, r"image has the shape \(2, 8, 8\)"),
        ("variations", (IMAGE, 101), {}, ValueError, "level is 101; allowed: 1 to 100"),
        ("variations", (IMAGE, 4), {"guidance_scale": 2.0}, TypeError, "variations has no argum"),
        ("outpaint", (IMAGE, 3), {}, TypeError, "'position'"),
        ("outpaint", (IMAGE, 3), {"position": (1, 0)}, ValueError, "left of position is 1"),
    ],
)
def test_what_a_class_model_refuses_before_any_work(
    by_class, monkeypatch, method, arguments, options, error, message
):
    monkeypatch.setattr(by_class.vqvae, "encode", None)
    monkeypatch.setattr(by_class.denoiser, "forward", None)
    with pytest.raises(error, match=message):
        getattr(by_class, method)(*arguments, **options)


@pytest.mark.parametrize(
    ("method", "arguments", "options", "error", "message"),
    [
        ("inpaint", (IMAGE, WHITE, 3), {}, TypeError, "positional arguments"),
        ("inpaint", (IMAGE, WHITE), {"guidance_scale": 2.0}, TypeError, "no argument 'guidance_s"),
        ("inpaint", (IMAGE, WHITE), {"num_images_per_image": 0}, ValueError, "per_image is 0"),
        ("inpaint", (IMAGE[:, 1:], WHITE), {}, ValueError, r"image has the shape \(3, 7, 8\)"),
        ("inpaint", (IMAGE, WHITE[1:]), {}, ValueError, r"mask has the shape \(7, 8\)"),
        ("outpaint", (IMAGE,), {"position": 3}, TypeError, "position is 3; allowed: "),
        ("variations", (IMAGE, 2.5), {}, TypeError, r"level is 2\.5; allowed: a whole number"),
        ("variations", (IMAGE, 4), {"num_inference_steps": 5}, ValueError, "5; allowed: 1 to 4"),
    ],
)
def test_what_an_unconditional_model_refuses_before_any_work(
    pipes, monkeypatch, method, arguments, options, error, message
):
    pipe = pipes["ffhq"]
    monkeypatch.setattr(pipe.vqvae, "encode", None)
    monkeypatch.setattr(pipe.denoiser, "forward", None)
    with pytest.raises(error, match=message):
        getattr(pipe, method)(*arguments, **options)
