"""Wrong results must not come out in silence."""

import hashlib
import json
import logging
import re
import shutil
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file, save_file
from support.accelerate_state import forget_accelerate
from support.tiny import edit_json
from support.training import (
    counting_task,
    short_task,
    stopped_training,
    train_stages,
    use_small_networks,
    write_images,
)
from torch.amp import GradScaler

from vqlearn import CheckpointError, VQDiffusionPipeline
from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.layout import PARTS
from vqlearn.cli import commands as cli
from vqlearn.cli.verify import file_digests
from vqlearn.continuous import schedule as continuous
from vqlearn.continuous.gaussian import GaussianProcess
from vqlearn.continuous.sampler import Model
from vqlearn.data import Batch, Scenes, image_files
from vqlearn.data.image_files import read_image
from vqlearn.diffusion.level_sampling import ImportanceSampler
from vqlearn.evaluation import own_images
from vqlearn.evaluation.scene_words import check_scene_words
from vqlearn.text import build_tokenizer
from vqlearn.tokens.quantizer import CodebookEMA, VectorQuantizer
from vqlearn.training import Run, fit, loop, record, train_unet
from vqlearn.training.descent import MAX_SKIPPED, Descent, NotFiniteError
from vqlearn.training.learner import Learner
from vqlearn.training.recipes import Recipe
from vqlearn.training.stages import kept_tokens, plan
from vqlearn.training.tasks.reconstruction import TokenTask

