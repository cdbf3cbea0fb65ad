"""Sizes: which fit each other, what each option builds, and that it is known afterwards."""

import json
from dataclasses import asdict, astuple, replace

import pytest
import torch
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.training import train_stages
from transformers import CLIPTokenizer

from vqlearn import TextToImagePipeline
from vqlearn.checkpoints import folder as files
from vqlearn.data import batches
from vqlearn.probability import random_stream
from vqlearn.text import build_text_model, build_tokenizer
from vqlearn.text.tokenizer import END, START
from vqlearn.tokens import VQVAE, VQVAEConfig
from vqlearn.training import record
from vqlearn.training.recipes import RECIPES
from vqlearn.training.sizes import (
    LIMITS,
    PRESETS,
    SMALL,
    Size,
    Sizes,
    denoiser_config,
    sizes_of,
    vqvae_config,
)
from vqlearn.training.stages import plan
from vqlearn.transformer import Denoiser

TINY = {
    "tokens": {"codes": 8, "downsample": 8},
    "text": {"vocabulary": 520, "text_length": 6},
    "diffusion": {"width": 32, "layers": 1, "levels": 5},
}
"""Sizes other than those by default, for each stage."""
SHORT = {name: replace(recipe, steps=1, batch_size=2) for name, recipe in RECIPES.items()}
BOTH = {name: SHORT[name] for name in ("tokens", "text")}


@pytest.fixture(autouse=True)
def few_captions(monkeypatch):
    """accelerate keeps the precision of its first user for the whole process."""
    monkeypatch.setattr(batches, "VOCABULARY_CAPTIONS", 64)
    yield
    forget_accelerate()


def train(monkeypatch, capsys, folder, stage, *arguments):
    """Exit code and standard error of `vqlearn train STAGE ARGUMENTS`: one batch of two images."""
    size = ["--steps", 1, "--batch-size", 2, "--out", folder]
    code, _, error = run_command(monkeypatch, capsys, "train", stage, *size, *arguments)
    return code, [line for line in error.splitlines() if line.startswith("vqlearn: ")]


def as_arguments(options):
    """Such as ["--text-length", 6]."""
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in options.items()]
    return [word for pair in pairs for word in pair]


def test_small_is_what_was_before_sizes_could_be_chosen():
    """Networks of other sizes would not be those of the shipped model and of stored studies."""
    assert PRESETS["small"] == SMALL == Sizes(384, 4, 32, 1024, 32, Size(128, 2, 4), Size(), 100)
    assert Size() == Size(128, 6, 4)
    assert sizes_of({}) == sizes_of({"preset": "small", "codes": None}) == SMALL
    before = VQVAEConfig((24, 32, 32), 1, 32, 48, 384, 8, (), ())
    assert vqvae_config() == vqvae_config(SMALL.codes, SMALL.downsample, SMALL.channels) == before


def test_a_preset_gives_all_sizes_and_an_option_goes_before_it():
    assert sizes_of({"preset": "base"}) == PRESETS["base"] != SMALL
    given = {"codes": 9, "downsample": 8, "vocabulary": 600, "text_length": 9, "levels": 7}
    found = sizes_of({"preset": "base", "layers": 2, **given})
    assert found == replace(PRESETS["base"], **given, size=Size(384, 2, 12))
    with pytest.raises(ValueError, match="preset is 'large'; allowed: 'small', 'base'"):
        sizes_of({"preset": "large"})


@pytest.mark.parametrize(
    ("preset", "side", "millions"), [("small", 8, (0.3, 0.5, 2.2)), ("base", 16, (4.3, 4.2, 36.0))]
)
def test_the_networks_of_a_preset_have_as_many_weights_as_it_says(preset, side, millions):
    """The VQ network, the text encoder and the denoiser, built without memory."""
    sizes = PRESETS[preset]
    width, layers, heads = astuple(sizes.text_size)
    fitted = {"num_codes": sizes.codes, "side": side, "text_width": width}
    with torch.device("meta"):
        networks = (
            VQVAE(vqvae_config(sizes.codes, sizes.downsample, sizes.channels)),
            build_text_model(full_vocabulary(sizes), width=width, layers=layers, heads=heads),
            Denoiser(denoiser_config(**fitted, num_timesteps=sizes.levels, size=sizes.size)),
        )
    counts = [sum(weight.numel() for weight in each.parameters()) for each in networks]
    assert [round(count / 1e6, 1) for count in counts] == list(millions)


