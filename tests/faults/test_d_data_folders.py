"""Folders of images as people have them: the good lines are used, the others are named."""

import json
import logging
import os
import struct
import unicodedata
import zlib

import pytest
import torch
from faults import fuzz_data
from PIL import Image
from PIL.ImageFile import ImageFile
from support.training import train_stages, use_small_networks, write_images

from vqlearn import VQDiffusionPipeline
from vqlearn.data.image_files import read_image
from vqlearn.data.image_folder import ImageFolder
from vqlearn.training import Recipe
from vqlearn.training.stages.plan import Plan


@pytest.fixture(autouse=True)
def warnings_only(caplog):
    """The command sets the logger's level for the whole process."""
    caplog.set_level(logging.WARNING, logger="vqlearn")


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (20, 10), "red").save(tmp_path / "red.png")
    return tmp_path


def line(name="red.png", text="red", **more):
    return json.dumps({"file_name": name, "text": text, **more}).encode()


def captions_of(folder, content, name="metadata.jsonl"):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return ImageFolder(folder, 8).captions()


# D1 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "captions"),
    [
        (b"\xef\xbb\xbf" + line(), ["red"]),  # a byte order mark
        (line() + b"\n\xef\xbb\xbf" + line(text="b"), ["red", "b"]),  # two such files joined
        (line() + b"\r\n" + line(text="b") + b"\r\n\r\n", ["red", "b"]),
        (line(text="a\u2028b\x85c\x0bd\x0ce"), ["a\u2028b\x85c\x0bd\x0ce"]),
        ('{"file_name":"red.png","text":"a\u2028b\u0085c"}'.encode(), ["a\u2028b\x85c"]),
        (b" \t " + line(more=[1], number=3) + b"  \n\n", ["red"]),
        (line(text="\U0001f600 r\xf6t"), ["\U0001f600 r\xf6t"]),
    ],
)
def test_lines_are_those_of_json_lines(folder, caplog, content, captions):
    assert captions_of(folder, content) == captions
    assert not caplog.messages