RECIPE = Recipe(steps=8, batch_size=1, learning_rate=0.1, ema_decay=0.5, warmup_steps=1)


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of its first user for the whole process."""
    yield
    forget_accelerate()


# A1 ------------------------------------------------------------------------------


NULL_TEXT = "learned_classifier_free_sampling_embeddings"
WEIGHTS = "diffusion_pytorch_model"


def as_archive(folder, stem=WEIGHTS):
    """The weights of one part as a pickle in an archive."""
    file = next(folder.glob("*.safetensors"))
    torch.save(load_file(file), folder / f"{stem}.bin")
    file.unlink()
    return folder / f"{stem}.bin"


def rezip(file, how=zipfile.ZIP_STORED, more=()):
    with zipfile.ZipFile(file) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, data in [*members, *more]:
            archive.writestr(name, data)


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize(
    ("part", "stem"), [(NULL_TEXT, WEIGHTS), ("vqvae", WEIGHTS), ("text_encoder", "pytorch_model")]
)
def test_compressed_archives_are_refused_in_every_part(checkpoint, how, part, stem):
    file = as_archive(checkpoint / part, stem)
    VQDiffusionPipeline.from_pretrained(checkpoint)
    rezip(file)
    VQDiffusionPipeline.from_pretrained(checkpoint)  # stored once more, byte for byte
    rezip(file, how)
    with pytest.raises(CheckpointError, match=rf"{file.name}: its member .* is compressed"):
        VQDiffusionPipeline.from_pretrained(checkpoint)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_say_two_things_are_refused(checkpoint):
    file = as_archive(checkpoint / NULL_TEXT)
    with zipfile.ZipFile(file) as archive:
        name = archive.namelist()[0]
    rezip(file, more=[(name, b"another")])
    with pytest.raises(CheckpointError, match="several members of one name"):
        VQDiffusionPipeline.from_pretrained(checkpoint)


def test_a_tensor_longer_than_its_member_never_reads_the_next_one(checkpoint):
    file = as_archive(checkpoint / "text_encoder", "pytorch_model")
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    cut = next(name for name in members if name.endswith("/data/0"))
    members[cut] = members[cut][: len(members[cut]) // 2]
    file.unlink()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match=r"not as long as its members"):
        VQDiffusionPipeline.from_pretrained(checkpoint)


def test_a_weight_under_an_old_and_a_new_name_is_refused(checkpoint):
    file = next((checkpoint / "vqvae").glob("*.safetensors"))
    weights = load_file(file)
    name = next(name for name in weights if ".to_q.weight" in name)
    weights[name.replace("to_q", "query")] = weights[name] + 1
    save_file(weights, file)
    with pytest.raises(CheckpointError, match="under an old and a new name"):
        VQDiffusionPipeline.from_pretrained(checkpoint)


def test_a_text_encoder_with_more_layers_than_its_config_is_refused(checkpoint):
    file = next((checkpoint / "text_encoder").glob("*.safetensors"))
    weights = load_file(file)
    more = {name.replace("layers.0", "layers.1"): w + 1 for name, w in weights.items()}
    save_file({**more, **weights}, file)
    with pytest.raises(CheckpointError, match="are unknown"):
        VQDiffusionPipeline.from_pretrained(checkpoint)


# A2 ------------------------------------------------------------------------------


def grey_16(format_, mode="I;16", **options):
    """An image of grey 30000 of 65535, and what was read of it."""
    picture, buffer = Image.new(mode, (8, 8), 30000), BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def square_of(tmp_path, content):
    (tmp_path / "image").write_bytes(content)
    return read_image(tmp_path / "image", 8).pixels


@pytest.mark.parametrize(
    ("format_", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B"), ("PPM", "I;16")]
)
def test_grey_in_16_bits_is_scaled_by_its_range(tmp_path, format_, mode):
    square = square_of(tmp_path, grey_16(format_, mode))
    assert square.unique().tolist() == [117]  # 30000 / 65535 * 255 = 116.7
    edges = BytesIO()
    Image.fromarray(np.uint16([[0, 128, 129, 257], [65535, 65406, 65407, 256]])).save(edges, "PNG")
    (tmp_path / "edges").write_bytes(edges.getvalue())
    with Image.open(tmp_path / "edges") as picture:
        assert np.array(image_files._as_rgb(picture, "white"))[..., 0].tolist() == [
            [0, 0, 1, 1],
            [255, 254, 255, 1],
        ]


def test_a_transparent_grey_in_16_bits_lies_on_white(tmp_path):
    square = square_of(tmp_path, grey_16("PNG", transparency=30000))
    assert square.unique().tolist() == [255]


@pytest.mark.parametrize(
    ("mode", "value", "tags"),
    [
        ("I", 30000, {}),  # 32 bits
        ("F", 0.5, {}),
        ("I;16", 30000, {262: 0}),  # white is 0, and Pillow does not turn it round
        ("I;16", 3000, {258: 12}),
    ],
)
def test_values_of_unknown_range_are_refused_with_the_reason(tmp_path, mode, value, tags):
    Image.new(mode, (8, 8), value).save(tmp_path / "x.tif")
    content = bytearray((tmp_path / "x.tif").read_bytes())
    for tag, changed in tags.items():
        at = content.index(struct.pack("<HH", tag, 3)) + 8
        content[at : at + 2] = struct.pack("<H", changed)
    reason = rf"its mode is '{mode}'; allowed: 8 bits, or grey from 0 to 65535"
    with pytest.raises(ValueError, match=reason):
        square_of(tmp_path, bytes(content))


@pytest.mark.parametrize(
    ("mode", "colour", "format_", "expected"),
    [
        ("1", 1, "PNG", (255, 255, 255)),
        ("L", 7, "BMP", (7, 7, 7)),
        ("LA", (0, 51), "PNG", (204, 204, 204)),  # a fifth of black on white
        ("P", 3, "GIF", (3, 3, 3)),
        ("PA", (3, 255), "TIFF", (3, 3, 3)),
        ("RGB", (1, 2, 3), "PPM", (1, 2, 3)),
        ("RGBA", (255, 0, 0, 51), "WEBP", (255, 204, 204)),
        ("RGBA", (255, 0, 0, 51), "TIFF", (255, 204, 204)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "JPEG", (254, 0, 0)),
        ("YCbCr", (76, 85, 255), "TIFF", (254, 0, 0)),
        ("LAB", (255, 128, 128), "TIFF", (255, 255, 255)),
    ],
)
def test_every_mode_of_8_bits_has_its_colours(tmp_path, mode, colour, format_, expected):
    picture = Image.new(mode, (8, 8), colour)
    if mode in ("P", "PA"):
        picture.putpalette([grey for grey in range(256) for _ in range(3)])
    options = {"lossless": True} if format_ == "WEBP" else {}
    picture.save(tmp_path / "x", format_, **options)
    found = read_image(tmp_path / "x", 8).pixels[:, 4, 4].tolist()
    assert found == pytest.approx(expected, abs=2 if mode in ("YCbCr", "LAB", "CMYK") else 0)


def test_colours_in_16_bits_keep_their_upper_8(tmp_path):
    """Pillow cannot write them: a PNG by hand, one pixel of 16-bit red, green, blue and alpha."""
    row = b"\0" + struct.pack(">4H", 0x8001, 0x40FF, 0, 65535)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 6, 0, 0, 0)),
        (b"IDAT", zlib.compress(row)),
    ]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in (*chunks, (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    assert square_of(tmp_path, content)[:, 0, 0].tolist() == [0x80, 0x40, 0]


def test_of_an_animation_the_first_image_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for format_ in ("GIF", "PNG", "WEBP", "TIFF"):
        frames[0].save(tmp_path / "x", format_, save_all=True, append_images=frames[1:])
        assert read_image(tmp_path / "x", 8).pixels[:, 4, 4].tolist() == pytest.approx(
            [255, 0, 0], abs=4
        )


# A3 ------------------------------------------------------------------------------


def nan_in_step(number):
    """A loss that is NaN in one step, and what is shown beside it."""

    def losses(network, batch, step):
        factor = torch.nan if step + 1 == number else 1.0
        return {"loss": factor * network.weight, "bound": network.weight.detach()}, None

    return losses


def test_a_training_stops_in_the_step_that_is_not_finite_and_keeps_the_last_state(tmp_path):
    task = counting_task(tmp_path, replace(RECIPE, save_every=2), nan_in_step(6))
    with pytest.raises(ValueError, match=r"^counting: the loss is nan in step 6; .*state is .*/4$"):
        fit("counting", task)
    assert task.network.weight.isfinite()
    assert [path.name for path in (tmp_path / ".training" / "counting").iterdir()] == ["4"]


def test_the_first_step_has_no_state_before_it(tmp_path):
    task = counting_task(tmp_path, RECIPE, nan_in_step(1))
    with pytest.raises(ValueError, match="in step 1; allowed: finite numbers; no state is kept"):
        fit("counting", task)


def test_every_loss_that_is_not_finite_is_named(tmp_path):
    def losses(network, batch, step):
        return {"loss": network.weight * torch.inf, "bound": torch.tensor(torch.nan)}, None

    with pytest.raises(ValueError, match="the loss is nan, the bound is nan in step 1"):
        fit("counting", counting_task(tmp_path, RECIPE, losses))


def test_a_gradient_that_is_not_finite_is_seen_behind_a_finite_loss(tmp_path):
    """The derivative of a square root is infinite at 0."""
    task = counting_task(
        tmp_path, RECIPE, lambda net, batch, step: ({"loss": net.weight.sqrt()}, 0)
    )
    with pytest.raises(ValueError, match="the norm of the gradient is inf in step 1"):
        fit("counting", task)
    assert task.network.weight == 0


@pytest.mark.parametrize(
    ("save_every", "message"),
    [(1, "weight is not finite after step 2;"), (200, "the loss is -inf in step 3;")],
)
def test_weights_that_overflow_are_neither_saved_nor_returned(tmp_path, save_every, message):
    """A finite gradient, and a step so long that float32 cannot hold where it ends."""
    recipe = replace(RECIPE, steps=3, save_every=save_every)
    task = counting_task(tmp_path, recipe, lambda net, batch, step: ({"loss": -net.weight}, None))
    task.after_step = lambda step, seen: task.network.weight.data.mul_(1e30)
    with pytest.raises(ValueError, match=message):
        fit("counting", task)
    states = tmp_path / ".training" / "counting"
    assert [path.name for path in states.glob("*")] == ([] if save_every > 1 else ["1"])


def test_the_u_net_stops_too():
    process = GaussianProcess(continuous.cosine(4))
    batches = [torch.zeros(2, 1, 4, 4), torch.full((2, 1, 4, 4), torch.nan)]
    model = Model(Predict(torch.nn.Conv2d(1, 1, 1)), "epsilon")
    with pytest.raises(ValueError, match="the loss is nan in step 2"):
        train_unet(model, batches, process)


class Predict(torch.nn.Module):
    """One convolution, whatever the level."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, t):
        return self.network(x)


