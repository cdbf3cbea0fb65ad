"""Pipelines without text: their calls, their folders, and what they refuse."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from support.convolutional import official_pipeline, small_vqvae
from support.tiny import edit_json, write_diffusers_folder

from vqlearn.checkpoints import CheckpointError, save_network
from vqlearn.checkpoints.class_names import read_class_names
from vqlearn.diffusion import DiffusionModel, MaskAndReplace, build_schedule
from vqlearn.diffusion.reveal import purity
from vqlearn.diffusion.schedule import released
from vqlearn.pipeline import (
    ClassToImagePipeline,
    Film,
    Parts,
    TextToImagePipeline,
    UnconditionalPipeline,
    VQDiffusionPipeline,
    load_pipeline,
)
from vqlearn.transformer import (
    CausalDenoiser,
    ConvolutionalTextDenoiser,
    DenoiserConfig,
    UnconditionalDenoiser,
)

STEPS = 10
NAMES = [f"class {number}" for number in range(1000)]
NAMES[207] = "golden retriever, goldie"
NAMES[134] = NAMES[517] = "crane"
NAMES[638], NAMES[639] = "maillot", "maillot, tank suit"


@pytest.fixture(scope="module")
def by_class():
    pipe, _ = official_pipeline("imagenet_learnable")
    pipe.class_names = tuple(NAMES)
    return pipe


@pytest.fixture(scope="module")
def unconditional():
    return official_pipeline("ffhq")[0]


@pytest.fixture(scope="module")
def folder(by_class, tmp_path_factory):
    folder = tmp_path_factory.mktemp("class") / "model"
    by_class.save_pretrained(folder)
    return folder


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def tokens_of(pipe, *args, **options):
    seen = []
    pipe(*args, callback=lambda i, timestep, tokens: seen.append(tokens), **options)
    return seen[-1]


def test_images_are_label_major(by_class):
    how = {"num_inference_steps": STEPS, "num_images_per_label": 2}
    together = tokens_of(by_class, [3, 999], **how, generator=seeded(0, 1, 2, 3))
    alone = tokens_of(by_class, 999, **how, generator=seeded(2, 3))
    assert torch.equal(together[2:], alone)
    images = by_class([3, 999], **how).images
    assert [image.size for image in images] == [(8, 8)] * 4


@pytest.mark.parametrize("noise", ["exact", "fast", "reference"])
def test_every_noise_gives_images_and_follows_its_generator(by_class, unconditional, noise):
    steps = {} if noise == "reference" else {"num_inference_steps": STEPS}
    for pipe, asked in ((by_class, [3]), (unconditional, 1)):
        found = [
            tokens_of(
                pipe, asked, noise=noise, generator=torch.Generator().manual_seed(seed), **steps
            )
            for seed in (0, 0, 1)
        ]
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], found[2])
        assert found[0].max() < 11


def test_a_name_is_its_number_and_so_is_each_of_several(by_class):
    labels = [207, "golden retriever", "goldie", "golden retriever, goldie", "tank suit"]
    assert by_class.numbers(labels) == [207, 207, 207, 207, 639]
    named = tokens_of(by_class, "goldie", num_inference_steps=STEPS, generator=seeded(0))
    number = tokens_of(by_class, 207, num_inference_steps=STEPS, generator=seeded(0))
    assert torch.equal(named, number)
    other = tokens_of(by_class, 208, num_inference_steps=STEPS, generator=seeded(0))
    assert not torch.equal(named, other)


def test_guidance_and_truncation_change_the_images(by_class):
    how = {"num_inference_steps": STEPS}
    plain = tokens_of(by_class, [3] * 4, **how, generator=seeded(0, 1, 2, 3))
    unguided = {"guidance_scale": 1.0, "truncation_rate": 1.0}
    assert torch.equal(
        plain, tokens_of(by_class, [3] * 4, **how, **unguided, generator=seeded(0, 1, 2, 3))
    )
    for option in ({"guidance_scale": 5.0}, {"truncation_rate": 0.5}):
        changed = tokens_of(by_class, [3] * 4, **how, **option, generator=seeded(0, 1, 2, 3))
        assert not torch.equal(plain, changed)


def test_rules_latents_output_and_film(unconditional):
    rule = tokens_of(unconditional, 2, rule=purity(4), generator=seeded(0, 1))
    assert rule.shape == (2, 16)
    latents = torch.arange(16)[None] % 11
    start = tokens_of(unconditional, latents=latents, num_inference_steps=1, generator=seeded(0))
    masked = tokens_of(unconditional, num_inference_steps=1, generator=seeded(0))
    assert not torch.equal(start, masked)
    (images,) = unconditional(2, num_inference_steps=2, output_type="np", return_dict=False)
    assert images.shape == (2, 8, 8, 3)
    film = Film(unconditional)
    unconditional(num_inference_steps=3, callback=film)
    assert len(film.frames()) == 4
    assert (film.states[0] == 11).all()


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (1000, {}, ValueError, "a class of class_labels is 1000; allowed: 0 to 999"),
        ([3, -1], {}, ValueError, "a class of class_labels is -1; allowed: 0 to 999"),
        ([], {}, ValueError, "class_labels is an empty list; allowed: at least one class"),
        (torch.tensor([3, 4]), {}, TypeError, "a number, a name, or a list of them"),
        (range(3), {}, TypeError, "class_labels is range.*; allowed: a number, a name, or a list"),
        ("207", {}, ValueError, "class_labels is '207'; allowed: a number, 0 to 999, or a name"),
        ("crane", {}, ValueError, r"is 'crane'; allowed: a number, for classes \[134, 517\] have"),
        ("maillot", {}, ValueError, r"is 'maillot'; allowed: a number, for classes \[638, 639\]"),
        ("a red circle", {}, ValueError, "is 'a red circle'; allowed: a number, 0 to 999, or a"),
        (3, {"prompt": "a"}, TypeError, "ClassToImagePipeline has no argument 'prompt'; allowed:"),
        (3, {"num_images_per_label": 0}, ValueError, "num_images_per_label is 0; allowed: 1 or"),
        (3, {"num_images_per_label": 10**9}, ValueError, "num_images_per_label is 1000000000 for"),
        (3, {"num_inference_steps": 101}, ValueError, "num_inference_steps is 101; allowed: 1 to"),
        (3, {"guidance_scale": "5"}, TypeError, "guidance_scale is '5'; allowed: a number"),
        (3, {"truncation_rate": 0}, ValueError, "truncation_rate is 0; allowed"),
        (3, {"generator": seeded(0, 1)}, ValueError, "generator is a list of 2; allowed: 1"),
        (3, {"noise": "loud"}, ValueError, "noise is 'loud'; allowed: 'exact', 'fast', 'ref"),
        (3, {"output_type": "tf"}, ValueError, "output_type is 'tf'; allowed"),
        (3, {"latents": torch.zeros(1, 15).long()}, ValueError, "latents has the shape"),
        (3, {"noise": "reference", "rule": purity(2)}, ValueError, "noise is 'reference'; allowed"),
    ],
)
def test_what_a_class_model_refuses(by_class, labels, options, error, message):
    with pytest.raises(error, match=message):
        by_class(labels, **options)


@pytest.mark.parametrize(
    ("count", "options", "error", "message"),
    [
        (0, {}, ValueError, "num_images is 0; allowed: 1 to"),
        (10**12, {}, ValueError, "num_images is 1000000000000; allowed: 1 to"),
        ("a red circle", {}, TypeError, "num_images"),
        (1, {"guidance_scale": 3.0}, TypeError, "Unco.* has no argument 'guidance_scale'; allowed"),
        (1, {"class_labels": [3]}, TypeError, "has no argument 'class_labels'; allowed: num_inf"),
        (2, {"generator": seeded(0)}, ValueError, "generator is a list of 1; allowed: 2"),
    ],
)
def test_what_an_unconditional_model_refuses(unconditional, count, options, error, message):
    with pytest.raises(error, match=message):
        unconditional(count, **options)


def test_without_names_numbers_are_all_that_is_allowed(by_class):
    pipe = ClassToImagePipeline(by_class.vqvae, by_class.model)
    message = (
        r"is 'goldie'; allowed: a number, 0 to 999, for the checkpoint has no class_names\.json"
    )
    with pytest.raises(ValueError, match=message):
        pipe("goldie")
    assert len(pipe(207, num_inference_steps=1).images) == 1


def test_a_folder_survives_the_way_to_disk_and_back(folder, by_class, unconditional, tmp_path):
    """The same tokens and images, and all files have a digest."""
    unconditional.save_pretrained(tmp_path)
    for pipe, place, asked in ((by_class, folder, [3, 207]), (unconditional, tmp_path, 2)):
        again = load_pipeline(place)
        assert type(again) is type(pipe)
        assert again.denoiser.config == pipe.denoiser.config
        assert set(again.components) == set(pipe.components)
        how = {"num_inference_steps": STEPS, "output_type": "np"}
        before, after = (
            each(asked, **how, generator=seeded(0, 1)).images for each in (pipe, again)
        )
        assert (before == after).all()
    assert again.components["unconditional_transformer"] is again.denoiser
    assert load_pipeline(folder).class_names == tuple(NAMES)
    listed = (folder / "SHA256SUMS").read_text()
    for part in ("class_names.json", "class_transformer/config.json", "vqvae/config.json"):
        assert part in listed
    assert (folder / "scheduler" / "scheduler_config.json").exists()
    assert not (folder / "text_encoder").exists()


def test_another_checkpoint_takes_the_place_of_all_of_one(unconditional, by_class, tmp_path):
    """No class names and no other token model are left behind."""
    by_class.save_pretrained(tmp_path)
    unconditional.save_pretrained(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        *("vqvae", "unconditional_transformer", "scheduler"),
        *("model_index.json", "SHA256SUMS"),
    }


def test_names_of_weights_are_those_of_diffusers_where_it_has_them(folder):
    from safetensors import safe_open

    file = folder / "class_transformer" / "diffusion_pytorch_model.safetensors"
    with safe_open(file, "pt") as weights:
        names = {name for name in weights.keys() if ".0." in name or "blocks" not in name}
    block = "transformer_blocks.0"
    both = ("weight", "bias")
    assert names >= {f"{block}.attn1.{m}.{e}" for m in ("to_q", "to_k", "to_v") for e in both}
    assert names >= {f"{block}.norm3.emb.weight", f"{block}.norm3.linear.bias", "out.weight"}
    assert names >= {f"{block}.ff.net.{i}.{e}" for i in ("0.proj", "2") for e in both}
    assert names >= {f"latent_image_embedding.{m}.weight" for m in ("emb", "height_emb")}


@pytest.mark.parametrize("kind", [VQDiffusionPipeline, TextToImagePipeline, UnconditionalPipeline])
def test_each_pipeline_says_which_folders_it_reads(folder, kind):
    with pytest.raises(CheckpointError, match="the token model is 'class_transformer'; allowed: '"):
        kind.from_pretrained(folder)


def test_a_text_model_is_no_class_model(tmp_path):
    text = write_diffusers_folder(tmp_path / "text")
    message = "the token model is 'transformer'; allowed: 'class_transformer'"
    with pytest.raises(CheckpointError, match=message):
        ClassToImagePipeline.from_pretrained(text)
    with pytest.raises(TypeError, match="class_labels"):
        load_pipeline(text)("a", class_labels=[3])


def test_the_text_kind_is_a_folder_of_vq_diffusion(tmp_path):
    """The same images after the way to disk and back, whatever the noise."""
    pipe = VQDiffusionPipeline.from_pretrained(write_diffusers_folder(tmp_path / "plain"))
    torch.manual_seed(0)
    network = ConvolutionalTextDenoiser(pipe.denoiser.config)
    parts = Parts(pipe.vqvae, pipe.text_encoder, pipe.null_text)
    before = VQDiffusionPipeline(parts, DiffusionModel(pipe.process, network))
    before.save_pretrained(tmp_path / "new")
    after = load_pipeline(tmp_path / "new")
    assert type(after) is VQDiffusionPipeline
    assert type(after.denoiser) is ConvolutionalTextDenoiser
    assert (tmp_path / "new" / "convolutional_transformer" / "config.json").exists()
    for noise in ("exact", "fast", "reference"):
        how = {"num_inference_steps": STEPS, "noise": noise, "output_type": "np"}
        images = [
            one("a red circle", **how, generator=torch.Generator().manual_seed(0)).images
            for one in (before, after)
        ]
        assert (images[0] == images[1]).all()


def test_a_network_that_no_folder_is_for_is_not_written_as_another(by_class, tmp_path):
    """Its weights have the names of a `Denoiser`, which would compute something else of them."""
    network = CausalDenoiser(DenoiserConfig(2, 4, 1, 6, True, 12, 4, 100))
    with pytest.raises(TypeError, match="the network is a CausalDenoiser; allowed: VQVAE"):
        save_network(DiffusionModel(by_class.process, network), tmp_path)
    assert not any(tmp_path.iterdir())


def test_parts_that_do_not_fit_are_named(by_class, unconditional):
    model, vqvae = by_class.model, by_class.vqvae
    with pytest.raises(ValueError, match="num_codes of the token model is 11; allowed: 12"):
        ClassToImagePipeline(small_vqvae(codes=12), model)
    with pytest.raises(ValueError, match="the network is a ClassDenoiser; allowed: a Uncond"):
        UnconditionalPipeline(vqvae, model)
    with pytest.raises(ValueError, match="the number of class names is 2; allowed: 1000"):
        ClassToImagePipeline(vqvae, model, ("a", "b"))
    config = replace(unconditional.denoiser.config, num_embeds_ada_norm=50)
    process = MaskAndReplace(build_schedule(released(11, 100)))
    short = DiffusionModel(process, UnconditionalDenoiser(config))
    with pytest.raises(ValueError, match="num_embeds_ada_norm of the denoiser is 50; allowed: 100"):
        UnconditionalPipeline(vqvae, short)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("class_transformer/config.json", {"num_classes": 999}, "norm3.emb.weight has the shape"),
        ("class_transformer/config.json", {"num_classes": "x"}, "num_classes is 'x'; allowed: int"),
        ("class_transformer/config.json", {"position_columns": ...}, "'position_columns' is miss"),
        (
            "class_transformer/config.json",
            {"position_columns": 3},
            "position_columns is 3; allow",
        ),
        ("class_names.json", {"999": ...}, "the name of class 999 is None; allowed: a string"),
        ("class_names.json", {"0": 5}, "the name of class 0 is 5; allowed: a string"),
        ("class_names.json", {"1000": "x"}, "names 1001 classes; allowed: 1000"),
        ("model_index.json", {"vqvae": ...}, "describes vqvae as a None; allowed: 'VQModel'"),
    ],
)
def test_damaged_folders_are_refused(folder, tmp_path, part, change, message):
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "SHA256SUMS").unlink()
    edit_json(damaged / part, **change)
    with pytest.raises(CheckpointError, match=message):
        load_pipeline(damaged)


def test_class_names_of_a_file_of_its_own(tmp_path):
    file = tmp_path / "names.json"
    file.write_text(json.dumps({"0": "tench, Tinca tinca", "1": "goldfish"}))
    assert read_class_names(file, 2) == ("tench, Tinca tinca", "goldfish")