def full_vocabulary(sizes):
    """A tokenizer that has as many pieces as it may have."""
    pieces = [START, END, *map(str, range(sizes.vocabulary - 2))]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=sizes.text_length)


def test_the_command_takes_a_preset(tmp_path, monkeypatch, capsys):
    options = ["--preset", "base", "--text-length", 6]
    assert train(monkeypatch, capsys, tmp_path, "text", *options) == (0, [])
    told = json.loads((tmp_path / record.FILE).read_text())["text"]["choices"]
    expected = {"vocabulary": 4096, "text_length": 6, "text_size": asdict(Size(256, 4, 8))}
    assert {name: told[name] for name in expected} == expected
    assert files.load_text_encoder(tmp_path).width == 256


@pytest.mark.parametrize("downsample", [4, 8])
def test_a_code_has_the_numbers_of_the_pixels_of_its_token(downsample):
    config = vqvae_config(7, downsample, 64)
    assert config.downsampling_factor == downsample
    assert config.vq_embed_dim == 3 * downsample**2
    assert config.num_vq_embeddings == 7
    assert config.block_out_channels[:3] == (48, 64, 64)


@pytest.mark.parametrize("width", [32, 96, 384])
def test_heads_follow_from_the_width(width):
    size = sizes_of({"width": width, "layers": 3}).size
    assert (size.width, size.num_layers, size.num_heads) == (width, 3, width // 32)
    denoiser = denoiser_config(num_codes=5, side=2, text_width=4, size=size)
    assert (denoiser.width, denoiser.num_layers) == (width, 3)


def test_the_least_vocabulary_is_that_of_the_tokenizer():
    least = LIMITS["vocabulary"][0]
    tokenizer = build_tokenizer(["a"], vocab_size=least, max_length=LIMITS["text_length"][0])
    assert len(tokenizer) == least
    with pytest.raises(ValueError, match=r"vocab_size is .*allowed"):
        build_tokenizer(["a"], vocab_size=least - 1, max_length=3)
    with pytest.raises(ValueError, match=r"max_length is .*allowed"):
        build_tokenizer(["a"], vocab_size=least, max_length=LIMITS["text_length"][0] - 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tokens --codes 0", "codes is 0; allowed: 2 to 65536"),
        ("tokens --codes 1", "codes is 1; allowed: 2 to 65536"),
        ("tokens --downsample 6", "downsample is 6; allowed: 4, 8"),
        ("text --vocabulary 513", "vocabulary is 513; allowed: 514 to 65536"),
        ("text --text-length 2", "text_length is 2; allowed: 3 to 1024"),
        ("raster --width 100", "allowed: multiples of 32, not 100 / 32 = 3.125 heads"),
        ("raster --width 0", "width is 0; allowed: 32 to 4096"),
        ("imagebart --layers 0", "layers is 0; allowed: 1 to 100"),
        ("--levels 1", "levels is 1; allowed: 2 to 10000"),
        (
            "--downsample 8 --image-size 36",
            "image_size is 36; allowed: multiples of 8, not 36 / 8 = 4.5 tokens a side",
        ),
        ("text --codes 9", "codes is 9; allowed: none for the stage 'text'"),
        ("diffusion --downsample 8", "downsample is 8; allowed: none for the stage 'diffusion'"),
        ("tokens --vocabulary 600", "vocabulary is 600; allowed: none for the stage 'tokens'"),
        ("raster --text-length 9", "text_length is 9; allowed: none for the stage 'raster'"),
        ("text --width 32", "width is 32; allowed: none for the stage 'text'"),
        ("tokens --layers 2", "layers is 2; allowed: none for the stage 'tokens'"),
        ("raster --levels 9", "levels is 9; allowed: none for the stage 'raster'"),
        ("--start-from scenes --codes 9", "codes is 9; allowed: none with start_from"),
        ("diffusion --start-from scenes --preset base", "preset is 'base'; allowed: none with"),
        ("diffusion --start-from scenes --width 64", "width is 64; allowed: none with start_from"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_any_work(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    code, out, error = run_command(monkeypatch, capsys, "train", *arguments.split())
    assert (code, out) == (1, "")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [{"channels": 40}, {"codes": 2.5}, {"levels": True}, {"downsample": "4"}],
)
def test_sizes_of_the_library_are_refused_by_name(changes):
    (name,) = changes
    with pytest.raises((TypeError, ValueError), match=f"{name} is .*; allowed: "):
        Sizes(**changes)
    with pytest.raises(ValueError, match="width is 9; allowed: multiples of num_heads, 2"):
        Size(9, 1, 2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint with a choice for every size, one command for each stage; 32 pixels."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "VOCABULARY_CAPTIONS", 64)
        for stage, options in TINY.items():
            given = plan.options_of(stage, None, options)
            train_stages(folder, {stage: SHORT[stage]}, given)
    forget_accelerate()
    return folder


def test_every_size_is_that_of_the_option(tiny):
    """And of the parts that were there: 4 x 4 tokens of 8 codes, captions of 6 pieces."""
    vqvae, encoder = files.load_vqvae(tiny), files.load_text_encoder(tiny)
    model = files.load_token_model(tiny)
    assert vqvae.config == vqvae_config(8, 8)
    assert (len(encoder.tokenizer), encoder.length, encoder.width) == (520, 6, 128)
    config = model.network.config
    assert (config.width, config.num_layers, config.num_attention_heads) == (32, 1, 1)
    assert (model.process.num_timesteps, config.num_embeds_ada_norm) == (5, 5)
    assert (config.num_codes, config.sample_size) == (8, 4)
    pipeline = TextToImagePipeline.from_pretrained(tiny)
    assert pipeline("a red circle", num_inference_steps=5).images[0].size == (32, 32)


def test_every_size_is_in_the_record(tiny):
    told = json.loads((tiny / record.FILE).read_text())
    size = {"size": asdict(Size(32, 1, 1)), "levels": 5, "schedule": "released"}
    text = {**TINY["text"], "text_size": asdict(SMALL.text_size)}
    tokens = {**TINY["tokens"], "channels": 32, "quantizer": "nearest"}
    for stage, sizes in (("tokens", tokens), ("text", text), ("diffusion", size)):
        assert {name: told[stage]["choices"][name] for name in sizes} == sizes


@pytest.mark.parametrize(
    ("stage", "option", "value", "there"),
    [
        ("tokens", "codes", 9, 8),
        ("tokens", "downsample", 4, 8),
        ("text", "text_length", 7, 6),
        ("diffusion", "width", 64, 32),
        ("diffusion", "layers", 2, 1),
        ("diffusion", "levels", 6, 5),
    ],
)
def test_a_size_that_contradicts_the_folder_is_refused(
    tiny, monkeypatch, capsys, stage, option, value, there
):
    options = as_arguments({**TINY[stage], option: value})
    code, (error,) = train(monkeypatch, capsys, tiny, stage, *options)
    part = {"tokens": "vqvae", "text": "text_encoder", "diffusion": "transformer"}[stage]
    assert code == 1
    assert f"{option} is {value}; allowed: {there}, as in {tiny / part}" in error
    assert train(monkeypatch, capsys, tiny, stage, *as_arguments(TINY[stage])) == (0, [])


def test_what_no_file_tells_is_known_from_the_record(tiny, monkeypatch, capsys):
    options = as_arguments({**TINY["text"], "vocabulary": 521})
    code, (error,) = train(monkeypatch, capsys, tiny, "text", *options)
    assert code == 1
    assert "vocabulary 521 is not allowed: vocabulary 520" in error


@pytest.mark.parametrize("stage", ["diffusion", "raster"])
def test_images_must_fill_the_tokens_that_are_there(tiny, tmp_path, monkeypatch, capsys, stage):
    size = ["--image-size", 36, "--start-from", tiny]
    code, (error,) = train(monkeypatch, capsys, tmp_path, stage, *size)
    assert code == 1
    assert "image_size is 36; allowed: multiples of 8, not 36 / 8 = 4.5 tokens a side" in error
    assert not list(tmp_path.iterdir())


def test_another_model_of_the_same_tokens_has_a_size_of_its_own(
    tiny, tmp_path, monkeypatch, capsys
):
    """Tokens and text are those of the checkpoint to start from, whatever the preset says."""
    size = ["--width", 64, "--layers", 1, "--start-from", tiny]
    assert train(monkeypatch, capsys, tmp_path, "raster", *size) == (0, [])
    config = files.load_token_model(tmp_path).config
    assert (config.width, config.num_layers, config.num_heads) == (64, 1, 2)
    assert (config.num_codes, config.num_positions, config.text_length) == (8, 16, 6)


def without_sizes(choices):
    """The choices as they were told before sizes could be chosen."""
    return {name: value for name, value in choices.items() if name not in asdict(SMALL)}


def test_a_record_without_sizes_means_those_of_that_time(tmp_path, monkeypatch):
    """A finished stage is kept, and another size is refused by name and values."""
    train_stages(tmp_path, BOTH)
    told = json.loads((tmp_path / record.FILE).read_text())
    for stage in told.values():
        stage["choices"] = without_sizes(stage["choices"])
    (tmp_path / record.FILE).write_text(json.dumps(told))
    assert train_stages(tmp_path, BOTH) == ["tokens", "text"]
    for stage, options, message in (
        ("tokens", {"codes": 9}, "codes 9 is not allowed: codes 384"),
        ("tokens", {"downsample": 8}, "downsample 8 is not allowed: downsample 4"),
        ("text", {"vocabulary": 600}, "vocabulary 600 is not allowed: vocabulary 1024"),
        ("text", {"text_length": 9}, "text_length 9 is not allowed: text_length 32"),
    ):
        with pytest.raises(ValueError, match=message):
            train_stages(tmp_path, {stage: SHORT[stage]}, {stage: options})


def test_a_stopped_training_without_sizes_goes_on(tmp_path, monkeypatch):
    """Its state holds choices of that time; it ends with the weights of one that was not stopped.

    Another size is refused.
    """
    recipe = replace(SHORT["tokens"], steps=2, save_every=1)
    train_stages(tmp_path / "whole", {"tokens": recipe})
    choices, folder = record.choices, tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(record, "choices", lambda run, told: without_sizes(choices(run, told)))
        patch.setattr("vqlearn.training.stages.order._save", stop)
        with pytest.raises(InterruptedError):
            train_stages(folder, {"tokens": recipe})
    with pytest.raises(ValueError, match="codes 9 is not allowed: codes 384"):
        train_stages(folder, {"tokens": recipe}, {"tokens": {"codes": 9}})
    assert train_stages(folder, {"tokens": recipe}) == []
    found, whole = (files.load_vqvae(each) for each in (folder, tmp_path / "whole"))
    pairs = zip(found.parameters(), whole.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def stop(*_):
    raise InterruptedError


def test_tokens_of_8_pixels_learn(tmp_path):
    """120 batches of small images beat the best single colour by a wide margin."""
    recipe = replace(RECIPES["tokens"], steps=120, batch_size=16, warmup_steps=5, ema_decay=0.9)
    train_stages(tmp_path, {"tokens": recipe}, {"tokens": {"downsample": 8}}, image_size=16)
    vqvae = files.load_vqvae(tmp_path)
    images = batches.Scenes(16, "any").batch(64, generator=random_stream("test")).images
    decoded = vqvae.decode(vqvae.encode(images))
    flat = (images.mean(dim=(0, 2, 3), keepdim=True) - images).square().mean()
    assert (decoded - images).square().mean() < flat / 2