def half_precision(loss_of):
    """A weight, what moves it under a scaler of float16, and how often what follows a step ran."""
    network = torch.nn.Linear(1, 1, bias=False)
    optimizers = [torch.optim.SGD(network.parameters(), 0.1)]
    learner = Learner(network, optimizers, lambda step: 1.0, ema_decay=0.5)
    learner.descent.scaler = GradScaler("cpu", init_scale=2.0**120)
    seen = []

    def step(number):
        learner.step({"loss": loss_of(network.weight.sum())}, number, lambda: seen.append(number))

    return network, learner, seen, step


def test_a_step_that_the_scaler_skips_moves_nothing():
    """Scaled by 2^120 the gradient 1,000 is beyond float32 at first, and soon is not."""
    network, learner, seen, step = half_precision(lambda weight: 1000 * weight)
    before = network.weight.item()
    step(1)
    assert (network.weight.item(), seen, learner.average.n_averaged.item()) == (before, [], 0)
    for number in range(2, 6):
        step(number)
    assert network.weight.isfinite().all()
    assert network.weight.item() != before
    assert seen == [3, 4, 5]


def test_skipping_without_end_is_an_error():
    network, _, seen, step = half_precision(lambda weight: torch.nan * weight)
    for number in range(1, MAX_SKIPPED + 1):
        step(number)
    with pytest.raises(NotFiniteError, match=f"not finite in {MAX_SKIPPED + 1} steps in a row"):
        step(MAX_SKIPPED + 1)
    assert network.weight.isfinite().all()
    assert not seen


def test_the_discriminator_is_named():
    weight = torch.nn.Parameter(torch.ones(()))
    descent = Descent([weight], [torch.optim.SGD([weight], 0.1)])
    loss = weight * torch.inf
    with pytest.raises(NotFiniteError, match="the discriminator's loss is inf in step 7"):
        descent.step(loss, 7, {"discriminator's loss": loss})
    assert weight == 1


# A4 ------------------------------------------------------------------------------


def codebook():
    """Four codes far apart, 256 vectors near them, and what follows the vectors."""
    quantizer = VectorQuantizer(4, 2)
    corners = torch.tensor([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 9.0]])
    quantizer.codebook.weight.data.copy_(corners)
    noise = torch.randn(64, 4, 2, generator=torch.Generator().manual_seed(0))
    return quantizer, CodebookEMA(quantizer, decay=0.5), (corners + noise).reshape(-1, 2)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_a_vector_that_is_not_finite_does_not_count(value):
    codes = []
    for vectors_of in (lambda all: all[1:], lambda all: all.index_fill(0, torch.tensor(0), value)):
        quantizer, ema, vectors = codebook()
        ema.update(quantizer, quantizer(vectors_of(vectors)))
        codes.append(quantizer.codebook.weight.clone())
    assert torch.equal(*codes)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_code_that_is_not_finite_is_dead_and_comes_back(value):
    quantizer, ema, vectors = codebook()
    quantizer.codebook.weight.data[2] = value
    ema.sums[2] = value
    vectors[5] = value
    quantized = quantizer(vectors)
    assert ema.revive_dead_codes(quantizer, quantized, generator=torch.Generator()) == 1
    assert quantizer.codebook.weight.isfinite().all()
    ema.update(quantizer, quantizer(vectors))
    assert quantizer.codebook.weight.isfinite().all()
    assert quantizer(vectors[6:]).perplexity > 1.5


