"""`vqlearn generate` from models without text: a class, or nothing; the other commands say no."""

import pytest
import torch
from PIL import Image
from support.command import run_command
from support.convolutional import official_pipeline

from vqlearn.pipeline import as_pil

STEPS = ["--steps", 3]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("classes")
    for name, model in (("class", "imagenet_learnable"), ("faces", "ffhq")):
        pipe, _ = official_pipeline(model, torch.float32)
        if name == "class":
            pipe.class_names = ("tench", "goldfish", *map(str, range(2, 1000)))
        pipe.save_pretrained(place / name)
    return place


@pytest.fixture
def generate(folders, tmp_path, monkeypatch, capsys):
    """The grid that a command writes, or what it says."""

    def run(name, *arguments):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        words = ["--model", folders / name, *STEPS, "--out", out]
        code, _, error = run_command(monkeypatch, capsys, "generate", *arguments, *words)
        if code:
            return error
        with Image.open(out) as image:
            return image.convert("RGB")

    return run


def test_a_class_by_number_or_by_name(generate):
    number, name, other = (generate("class", "--class-label", c) for c in (1, "goldfish", 0))
    assert number.tobytes() == name.tobytes()
    assert number.tobytes() != other.tobytes()
    assert generate("class", "--class-label", 1, "--images", 4).size == (520, 520)


def test_guidance_is_that_of_the_option_or_the_usual_one(generate):
    usual, same, strong = (
        generate("class", "--class-label", 1, *option)
        for option in ((), ("--guidance", 1.5), ("--guidance", 9))
    )
    assert usual.tobytes() == same.tobytes()
    assert usual.tobytes() != strong.tobytes()


def test_a_model_that_is_told_nothing(generate, tmp_path):
    film = tmp_path / "film.gif"
    assert generate("faces", "--images", 2, "--film", film).size == (520, 256)
    with Image.open(film) as gif:
        assert gif.n_frames == 4


@pytest.fixture
def edit(folders, tmp_path, monkeypatch, capsys):
    """The image that `vqlearn edit` writes, or what it says."""
    pixels = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    as_pil(pixels[None])[0].save(tmp_path / "image.png")
    white = Image.new("L", (8, 8))
    white.paste(255, (0, 0, 4, 8))
    white.save(tmp_path / "left.png")
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        words = ["edit", "image.png", "--model", folders / name, *STEPS, *arguments]
        code, _, error = run_command(monkeypatch, capsys, *words)
        if code:
            return error
        with Image.open("out.png") as image:
            return image.convert("RGB")

    return run


@pytest.mark.parametrize(
    ("name", "told"), [("class", ["--class-label", "goldfish"]), ("faces", [])]
)
def test_images_are_edited_without_text(edit, name, told):
    """With a mask, of a class, or varied; each is what the pipeline makes."""
    pasted = edit(name, *told, "--mask", "left.png", "--paste")
    with Image.open("image.png") as image:
        original = image.resize((256, 256), Image.Resampling.NEAREST)
    right = (128, 0, 256, 256)
    assert pasted.crop(right).tobytes() == original.crop(right).tobytes()
    assert pasted.tobytes() != edit(name, *told, "--mask", "left.png").tobytes()
    renewed, varied = edit(name, *told, "--level", 90), edit(name, "--level", 90)
    assert (renewed.tobytes() == varied.tobytes()) == (name == "faces")
    assert renewed.tobytes() != edit(name, *told, "--level", 5).tobytes()
    assert edit(name, *told, "--images", 2).size == (520, 256)
    if told:
        other = edit(name, "--class-label", 0, "--level", 90)
        assert other.tobytes() != renewed.tobytes()
        assert edit(name, *told, "--level", 90, "--guidance", 9).tobytes() != renewed.tobytes()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("class", ["--prompt", "a dog"], "--prompt is 'a dog'; allowed: none, the model reads no"),
        ("class", ["--mask", "left.png"], "--class-label is missing; allowed: the number or the"),
        ("class", ["--guidance", "3"], "--guidance is 3.0; allowed: none, nothing is told that"),
        (
            "class",
            ["--class-label", "dog"],
            "class_labels is 'dog'; allowed: a number, 0 to 999, or a",
        ),
        ("faces", ["--class-label", "3"], "--class-label is '3'; allowed: none, the model is told"),
        ("faces", ["--guidance", "3"], "--guidance is 3.0; allowed: none, the model is told"),
    ],
)
def test_what_an_edit_does_not_fit_is_one_line(edit, name, arguments, message):
    error = edit(name, *arguments)
    assert message in error
    assert error.splitlines()[-1].startswith("vqlearn: ")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("class", (), "--class-label is missing; allowed: the number or the name of a class"),
        ("class", ("a dog",), "PROMPT is 'a dog'; allowed: none, the model reads no text, but"),
        ("class", ("--class-label", 1000), "class_labels is 1000; allowed: 0 to 999"),
        ("class", ("--class-label=-1",), "class_labels is -1; allowed: 0 to 999"),
        (
            "class",
            ("--class-label", "dog"),
            "class_labels is 'dog'; allowed: a number, 0 to 999, or a",
        ),
        ("faces", ("a face",), "PROMPT is 'a face'; allowed: none, the model is told nothing"),
        ("faces", ("--class-label", 3), "--class-label is '3'; allowed: none, the model is told"),
        ("faces", ("--guidance", 3), "--guidance is 3.0; allowed: none, the model is told"),
    ],
)
def test_what_does_not_fit_the_model_is_one_line(generate, name, arguments, message):
    error = generate(name, *arguments)
    assert message in error
    assert error.splitlines()[-1].startswith("vqlearn: ")


def test_commands_for_captions_say_that_they_need_a_model_that_reads_text(
    folders, tmp_path, monkeypatch, capsys
):
    prompts, image = tmp_path / "prompts.txt", tmp_path / "image.png"
    prompts.write_text("a dog\n")
    Image.new("RGB", (8, 8)).save(image)
    model = ["--model", folders / "class"]
    for words, needed in (
        (["batch", prompts, "--out", tmp_path / "out"], "allowed: a model that reads text"),
        (["evaluate"], "allowed: a model that reads text"),
    ):
        code, _, error = run_command(monkeypatch, capsys, *words, *model)
        assert code == 1
        assert needed in error
    code, _, error = run_command(monkeypatch, capsys, "verify", folders / "class")
    assert code == 1
    assert "allowed: a VQ-Diffusion that reads text" in error
