"""What a converted model recommends is the default of its pipeline, and stays so."""

import json

import pytest
import torch
from official import files
from official.sizes import SMALL
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.command import run_command
from support.official_files import PROMPTS

from vqlearn import CheckpointError
from vqlearn.pipeline import load_pipeline
from vqlearn.probability import Sampling
from vqlearn.released import convert

RECOMMENDED = {
    "coco_pretrained": (1.0, 0.86),
    "coco_learnable": (3.0, 1.0),
    "cub_s": (1.0, 0.86),
    "ithq_learnable": (5.0, 1.0),
    "imagenet_pretrained": (1.0, 0.86),
    "imagenet_learnable": (1.5, 0.94),
    "ffhq": (1.0, 0.86),
}
TEXT = ["coco_pretrained", "coco_learnable", "ithq_learnable"]


def images(pipe, name, **options):
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": 10, "output_type": "np", "generator": generator, **options}
    if name == "ffhq":
        return pipe(num_images=2, **options).images
    given = [3, 999] if name.startswith("imagenet") else PROMPTS
    return pipe(given, **options).images


@pytest.mark.parametrize("name", RECOMMENDED)
def test_it_is_what_a_call_takes_without_other_settings(name, converted):
    pipe = converted(name).pipeline
    scale, rate = RECOMMENDED[name]
    assert pipe.recommended == Sampling(scale, rate)
    guided = {} if name == "ffhq" else {"guidance_scale": scale}
    told = images(pipe, name, truncation_rate=rate, **guided)
    assert (images(pipe, name) == told).all()
    others = [{"truncation_rate": 0.3}] + ([] if name == "ffhq" else [{"guidance_scale": 8.0}])
    for other in others:
        assert not (images(pipe, name, **other) == told).all()


@pytest.mark.parametrize("name", ["coco_learnable", "imagenet_learnable"])
def test_it_is_saved_and_loaded(name, converted, tmp_path):
    pipe = converted(name).pipeline
    pipe.save_pretrained(tmp_path / "again")
    again = load_pipeline(tmp_path / "again")
    again.set_progress_bar_config(disable=True)
    assert again.recommended == pipe.recommended
    assert (images(again, name) == images(pipe, name)).all()
    again.recommended = None
    again.save_pretrained(tmp_path / "usual")
    assert "recommended_sampling" not in (tmp_path / "usual/model_index.json").read_text()
    assert load_pipeline(tmp_path / "usual").recommended is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"guidance_scale": "3"}, "guidance_scale is '3'; allowed"),
        ({"truncation_rate": 2}, "truncation_rate is 2; allowed"),
        ([3.0, 1.0], "it is .* allowed: dict"),
    ],
)
def test_settings_that_mean_nothing_are_refused(value, message, converted, tmp_path):
    converted("coco_learnable").pipeline.save_pretrained(tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"recommended_sampling": value}))
    with pytest.raises(CheckpointError, match=f"recommended_sampling of .*{message}"):
        load_pipeline(tmp_path)


@pytest.fixture
def made(converted, tmp_path, monkeypatch, capsys):
    """The bytes of the image that a command makes with a model that recommends guidance."""
    folder = converted("coco_learnable").official.file.parent / "out"
    (tmp_path / "prompts.txt").write_text(PROMPTS[0])
    Image.new("RGB", (64, 64), "red").save(tmp_path / "image.png")
    Image.new("L", (64, 64), "white").save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)

    def run(*words):
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        image = place / "000000.png" if words[0] == "batch" else place / "out.png"
        out = place if words[0] == "batch" else image
        name, *others = words
        words = (name, "--model", folder, "--out", out, "--steps", 3, *others)
        code, _, error = run_command(monkeypatch, capsys, *words)
        assert code == 0, error
        return image.read_bytes()

    yield run
    forget_accelerate()