def test_without_any_finite_vector_no_code_can_come_back():
    quantizer, ema, vectors = codebook()
    quantizer.codebook.weight.data[2] = torch.nan
    with pytest.raises(ValueError, match="no vector of the batch is finite"):
        ema.revive_dead_codes(quantizer, quantizer(vectors * torch.nan))


@pytest.mark.parametrize("value", [torch.inf, torch.nan, 1e200])
def test_a_loss_that_is_not_finite_leaves_the_levels_as_they_were(value):
    levels = ImportanceSampler(2)
    levels.update(torch.tensor([1, 2, 2]), torch.tensor([1.0, value, 3.0], dtype=torch.float64))
    assert levels.squares.tolist() == [1.0, 9.0]
    assert levels.counts.tolist() == [1, 1]


# A5 ------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A small checkpoint of two red images, the recipes, and the folder with the images."""
    recipes = use_small_networks(monkeypatch)
    red = write_images(tmp_path / "red", ["red", "darkred"])
    kept = tmp_path / "kept"
    train_stages(kept, recipes, data=str(red), image_size=16)
    return kept, recipes, red


def test_a_finished_stage_is_kept_only_if_it_was_the_same_training(trained, tmp_path):
    kept, recipes, red = trained
    before = (kept / "SHA256SUMS").read_bytes()
    assert train_stages(kept, recipes, data=str(red), image_size=16) == list(recipes)
    blue = write_images(tmp_path / "blue", ["blue"])
    seven = {name: replace(recipe, seed=7) for name, recipe in recipes.items()}
    for changes, message in (
        ({"data": str(blue)}, r"data '.*blue' \(.*\) is not allowed: data '.*red'"),
        ({"image_size": 32}, "image_size 32 is not allowed: image_size 16"),
        ({"mixed_precision": "bf16"}, "mixed_precision 'bf16' is not allowed: mixed_precision"),
        ({"recipes": seven}, "seed 7 is not allowed: seed 0; choose another folder with --out"),
        ({"options": {"tokens": {"quantizer": "gumbel"}}}, "quantizer 'gumbel' is not allowed"),
    ):
        forget_accelerate()
        asked = {"recipes": recipes, "data": str(red), "image_size": 16, **changes}
        with pytest.raises(ValueError, match=message) as refused:
            train_stages(kept, **asked)
        assert len(str(refused.value)) <= 400 + 4 * len(str(tmp_path))
    assert (kept / "SHA256SUMS").read_bytes() == before


def test_the_same_data_may_lie_elsewhere_and_more_workers_load_it(trained, tmp_path):
    kept, recipes, red = trained
    red.rename(tmp_path / "moved")
    often = {name: replace(recipe, save_every=1) for name, recipe in recipes.items()}
    moved = str(tmp_path / "moved")
    assert train_stages(kept, often, data=moved, image_size=16) == list(recipes)


def test_a_part_without_a_record_is_kept_and_that_is_said(trained, caplog):
    """A folder of an older version has none; a part that was replaced has another digest."""
    kept, recipes, red = trained
    caplog.set_level(logging.INFO)
    tokens = {"tokens": replace(recipes["tokens"], seed=7)}
    (kept / "vqvae" / "config.json").write_text((kept / "vqvae" / "config.json").read_text() + "\n")
    assert train_stages(kept, tokens, data=str(red), image_size=16) == ["tokens"]
    (kept / record.FILE).unlink()
    assert train_stages(kept, tokens, data=str(red), image_size=16) == ["tokens"]
    said = [line for line in caplog.messages if line.startswith("tokens")]
    assert said == ["tokens: finished before, kept; its choices are unknown"] * 2


def test_a_stage_is_not_built_on_tokens_of_other_data(tmp_path, monkeypatch):
    """With `start_from` it may be: the tokens are then a copy."""
    recipes = use_small_networks(monkeypatch)
    first, blue = tmp_path / "first", str(write_images(tmp_path / "blue", ["blue"]))
    frozen = {name: recipes.pop(name) for name in ("tokens", "text")}
    train_stages(first, frozen, image_size=16)
    with pytest.raises(ValueError, match=r"holds tokens of other data; data .* --start-from"):
        train_stages(first, recipes, data=blue, image_size=16)
    with pytest.raises(ValueError, match="image_size 32 is not allowed: image_size 16"):
        train_stages(first, recipes, image_size=32)
    assert not (first / "transformer").exists()
    all_of_them = {**frozen, **recipes}
    train_stages(tmp_path / "new", all_of_them, data=blue, image_size=16, start_from=first)
    again = train_stages(tmp_path / "new", recipes, data=blue, image_size=16)
    assert again == ["diffusion"]


