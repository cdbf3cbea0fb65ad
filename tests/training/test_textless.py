"""Fine-tuning what official files hold: above all models of classes, and of images alone."""

import json
import logging
import shutil

import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.official_files import save_official
from support.training import write_images

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.class_names import load_class_names
from vqlearn.checkpoints.layout import CLASS_NAMES_FILE, model_folder
from vqlearn.data.picture import picture_of_rows
from vqlearn.pipeline import load_pipeline
from vqlearn.probability import ClassConditioning, Sampling, random_stream
from vqlearn.released import convert
from vqlearn.storage import sha256
from vqlearn.tokens import VQVAE
from vqlearn.training import loop
from vqlearn.training.preview import preview_batch
from vqlearn.training.stages import Plan, order
from vqlearn.training.stages.unfinished import write_newest
from vqlearn.training.tasks.diffusion import DiffusionTask
from vqlearn.transformer import ClassDenoiser

COLOURS = ["red", "green", "blue", "white"]
CAPTIONS = {
    "imagenet_pretrained": ["0", "999", "0", "5"],
    "imagenet_learnable": ["golden retriever", "Carassius auratus", " 2", "999"],
    "ffhq": ["a face", "a face", "another", "a face"],
    "cub_s": ["c e", "b", "e h", "h"],
    "coco_learnable": ["c e", "b", "e h", "h"],
}
SIDES = {"cub_s": 32, "coco_learnable": 32}
TEXTLESS = ["imagenet_learnable", "ffhq"]