@pytest.mark.parametrize(
    "words",
    [
        ("generate", PROMPTS[0]),
        ("batch", "prompts.txt"),
        ("edit", "image.png", "--prompt", PROMPTS[0]),
        ("edit", "image.png", "--prompt", PROMPTS[0], "--mask", "mask.png"),
        ("edit", "image.png"),
    ],
    ids=["generate", "batch", "edit", "inpaint", "variation"],
)
def test_every_command_takes_it_too(words, made):
    found, is_guided = made(*words), words != ("edit", "image.png")
    scale = ["--guidance", 3] if is_guided else []
    assert made(*words, *scale, "--truncation", 1) == found
    assert made(*words, "--truncation", 0.3) != found
    if is_guided:
        assert made(*words, "--guidance", 9) != found


@pytest.mark.parametrize("name", ["imagenet_learnable", "ffhq"])
@pytest.mark.parametrize("words", [("generate",), ("edit", "image.png", "--level", 90)])
def test_commands_take_it_of_models_without_text(words, name, converted, made):
    model = ["--model", converted(name).official.file.parent / "out"]
    scale, rate = RECOMMENDED[name]
    told = [] if name == "ffhq" else ["--class-label", 3]
    guided = ["--guidance", scale] if told else []
    found = made(*words, *told, *model)
    assert made(*words, *told, *model, *guided, "--truncation", rate) == found
    assert made(*words, *told, *model, "--truncation", 0.2) != found
    if told:
        assert made(*words, *told, *model, "--guidance", 9) != found


def test_guidance_is_not_recommended_where_there_is_no_condition(converted, tmp_path):
    pipe = converted("ffhq").pipeline
    pipe.save_pretrained(tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["recommended_sampling"]["guidance_scale"] = 5.0
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"guidance_scale is 5\.0; allowed: 1, there is no"):
        load_pipeline(tmp_path)


@pytest.mark.parametrize("name", ["coco_learnable", "imagenet_learnable", "ffhq"])
def test_the_example_of_the_card_runs(name, converted):
    folder = converted(name).official.file.parent / "out"
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    example = [line.strip() for line in lines if line.startswith("    ")]
    assert len(example) == 3
    seen = {}
    exec("\n".join(example[:2]).replace("FOLDER", str(folder)), seen)
    assert eval(example[2], seen).size == (seen["pipe"].image_size,) * 2


SAID = {
    "coco_pretrained": "no guidance, truncation rate 0.86.",
    "coco_learnable": "guidance scale 3, truncation rate 1.",
    "cub_s": "no guidance, truncation rate 0.86.",
    "ithq_learnable": "guidance scale 5, truncation rate 1.",
    "imagenet_pretrained": "no guidance, truncation rate 0.86.",
    "imagenet_learnable": "guidance scale 1.5, truncation rate 0.94.",
    "ffhq": "no guidance, truncation rate 0.86.",
}


@pytest.mark.parametrize("name", SAID)
def test_the_card_says_only_what_is_true_of_the_file(name, converted):
    card = (converted(name).official.file.parent / "out/README.md").read_text(encoding="utf-8")
    is_text, is_class = name.startswith(("co", "cub", "ithq")), name.startswith("imagenet")
    is_sliced = name not in ("ithq_learnable", "ffhq")
    assert f"The defaults of this folder's pipeline: {SAID[name]}" in card
    assert ("A guidance scale of s" in card) == SAID[name].startswith("guidance scale")
    assert ("CLIP" in card) == is_text
    assert ("WordNet" in card) == is_class
    assert ("those of the official examples" in card) == (name != "ffhq")
    assert ("has the layout of diffusers" in card) == (name == "ithq_learnable")
    assert ("lacks this denoiser" in card) == (name == "cub_s" or not is_text)
    assert ("this tokenizer of images" in card) == is_sliced
    assert ("CompVis/taming" in card) == (name != "ithq_learnable")


@pytest.mark.parametrize("name", ["ffhq", "ithq_learnable", "coco_learnable"])
def test_the_card_of_a_tokenizer_says_nothing_of_models(name, tmp_path):
    files.save_codec(tmp_path / "vq.pth", SMALL[name].codec)
    convert([tmp_path / "vq.pth"], tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "A tokenizer alone, converted" in card
    assert not any(word in card for word in ("CLIP", "pipeline", "guidance", "arxiv", "WordNet"))
    assert ("has the layout of diffusers" in card) == (name != "coco_learnable")
    assert ("CompVis/taming" in card) == (name != "ithq_learnable")