BAD = [
    (
        b'{"file_name": "red.png", "text": "caf\xe9"}',
        r"text is 'caf\udce9'; allowed: text in UTF-8",
    ),
    (b'{"file_name": "r\xe9.png", "text": "x"}', "file_name is"),
    (b'{"file_name": "red.png", "text": "\\ud800"}', "allowed: text in UTF-8"),
    (b"[" * 100_000, "it is nested too deep: '[[["),
    (b'{"file_name": "red.png", "text": "x", "n": ' + b"9" * 5000 + b"}", "number is too long"),
    (b"{'file_name': 'red.png'}", "it is no JSON: Expecting property name"),
    (b"\x00", "it is no JSON"),
    (b"[1]", "it holds [1]; allowed: {"),
    (b"null", "it holds None"),
    (line(text=["red"]), "text is ['red']"),
    (line(text=3), "text is 3; allowed"),
    (line(text="  "), "text is ' '"),
    (line(name=7), "file_name is 7; allowed"),
    (line(name=""), "file_name is ''"),
    (line(name="no.png"), "file_name is 'no.png'; there is no such file"),
    (line(name="a\0b"), "there is no such file"),
    (line(name="x" * 9000), "there is no such file"),
    (line(name="."), "there is no such file"),
    (line(name="loop/red.png"), "there is no such file"),
    (line(name="pipe"), "there is no such file"),
    (line(name="/etc/hostname"), "a file in the folder"),
    (line(name="metadata.jsonl"), "it is no image; allowed: JPEG, PNG"),
    (line(text="before"), "it repeats line 1"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_line_that_cannot_be_used_is_named_and_left_out(folder, caplog, bad, reason):
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    content = b"\n".join([line(text="before"), b"", bad, line(text="after")])
    assert captions_of(folder, content) == ["before", "after"]
    assert len(caplog.messages) == 1
    assert "metadata.jsonl line 3 is left out: " in caplog.messages[0]
    assert reason in caplog.messages[0]
    assert len(caplog.messages[0]) <= 400 + len(str(folder))


def test_ten_lines_are_named_and_the_others_counted(folder, caplog):
    assert captions_of(folder, b"{\n" * 25 + line()) == ["red"]
    assert len(caplog.messages) == 11
    assert caplog.messages[-1].endswith("metadata.jsonl: 15 more lines are left out")


def test_names_are_found_with_other_slashes_and_accents(folder, caplog):
    (folder / "deep").mkdir()
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, f"{form}_é.png")
        Image.new("RGB", (8, 8)).save(folder / "deep" / name)
    names = [rf"deep\{unicodedata.normalize(f, 'NFC_é.png')}" for f in ("NFC", "NFD")]
    names += [f"./deep/{unicodedata.normalize(f, 'NFD_é.png')}" for f in ("NFC", "NFD")]
    lines = [line(name, str(number)) for number, name in enumerate(names)]
    assert captions_of(folder, b"\n".join(lines)) == ["0", "1", "2", "3"]
    assert not caplog.messages


def test_the_digest_does_not_depend_on_how_a_name_is_spelt(tmp_path):
    digests = set()
    for place, form in ((tmp_path / "a", "NFC"), (tmp_path / "b" / "train", "NFD")):
        place.mkdir(parents=True)
        name = unicodedata.normalize(form, "é.png")
        Image.new("RGB", (8, 8)).save(place / name)
        (place / "metadata.jsonl").write_bytes(line(name))
        digests.add(ImageFolder(tmp_path / place.relative_to(tmp_path).parts[0], 8).digest)
    assert len(digests) == 1


def test_a_file_in_utf_16_is_refused_as_such(folder):
    with pytest.raises(ValueError, match="is written in UTF-16; allowed: UTF-8"):
        captions_of(folder, line().decode().encode("utf-16"))


def test_of_damaged_lines_and_images_each_is_used_or_named():
    found = fuzz_data.soak(count=200, seed=0)
    assert found["used"] > 30
    assert found["named"] > 100
    assert found["used"] + found["named"] == found["tried"] == 200
    assert found["hung"] == found["executed"] == 0


# D2 ------------------------------------------------------------------------------


def test_captions_that_are_cut_are_told_once_for_each_training(folder, caplog):
    long = "one two three four five six seven eight nine ten " * 5
    lines = [line(text=f"{number} {long}") for number in range(3)] + [line(text="short")]
    (folder / "metadata.jsonl").write_bytes(b"\n".join(lines))
    few = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3, "ema_decay": 0.5}
    recipes = {name: Recipe(**few) for name in ("tokens", "text", "diffusion", "raster")}
    for name, recipe in recipes.items():
        caplog.clear()
        place = folder / ("raster" if name == "raster" else "out")
        start = {"start_from": folder / "out"} if name == "raster" else {}
        train_stages(place, {name: recipe}, data=str(folder), image_size=16, **start)
        told = [message for message in caplog.messages if "cut off" in message]
        assert len(told) == (0 if name == "tokens" else 1)
        expected = "3 of 4 captions lose words: they have more than 30 tokens, the longest 5"
        assert all(message.startswith(expected) and len(message) < 250 for message in told)


def test_a_training_of_several_stages_says_once_which_captions_are_cut(
    tmp_path, caplog, monkeypatch
):
    use_small_networks(monkeypatch)
    data = write_images(tmp_path / "images", ["red", "blue"], ["red " * 40, "blue"])
    numbers = {"steps": 2, "batch_size": 2}
    for out in ("one", "another"):
        caplog.clear()
        Plan("all", str(data), 16, numbers).train(tmp_path / out)
        assert sum("1 of 2 captions lose words" in message for message in caplog.messages) == 1


def test_a_prompt_that_is_cut_is_told_each_time(caplog):
    pipeline = VQDiffusionPipeline.from_pretrained("scenes")
    caplog.clear()
    for _ in range(2):
        pipeline(["red " * 40, "red"], num_inference_steps=1)
    told = [message for message in caplog.messages if "is cut off: 'red red" in message]
    assert [message.split(" captions")[0] for message in told] == ["1 of 2"] * 2


# D3 ------------------------------------------------------------------------------