@pytest.fixture(autouse=True)
def _forget():
    yield
    forget_accelerate()


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The folders that small official files were converted to; one has no names of its classes."""
    place = tmp_path_factory.mktemp("official")
    for name in CAPTIONS:
        written = save_official(place / "files" / name, name)
        convert([written.file], place / name, **written.options)
    (place / "imagenet_pretrained" / CLASS_NAMES_FILE).unlink()
    files.finish(place / "imagenet_pretrained", Sampling(1.0, 0.86))
    return place


@pytest.fixture
def train(official, tmp_path):
    """Train a few steps on four images, as the command does."""

    def train(name, out, stage="diffusion", steps=3, captions=None, lengthen=False, **others):
        forget_accelerate()
        captions = captions or CAPTIONS[name]
        data = tmp_path / f"images of {'-'.join(captions)}"
        if not data.exists():
            write_images(data, COLOURS, captions)
        recipe = {"steps": steps, "batch_size": 2, "save_every": 1, "warmup_steps": 1}
        recipe |= others.pop("recipe", {})
        side = others.pop("side", SIDES.get(name, 64))
        others = {"start_from": str(official / name), **others}
        plan = Plan(stage, str(data), side, recipe, **others)
        return plan.train(tmp_path / out, lengthen=lengthen)

    return train


def weights(folder):
    return files.load_token_model(folder).network.state_dict()


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def digests(folder):
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): sha256(path) for path in found}


@pytest.mark.parametrize("name", [*CAPTIONS])
def test_the_result_is_a_whole_checkpoint_of_the_same_kind(official, train, name):
    start = official / name
    if name in TEXTLESS:
        still = train(name, "still", recipe={"learning_rate": 0.0, "ema_decay": 0.0})
        assert same(weights(still), weights(start))
    out = train(name, "out", recipe={"learning_rate": 1e-2})
    assert not same(weights(out), weights(start))
    assert model_folder(out) == model_folder(start)
    assert digests(out / "vqvae") == digests(start / "vqvae")
    pipe, before = load_pipeline(out), load_pipeline(start)
    assert pipe.schedule == before.schedule
    assert pipe.recommended == before.recommended
    assert pipe.recommended is not None or name in ("ffhq", "cub_s")
    count = getattr(before.denoiser.config, "num_classes", 0)
    assert load_class_names(out, count) == load_class_names(start, count)
    assert (out / CLASS_NAMES_FILE).exists() == (name == "imagenet_learnable")
    files.check(out)


@pytest.mark.parametrize("name", TEXTLESS)
def test_the_command_trains_and_generates(official, train, tmp_path, monkeypatch, capsys, name):
    """`all` is the same as `diffusion`: tokens are taken, and there is no text."""
    out = train(name, "python")
    forget_accelerate()
    options = ["--start-from", official / name, "--data", next(tmp_path.glob("images*"))]
    options += ["--image-size", 64, "--steps", 3, "--batch-size", 2, "--out", tmp_path / "out"]
    code, stdout, stderr = run_command(monkeypatch, capsys, "train", "all", *options)
    assert (code, stdout) == (0, f"{tmp_path / 'out'}\n"), stderr
    assert f"the tokens of {official / name} on" in stderr
    assert set(digests(tmp_path / "out")) == set(digests(out))
    label = [] if name == "ffhq" else ["--class-label", 1]
    words = ["generate", *label, "--model", out, "--steps", 2, "--out", tmp_path / "x.png"]
    assert run_command(monkeypatch, capsys, *words)[0] == 0


def test_what_the_class_of_an_image_changes_is_learned(official, train):
    """Red images are of class 5, blue ones of class 8: the bound of the other class is higher.

    At first there is no such difference: these classes have random weights.
    """
    captions = ["5", "8", "8", "5"]
    start = official / "imagenet_pretrained"
    recipe = {"learning_rate": 1e-2, "batch_size": 16, "save_every": 100, "ema_decay": 0.5}
    out = train("imagenet_pretrained", "out", steps=100, captions=captions, recipe=recipe)
    vqvae = files.load_vqvae(out)
    pixels = torch.zeros(2, 3, 64, 64)
    pixels[0, 0], pixels[1, 2] = 1, 1
    tokens = vqvae.encode(pixels)
    assert not torch.equal(*tokens)
    before, after = (advantage(files.load_token_model(f).eval(), tokens) for f in (start, out))
    assert after.min() > 10
    assert before.abs().max() < after.min()


def advantage(model, tokens):
    """How many nats more the bound is with the other label, for each of two sequences."""
    x = tokens.repeat_interleave(8, dim=0)
    bounds = []
    for labels in ([8, 5], [5, 8]):
        told = ClassConditioning(torch.tensor(labels).repeat_interleave(8))
        found = model.nll(x, told, generator=torch.Generator().manual_seed(0))
        bounds.append(found.view(2, 8).mean(dim=1))
    return bounds[0] - bounds[1]


def test_one_label_in_ten_is_dropped(train, monkeypatch):
    """Of 4,000 labels 400 on average, +- 95: beyond that once in 10^6 draws of a seed."""
    seen, forward = [], ClassDenoiser.forward

    def spy(self, x_t, t, labels):
        seen.append(labels)
        return forward(self, x_t, t, labels)

    monkeypatch.setattr(ClassDenoiser, "forward", spy)
    recipe = {"batch_size": 200, "save_every": 100}
    train("imagenet_learnable", "out", steps=20, recipe=recipe)
    labels = torch.cat(seen)
    assert len(labels) == 4000
    assert abs(int((labels == 1000).sum()) - 400) < 95
    assert set(labels.tolist()) == {207, 1, 2, 999, 1000}
    counts = torch.bincount(labels)[[207, 1, 2, 999]]
    assert (counts - 900).abs().max() < 140  # 5 standard deviations


def test_of_an_unconditional_model_captions_are_not_read(train):
    first = train("ffhq", "first", captions=["one", "two", "three", "four"])
    second = train("ffhq", "second", captions=["red", "green", "blue", "white"])
    assert same(weights(first), weights(second))


@pytest.mark.parametrize("name", TEXTLESS)
def test_images_are_encoded_once(train, monkeypatch, name):
    """Four of the folder, and 32 to tell how well the tokens suit."""
    seen, encode = [], VQVAE.encode

    def spy(self, images):
        seen.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(VQVAE, "encode", spy)
    train(name, "out", steps=9)
    assert sum(seen) == 32 + 4


@pytest.mark.parametrize("name", ["imagenet_learnable", "cub_s"])
def test_a_stopped_training_goes_on_bit_for_bit(train, tmp_path, monkeypatch, name):
    whole = train(name, "whole")
    after_step = DiffusionTask.after_step

    def stop(self, step, seen):
        after_step(self, step, seen)
        if step == 1:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(DiffusionTask, "after_step", stop)
        with pytest.raises(RuntimeError, match="power cut"):
            train(name, "stopped")
    assert (tmp_path / "stopped" / ".training" / "diffusion" / "1").exists()
    with pytest.raises(ValueError, match=r"start_from is None; allowed: that with which .*stopped"):
        train(name, "stopped", start_from=None)
    assert digests(train(name, "stopped")) == digests(whole)


@pytest.mark.parametrize("name", ["ffhq", "cub_s"])
def test_a_finished_training_is_kept(train, name, caplog):
    before = digests(train(name, "out"))
    caplog.set_level(logging.INFO)
    assert digests(train(name, "out")) == before
    assert "diffusion: finished before, kept" in caplog.messages
    with pytest.raises(ValueError, match=r"holds finished diffusion; steps 4 .*: steps 3"):
        train(name, "out", steps=4)


@pytest.mark.parametrize("name", ["imagenet_learnable", "cub_s"])
def test_another_start_is_another_training(official, train, tmp_path, name):
    train(name, "out")
    other = shutil.copytree(official / name, tmp_path / "other")
    model = files.load_token_model(other)
    with torch.no_grad():
        model.network.to_logits.bias += 1
    files.save_network(model, other)
    with pytest.raises(ValueError, match=r"start_from .*other.* is not allowed: start_from .*"):
        train(name, "out", start_from=str(other))


@pytest.mark.parametrize("name", TEXTLESS)
def test_it_learns_on(train, name):
    """With a learning rate of 0 what it has learnt stays; what it started from is something else.

    The mean of equal weights may differ by rounding.
    """
    out = train(name, "out", recipe={"learning_rate": 1e-2})
    before = weights(out)
    train(name, "out", steps=4, lengthen=True, recipe={"learning_rate": 0.0})
    torch.testing.assert_close(weights(out), before, rtol=0, atol=1e-7)
    train(name, "out", steps=6, lengthen=True, recipe={"learning_rate": 1e-2})
    assert (weights(out)["to_logits.bias"] - before["to_logits.bias"]).abs().max() > 1e-5
    chosen = json.loads((out / "training.json").read_text())["diffusion"]["choices"]
    assert chosen["steps"] == 6
    load_pipeline(out)
    with pytest.raises(ValueError, match=r"start_from is None; allowed: that with which .*out was"):
        train(name, "out", steps=9, lengthen=True, start_from=None)


@pytest.mark.parametrize("name", TEXTLESS)
def test_what_is_not_finished_is_drawn_as_its_preview_shows_it(
    train, tmp_path, monkeypatch, capsys, name
):
    out, shown = tmp_path / "out", []
    preview = loop._preview

    def stop(name, task, mean, step):
        preview(name, task, mean, step)
        shown.append(task.run.source)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_preview", stop)
    with pytest.raises(KeyboardInterrupt):
        train(name, "out", preview=2)
    assert write_newest(out, tmp_path / "newest") == ("diffusion", 2)
    assert (tmp_path / "newest" / CLASS_NAMES_FILE).exists() == (name == "imagenet_learnable")
    pipe, batch = load_pipeline(tmp_path / "newest"), preview_batch(shown[0])
    classes = [int(c) if c.strip().isdecimal() else c.strip() for c in batch.captions]
    told, scale = None, 1.0
    if name != "ffhq":
        told, scale = ClassConditioning(torch.tensor(pipe.numbers(classes)), 1000), 1.5
    tokens = pipe.model.sample(
        len(classes),
        told,
        sampling=Sampling(scale, 0.9, 25),
        generator=random_stream("preview noise"),
    )
    rows = torch.stack([batch.images, pipe.pixels(tokens).detach()])
    with Image.open(out / "preview" / "diffusion_000002.png") as picture:
        assert picture.tobytes() == picture_of_rows(rows).tobytes()

    label = [] if name == "ffhq" else ["--class-label", 1]
    words = ["generate", *label, "--model", out, "--steps", 2, "--out", tmp_path / "x.png"]
    code, _, stderr = run_command(monkeypatch, capsys, *words)
    assert (code, "the stage diffusion is missing" in stderr) == (1, True)
    assert run_command(monkeypatch, capsys, *words, "--unfinished")[0] == 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "imagenet_learnable",
            {"captions": ["0", "puppy", "1", "2"]},
            r"jsonl line 2: a caption is 'puppy'; allowed: a number, 0 to 999, or a name in",
        ),
        (
            "imagenet_pretrained",
            {"captions": ["0", "1", "goldfish", "2"]},
            r"line 3: a caption is 'goldfish'; allowed: a number, 0 to 999, for .* has no",
        ),
        (
            "imagenet_learnable",
            {"captions": ["1000", "1", "2", "3"]},
            "line 1: a caption is 1000; allowed: 0 to 999",
        ),
        (
            "imagenet_learnable",
            {"captions": ["0", "1", "2", "crane"]},
            r"line 4: a caption is 'crane'; allowed: a number, for classes \[134, 517\] have",
        ),
        ("ffhq", {"side": 128}, "image_size is 128; allowed: 64, as in .*ffhq"),
        ("cub_s", {"side": 64}, "image_size is 64; allowed: 32, as in .*cub_s"),
        ("ffhq", {"stage": "raster"}, "stage is 'raster'; allowed: 'diffusion', .* without text"),
        ("ffhq", {"stage": "imagebart"}, "stage is 'imagebart'; allowed: 'diffusion'"),
        ("imagenet_learnable", {"stage": "text"}, "stage is 'text'; allowed: 'diffusion'"),
        ("imagenet_learnable", {"stage": "tokens"}, "start_from is .*; allowed: none for 'tokens'"),
        ("ffhq", {"options": {"levels": 9}}, "levels is 9; allowed: none with start_from"),
        (
            "ffhq",
            {"stage": "all", "options": {"vocabulary": 600}},
            "vocabulary is 600; allowed: none with start_from",
        ),
        ("ffhq", {"stage": "all", "lengthen": True}, "lengthen is True; allowed: for one stage"),
        ("ffhq", {"lengthen": True}, "lengthen is True; allowed: for a stage that was trained"),
    ],
)
def test_what_does_not_go_is_refused_and_nothing_is_copied(
    train, tmp_path, name, arguments, message
):
    with pytest.raises(ValueError, match=message):
        train(name, "out", **arguments)
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_scenes_have_no_classes(official, tmp_path):
    plan = Plan(image_size=64, start_from=str(official / "imagenet_learnable"))
    with pytest.raises(
        ValueError, match=r"scenes: a caption is '.*'; allowed: a number, 0 to 999, or"
    ):
        plan.train(tmp_path / "out")
    assert not list((tmp_path / "out").glob("[!.]*"))


@pytest.mark.parametrize(("name", "alone"), [("imagenet_learnable", False), ("ffhq", True)])
def test_its_tokens_alone_are_a_tokenizer(official, train, tmp_path, name, alone):
    """For a text model of one's own; and before there is text, a token model is refused."""
    tokenizer = official / name
    if alone:
        shutil.copytree(tokenizer / "vqvae", tmp_path / "alone" / "vqvae")
        tokenizer = tmp_path / "alone"
    options = {"width": 32, "layers": 1, "levels": 4}
    chosen = {"tokenizer": str(tokenizer), "start_from": None}
    words = ["some", "words", "for", "images"]
    with pytest.raises(ValueError, match="out has no text encoder; tokens and text come first"):
        train(name, "out", captions=words, **chosen)
    assert not list((tmp_path / "out").glob("[!.]*"))
    out = train(name, "out", "all", 2, captions=words, options=options, **chosen)
    assert digests(out / "vqvae") == digests(tokenizer / "vqvae")
    assert model_folder(out) == "transformer"
    assert load_pipeline(out).model.num_codes == 11


def test_a_tokenizer_alone_is_no_start_without_text(official, train, tmp_path):
    shutil.copytree(official / "ffhq" / "vqvae", tmp_path / "alone" / "vqvae")
    for stage in ("diffusion", "raster"):
        with pytest.raises(ValueError, match="out has no text encoder; tokens and text come first"):
            train("ffhq", "out", stage, start_from=str(tmp_path / "alone"))
        assert not list((tmp_path / "out").glob("[!.]*"))


def test_a_raster_model_is_no_start_for_diffusion(official, train, tmp_path):
    options = {"width": 32, "layers": 1}
    out = train("cub_s", "raster", "raster", 2, options=options)
    assert order.STAGES["raster"].is_finished(out)
    with pytest.raises(ValueError, match=r"the token model of .* is 'raster_transformer'; allowed"):
        train("cub_s", "out", start_from=str(out))
    assert not list((tmp_path / "out").glob("[!.]*"))