def test_tokens_to_start_from_do_not_stand_behind_others(trained):
    kept, recipes, _ = trained
    with pytest.raises(ValueError, match=r"vqvae of .* is asked for, but .*vqvae is another one"):
        train_stages(kept, recipes, start_from=resolve("scenes"))


@pytest.mark.parametrize(
    ("stage", "data", "folder"),
    [
        ("all", "scenes", "scenes"),
        ("text", "scenes", "scenes"),
        ("raster", "scenes", "raster"),
        ("all", "my/cats", "cats"),
        ("all", "my/cats/", "cats"),
        ("imagebart", "my/cats", "cats-imagebart"),
    ],
)
def test_each_data_has_a_folder_of_its_own(stage, data, folder):
    assert plan.folder_of(stage, data) == Path("runs") / folder


# A6 ------------------------------------------------------------------------------


def stopped_tokens(folder, monkeypatch, recipes, **options):
    """A training of tokens that an error ends after the first of two steps."""
    short = {"tokens": replace(recipes["tokens"], save_every=1)}

    def losses(self, network, batch, step):
        if step == 1:
            raise KeyboardInterrupt
        return before(self, network, batch, step)

    before = TokenTask.losses
    with monkeypatch.context() as patch:
        patch.setattr(TokenTask, "losses", losses)
        with pytest.raises(KeyboardInterrupt):
            train_stages(folder, short, **options)
    return short


def test_a_stopped_training_goes_on_only_as_the_same(tmp_path, monkeypatch):
    folder, recipes = tmp_path / "run", use_small_networks(monkeypatch)
    four = write_images(tmp_path / "four", ["red", "green", "blue", "white"])
    asked = {"data": str(four), "image_size": 16}
    short = stopped_tokens(folder, monkeypatch, recipes, **asked)
    longer = {"tokens": replace(short["tokens"], warmup_steps=5)}
    for changes, message in (
        ({"image_size": 32}, "image_size 32 is not allowed: image_size 16"),
        ({"mixed_precision": "bf16"}, "mixed_precision 'bf16' is not allowed"),
        ({"recipes": longer}, "warmup_steps 5 is not allowed: warmup_steps 100"),
        ({"options": {"tokens": {"discriminator": True}}}, "discriminator True is not allowed"),
    ):
        forget_accelerate()
        with pytest.raises(ValueError, match=f"was stopped at step 1; .*{message}"):
            train_stages(folder, **{"recipes": short, **asked, **changes})
    forget_accelerate()
    lines = (four / "metadata.jsonl").read_text().splitlines()
    (four / "metadata.jsonl").write_text("\n".join(lines[:1]))
    with pytest.raises(ValueError, match=r"data '.*four' \('.*'\) is not allowed: data '.*four' "):
        train_stages(folder, short, **asked)
    (four / "metadata.jsonl").write_text("\n".join(lines))
    four.rename(tmp_path / "elsewhere")
    train_stages(folder, short, **{**asked, "data": str(tmp_path / "elsewhere")})
    assert (folder / "vqvae" / "config.json").exists()


def test_whatever_is_new_in_a_recipe_or_run_is_recorded(tmp_path):
    """Every field is in the record, under its name or what it holds, or is left out by name."""

    @dataclass(frozen=True)
    class NewRecipe(Recipe):
        momentum: float = 0.5

    @dataclass(frozen=True)
    class NewRun(Run):
        augmented: bool = True

    recipe = NewRecipe(**vars(RECIPE))
    run = NewRun(tmp_path, Scenes(16, "seen"), recipe, Accelerator(cpu=True))
    found = record.choices(run, {"quantizer": "nearest"})
    expanded = {"data", "data_name", "image_size", "processes", "mixed_precision", "format"}
    plain = {each.name for each in (*fields(run), *fields(recipe))} - record.LEFT_OUT
    assert set(found) == plain - {"recipe", "source", "accelerator"} | expanded | {"quantizer"}
    assert {"momentum", "augmented", "seed", "steps"} <= set(found)
    assert json.loads(json.dumps(found)) == found