def test_each_image_is_decoded_once(folder, monkeypatch):
    (folder / "metadata.jsonl").write_bytes(line() + b"\n" + line(text="a red image"))
    opened, decode = [], Image.open
    monkeypatch.setattr(Image, "open", lambda *a, **b: opened.append(a) or decode(*a, **b))
    source = ImageFolder(folder, 8)
    for seed in range(5):
        batch = source.batch(4, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(batch.images, torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(4, 3, 8, 8))
    assert len(opened) == 1
    assert (source.images.shape, source.images.dtype) == ((1, 3, 8, 8), torch.uint8)
    assert source.rows.tolist() == [0, 0]


def test_a_large_photograph_is_decoded_small(tmp_path):
    """What comes out is nearly the same, and the decoder never makes all 12 million pixels."""
    photograph = Image.radial_gradient("L").resize((4000, 3000)).convert("RGB")
    photograph.paste("orange", (1500, 700, 2300, 2500))
    photograph.save(tmp_path / "large.jpg")
    photograph.save(tmp_path / "large.png", compress_level=1)
    drafted, exact = (read_image(tmp_path / f"large.{kind}", 32) for kind in ("jpg", "png"))
    assert drafted.own_size == exact.own_size == (4000, 3000)
    error = (drafted.pixels.int() - exact.pixels.int()).abs()
    assert error.float().mean() < 1
    assert error.max() <= 12, "at the edge of the orange square"


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(folder, caplog, monkeypatch):
    for name, side in (("bomb.png", 13_300), ("worse.png", 60_000)):
        content = bytearray((folder / "red.png").read_bytes())
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        (folder / name).write_bytes(content)
    decoded, load = [], ImageFile.load
    monkeypatch.setattr(ImageFile, "load", lambda self: decoded.append(self.size) or load(self))
    content = line("bomb.png") + b"\n" + line("worse.png") + b"\n" + line()
    assert captions_of(folder, content) == ["red"]
    assert set(decoded) == {(20, 10)}
    assert "'bomb.png'; it has 13300 x 13300 pixels; allowed: 50000000" in caplog.messages[0]
    assert "'worse.png'; " in caplog.messages[1]
    assert len(caplog.messages) == 2


def test_squares_that_do_not_fit_in_memory_are_refused(folder):
    (folder / "metadata.jsonl").write_bytes(line())
    with pytest.raises(ValueError, match="image_size is 10000000; allowed: less, 1 images"):
        ImageFolder(folder, 10_000_000)


# D4 ------------------------------------------------------------------------------


def test_the_caption_may_be_called_caption(folder, caplog):
    content = b'{"file_name": "red.png", "caption": "a"}\n'
    content += b'{"file_name": "red.png", "caption": "c", "text": "b"}'
    assert captions_of(folder, content) == ["a", "b"]
    assert not caplog.messages


@pytest.mark.parametrize("name", ["metadata.csv", "train/metadata.csv", "train/metadata.jsonl"])
def test_metadata_may_be_csv_or_lie_in_train(folder, caplog, name):
    (folder / "train").mkdir()
    Image.new("RGB", (8, 8)).save((folder / name).with_name("image.png"))
    for hidden in (".DS_Store", "._image.png", "._metadata.jsonl"):
        (folder / name).with_name(hidden).write_bytes(b"\0")
    caption = 'a red, "square"\nof two lines'
    content = '\ufefffile_name,caption\r\nimage.png,"a red, ""square""\nof two lines"\r\n'.encode()
    content = line("image.png", caption) if name.endswith("jsonl") else content
    assert captions_of(folder, content, name) == [caption]
    assert not caplog.messages


def test_lines_of_csv_that_cannot_be_used_are_named(folder, caplog):
    rows = [
        b"text,file_name,more",
        b"a,red.png,1",
        b"a cat, on a sofa,red.png,1",
        b'"b"c,red.png,1',
        b"caf\xe9,red.png,1",
        b"",
        b"d,red.png,1",
        b'"e,red.png,1',
    ]
    assert captions_of(folder, b"\n".join(rows), "metadata.csv") == ["a", "d"]
    told = [message.split("metadata.csv ")[1] for message in caplog.messages]
    assert told[0].startswith("line 3 is left out: it has 4 cells; allowed: 3")
    assert told[1].startswith("line 4 is left out: it is no CSV")
    assert told[2].startswith("line 5 is left out: text is ")
    assert told[3].startswith("line 8 is left out: it is no CSV: unexpected end of data")
    assert len(told) == 4


def test_columns_of_csv_must_be_named(folder):
    with pytest.raises(
        ValueError, match="begins with \\['file_name;text'\\]; allowed: the columns"
    ):
        captions_of(folder, b"file_name;text\nred.png;a", "metadata.csv")


def test_a_folder_without_metadata_says_what_was_looked_for(folder):
    with pytest.raises(
        FileNotFoundError,
        match=r"there is no metadata\.jsonl, metadata\.csv in .* or its sub-folders",
    ):
        ImageFolder(folder, 8)


def test_the_summary_counts_what_is_used(folder, caplog):
    Image.new("RGB", (4, 90)).save(folder / "thin.png")
    lines = [line(), line("thin.png"), line(text="other"), b"{"]
    with caplog.at_level(logging.INFO, logger="vqlearn"):
        captions_of(folder, b"\n".join(lines))
    assert caplog.messages[-1].endswith(
        "metadata.jsonl: 2 images, 2 distinct captions; the smallest image is thin.png, "
        "4 x 90 pixels, 1 lines left out"
    )