# A7 ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_of_crosses(tmp_path_factory):
    """A folder of images, and a model that was trained on it for two steps."""
    folder = tmp_path_factory.mktemp("crosses")
    lines = []
    for shade in range(4):
        Image.new("L", (16, 16), 60 * shade).save(folder / f"{shade}.png")
        lines.append({"file_name": f"{shade}.png", "text": f"a cross in shade {shade}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    recipe = Recipe(steps=2, batch_size=2, learning_rate=1e-3, ema_decay=0.5)
    stages = dict.fromkeys(("tokens", "text", "diffusion"), recipe)
    train_stages(folder / "model", stages, data=str(folder), image_size=16)
    return folder, folder / "model"


def evaluated(monkeypatch, capsys, *arguments):
    """Exit code, standard output and the lines of standard error of `vqlearn evaluate`."""
    monkeypatch.setattr(sys, "argv", ["vqlearn", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("vqlearn: ")]
    return stopped.value.code or 0, captured.out, errors


def test_a_model_of_other_images_is_not_measured_on_scenes(
    model_of_crosses, monkeypatch, capsys, tmp_path
):
    model, out = tmp_path / "model", tmp_path / "scores.json"
    shutil.copytree(model_of_crosses[1], model, ignore=lambda *_: ["training.json"])
    code, told, errors = evaluated(monkeypatch, capsys, "--model", model, "--out", out)
    assert (code, told, len(errors)) == (1, "", 1)
    assert "the model was not trained on scenes: its vocabulary lacks 'above</w>'" in errors[0]
    assert "--data FOLDER" in errors[0]
    assert not out.exists()


def test_a_model_of_other_images_with_the_words_of_scenes_is_known_by_its_record(
    model_of_crosses, monkeypatch, capsys, tmp_path
):
    folder, _ = model_of_crosses
    recipe = {"diffusion": Recipe(steps=1, batch_size=2, learning_rate=1e-3, ema_decay=0.5)}
    train_stages(tmp_path, recipe, data=str(folder), start_from=resolve("scenes"))
    code, told, errors = evaluated(monkeypatch, capsys, "--model", tmp_path)
    assert (code, told, len(errors)) == (1, "", 1)
    assert f"diffusion of {tmp_path} was trained on " in errors[0]
    assert "allowed: a model of scenes, or --data FOLDER" in errors[0]


def test_a_model_is_one_of_scenes_if_it_knows_their_words_and_no_others():
    captions = Scenes(32, "seen").captions()
    check_scene_words(build_tokenizer(captions, vocab_size=1024, max_length=32))
    more = build_tokenizer([*captions, "a zebra"], vocab_size=1024, max_length=32)
    with pytest.raises(ValueError, match="not trained on scenes: its vocabulary holds '"):
        check_scene_words(more)
    fewer = build_tokenizer(["all red", "all blue"], vocab_size=1024, max_length=32)
    with pytest.raises(ValueError, match="not trained on scenes: its vocabulary lacks 'above</w>'"):
        check_scene_words(fewer)


def test_a_model_is_measured_on_images_like_its_own(
    model_of_crosses, monkeypatch, capsys, tmp_path
):
    folder, model = model_of_crosses
    options = ["--data", folder, "--steps", 2, "--prompts", 3, "--out", tmp_path / "s.json"]
    code, told, _ = evaluated(monkeypatch, capsys, "--model", model, *options)
    assert code == 0
    assert json.loads(told) == json.loads((tmp_path / "s.json").read_text())
    assert json.loads(told)["prompts"] == 3
    found = json.loads(told)["seen"]  # the model has learned from these images
    assert (found["images"], found["captions"]) == (3, 3)
    assert 0 < found["round_trip_psnr"]["mean"] < 54.2
    assert 0 < found["bits_per_token"]["mean"] < 20
    assert found["bits_per_token"]["standard_error"] >= 0
    for name in ("matched", "matched_truth"):
        assert found[name]["total"] == 3
        assert 0 <= found[name]["share"] <= 1
    code, _, errors = evaluated(monkeypatch, capsys, "--model", model, "--data", tmp_path)
    assert (code, len(errors)) == (1, 1)
    assert "there is no metadata.jsonl, metadata.csv" in errors[0]


def test_the_figures_of_a_folder_by_hand(monkeypatch):
    images = torch.zeros(2, 3, 4, 4)
    decibel = own_images.psnr(images + 0.1, images)
    assert (decibel.mean, decibel.standard_error) == (20, 0)
    assert own_images.psnr(images, images).mean == pytest.approx(54.15, abs=0.01)
    scores = torch.tensor([[2.0, 1.0], [3.0, 1.0], [5.0, 9.0]])  # 3 images, 2 distinct captions
    monkeypatch.setattr(
        own_images, "read_by_clip", lambda *_: SimpleNamespace(logits_per_image=scores)
    )
    matched = own_images.caption_matching(None, None, torch.zeros(3, 3, 4, 4), ["a", "a", "b"])
    assert (matched.right, matched.total) == (3, 3)
    matched = own_images.caption_matching(None, None, torch.zeros(3, 3, 4, 4), ["a", "b", "b"])
    assert (matched.right, matched.total) == (2, 3)
    with pytest.raises(ValueError, match="the number of images is 1; allowed: 2 or more"):
        own_images.psnr(images[:1], images[:1])


# A8 ------------------------------------------------------------------------------


def test_the_error_of_kept_tokens_is_said_at_once(tmp_path, monkeypatch, caplog):
    """The shipped tokens on scenes, and on noise, which a mean colour describes better."""
    caplog.set_level(logging.INFO)
    recipes = use_small_networks(monkeypatch)
    tokens, scenes = {"tokens": recipes["tokens"]}, resolve("scenes")
    train_stages(tmp_path / "scenes", tokens, start_from=scenes)
    (line,) = [line for line in caplog.messages if "dB" in line]
    kept, flat = (float(word.split()[0]) for word in line.split(": ")[1:])
    assert kept > 30 > flat
    assert "do not suit" not in line

    def noise(self, count, *, generator):
        return Batch(torch.rand(count, 3, 32, 32, generator=generator), ["noise"] * count)

    caplog.clear()
    monkeypatch.setattr(Scenes, "batch", noise)
    train_stages(tmp_path / "noise", tokens, start_from=scenes)
    (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "They do not suit these images: train tokens" in warning.getMessage()
    caplog.clear()
    train_stages(tmp_path / "noise", tokens, start_from=scenes)
    assert not [line for line in caplog.messages if "dB" in line]


def test_decibels_and_mean_colours_by_hand():
    images = torch.zeros(1, 3, 16, 16)
    assert kept_tokens.decibels(images, images + 0.1) == pytest.approx(20)
    images[..., :4, :4] = torch.tensor([0.0, 1.0]).repeat(2)
    flat = kept_tokens.mean_colours(images, 4)
    assert flat[0, 0, :4, :4].unique().tolist() == [0.5]
    assert flat[0, 0, 4:].abs().max() == 0


# A9 ------------------------------------------------------------------------------


def refusal(tmp_path, monkeypatch, capsys, *arguments):
    """The one line with which `vqlearn train ARGUMENTS` ends, before anything is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vqlearn", "train", *map(str, arguments)])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1
    assert len(lines) == 1
    assert sorted(tmp_path.iterdir()) == before
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tokens --mixed-precision fp16", "mixed_precision is 'fp16'; allowed on a CPU: 'no', 'b"),
        ("tokens --tensorboard", "tensorboard is not installed"),
        ("tokens --workers -1", "workers is -1; allowed: 0 or more"),
        ("tokens --workers 1000000000000", "workers is 1000000000000; allowed: 0 to 256"),
        ("text --quantizer gumbel", "quantizer is 'gumbel'; allowed: none for the stage 'text'"),
        ("raster --quantizer nearest", "quantizer is 'nearest'; allowed: none for the stage"),
        ("diffusion --discriminator", "discriminator is True; allowed: none for the stage"),
        ("tokens --schedule paper", "schedule is 'paper'; allowed: none for the stage 'tokens'"),
        ("all --start-from scenes --discriminator", "discriminator is True; allowed: none with"),
        ("diffusion --start-from scenes --schedule paper", "schedule is 'paper'; allowed: none"),
        ("tokens --start-from scenes", "start_from is 'scenes'; allowed: none for 'tokens'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.setattr(loop, "is_tensorboard_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert message in refusal(tmp_path, monkeypatch, capsys, *arguments.split())


# A10 ------------------------------------------------------------------------------


def test_one_changed_bit_of_a_state_is_found_wherever_it_is(tmp_path):
    """In the weights, in the header of their file, in the rest, in the digests themselves."""
    (folder,) = stopped_training(tmp_path).glob("*")
    assert len(list(folder.iterdir())) == 3
    for file in folder.iterdir():
        whole = file.read_bytes()
        for place in range(0, len(whole), len(whole) // 12):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
            with pytest.raises(CheckpointError, match=re.escape(str(folder))) as caught:
                fit("short", short_task(tmp_path))
            assert len(str(caught.value)) <= 400
        file.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CheckpointError, match=re.escape(str(folder))):
            fit("short", short_task(tmp_path))
        file.write_bytes(whole)
    fit("short", short_task(tmp_path))


def test_a_state_of_other_networks_is_not_loaded(tmp_path):
    stopped_training(tmp_path)
    task = short_task(tmp_path)
    task.network = torch.nn.Sequential(torch.nn.Linear(8, 4))
    task.muon_weights = []
    with pytest.raises(CheckpointError, match=r"short/4 cannot be used"):
        fit("short", task)


# A11 ------------------------------------------------------------------------------


@pytest.fixture
def signed(checkpoint, tmp_path):
    VQDiffusionPipeline.from_pretrained(checkpoint).save_pretrained(tmp_path / "signed")
    return tmp_path / "signed"


@pytest.mark.parametrize("what", ["folder", "link to nothing", "loop", "bytes", "empty"])
def test_a_list_of_digests_that_cannot_be_read_is_no_missing_list(signed, what):
    sums = signed / "SHA256SUMS"
    sums.unlink()
    if what == "folder":
        sums.mkdir()
    elif what in ("bytes", "empty"):
        sums.write_bytes(b"\xff\xfe" if what == "bytes" else b"")
    else:
        sums.symlink_to(sums.name if what == "loop" else "nowhere")
    with pytest.raises(CheckpointError, match="SHA256SUMS"):
        VQDiffusionPipeline.from_pretrained(signed)


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_files_outside_are_never_hashed_and_their_digest_is_never_told(signed, tmp_path, linked):
    secret = tmp_path / "private" / "config.json"
    secret.parent.mkdir()
    secret.write_text("private")
    digest = hashlib.sha256(secret.read_bytes()).hexdigest()
    shutil.rmtree(signed / "vqvae")
    if linked == "folder":
        (signed / "vqvae").symlink_to(secret.parent)
    else:
        (signed / "vqvae").mkdir()
        (signed / "vqvae" / "config.json").symlink_to(secret)
    with pytest.raises(CheckpointError, match=r"outside|no file") as caught:
        VQDiffusionPipeline.from_pretrained(signed)
    assert digest not in str(caught.value)
    assert digest not in file_digests(signed, PARTS).values()


def test_links_of_the_cache_of_the_hub_are_inside(signed, tmp_path):
    snapshot, blobs = tmp_path / "hub" / "snapshots" / "1", tmp_path / "hub" / "blobs"
    snapshot.parent.mkdir(parents=True)
    blobs.mkdir()
    signed.rename(snapshot)
    before = file_digests(snapshot, PARTS)
    (snapshot / "vqvae" / "config.json").rename(blobs / "x")
    (snapshot / "vqvae" / "config.json").symlink_to("../../../blobs/x")
    assert file_digests(snapshot, PARTS) == before
    VQDiffusionPipeline.from_pretrained(snapshot)


# A12 ------------------------------------------------------------------------------


def retokenized(checkpoint, **ids):
    file = checkpoint / "tokenizer" / "tokenizer.json"
    values = json.loads(file.read_text())
    values["model"]["vocab"].update(ids)
    file.write_text(json.dumps(values))


@pytest.mark.parametrize("number", [530, 10**6, 2**31, 2**32, 2**64, -1])
def test_ids_without_a_row_in_the_embedding_are_refused_at_loading(checkpoint, number):
    retokenized(checkpoint, a=number)
    with pytest.raises(CheckpointError, match=rf"tokenizer\.json has the id {number}; allowed: 0"):
        VQDiffusionPipeline.from_pretrained(checkpoint)


@pytest.mark.parametrize("name", ["pad_token", "bos_token", "eos_token"])
def test_special_tokens_outside_the_vocabulary_are_refused_at_loading(checkpoint, name):
    edit_json(checkpoint / "tokenizer" / "tokenizer_config.json", **{name: "<new>"})
    with pytest.raises(CheckpointError, match="special tokens that are not in the vocabulary"):
        VQDiffusionPipeline.from_pretrained(checkpoint)


def test_added_tokens_outside_the_embedding_are_refused_at_loading(checkpoint):
    file = checkpoint / "tokenizer" / "tokenizer.json"
    added = json.loads(file.read_text())["added_tokens"]
    edit_json(file, added_tokens=[*added, {**added[0], "content": "<new>", "id": 530}])
    with pytest.raises(CheckpointError, match="has the id 530"):
        VQDiffusionPipeline.from_pretrained(checkpoint)


# A13 ------------------------------------------------------------------------------


def test_null_embeddings_that_the_index_names_must_be_there(checkpoint, caplog):
    shutil.rmtree(checkpoint / NULL_TEXT)
    with pytest.raises(CheckpointError, match=rf"{NULL_TEXT}'?, but model_index\.json names it"):
        VQDiffusionPipeline.from_pretrained(checkpoint)
    edit_json(checkpoint / "model_index.json", **{NULL_TEXT: ...})
    assert not VQDiffusionPipeline.from_pretrained(checkpoint).null_text.config.learnable
    assert "the empty caption stands for no caption" in caplog.text


# A14 ------------------------------------------------------------------------------


def test_what_was_there_before_a_save_is_neither_signed_nor_read(checkpoint, tmp_path):
    pipeline = VQDiffusionPipeline.from_pretrained(checkpoint)
    pipeline.save_pretrained(tmp_path / "fresh")
    older = shutil.copytree(checkpoint, tmp_path / "older")
    stale = next((older / "vqvae").glob("*.safetensors"))
    save_file(
        {name: weight + 1 for name, weight in load_file(stale).items()},
        stale.with_name(f"{WEIGHTS}.fp16.safetensors"),
    )
    shutil.copytree(older / "text_encoder", older / "clip")
    shutil.copytree(older / "transformer", older / "raster_transformer")
    for name in ("merges.txt", "vocab.json", "special_tokens_map.json"):
        (older / "tokenizer" / name).write_text("{}")
    (older / "notes.txt").write_text("mine")
    (older / "vqvae" / "notes.md").write_text("mine")
    pipeline.save_pretrained(older)
    kept = {"notes.txt": "mine", "vqvae/notes.md": "mine"}
    assert contents(older) == {
        **contents(tmp_path / "fresh"),
        **{k: v.encode() for k, v in kept.items()},
    }
    again = VQDiffusionPipeline.from_pretrained(older, variant="fp16")
    for name, weight in again.vqvae.state_dict().items():
        assert torch.equal(weight, pipeline.vqvae.state_dict()[name])


def contents(folder):
    files = [file for file in Path(folder).rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_a_save_never_writes_through_a_link(checkpoint, tmp_path):
    older = shutil.copytree(checkpoint, tmp_path / "older")
    other = tmp_path / "other"
    (older / "vqvae").rename(other)
    (older / "vqvae").symlink_to(other)
    before = contents(other)
    VQDiffusionPipeline.from_pretrained(checkpoint).save_pretrained(older)
    assert contents(other) == before
    VQDiffusionPipeline.from_pretrained(older)
