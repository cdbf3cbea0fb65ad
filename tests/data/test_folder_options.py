"""Every option of reading a folder: what it changes, what it leaves, and what is refused."""

import json
import logging
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vqlearn.data import ImageFolder, NumberedBatches, Reading
from vqlearn.probability.random import random_stream

SIDE = 8
RANDOM = Reading(crop="random")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "left"}, "crop is 'left'; allowed: 'center', 'random'"),
        ({"flip": 1}, "flip is 1; allowed: bool"),
        ({"background": "whyte"}, "background is 'whyte'; allowed: a colour, 'white', '#rrggbb'"),
        ({"background": "#ffffff80"}, "background is '#ffffff80'; allowed: a colour"),
        ({"background": None}, "background is None; allowed: str"),
        ({"caption_column": " "}, "caption_column is ' '; allowed: a name"),
        ({"caption_column": 3}, "caption_column is 3; allowed: str, None"),
    ],
)
def test_what_is_no_option_is_refused_by_name(options, message):
    """As users see it, who have no run-time type checker before it."""
    reading = object.__new__(Reading)
    vars(reading).update(vars(Reading()) | options)
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        reading.__post_init__()


def save_columns(path, width, height=SIDE, *, tall=False):
    """An image in which every pixel has the number of its column, or if `tall` of its row."""
    numbers = np.arange(width, dtype=np.uint8)[None].repeat(height, 0)
    Image.fromarray(numbers.T.copy() if tall else numbers).save(path)


def write_lines(folder, *lines, name="metadata.jsonl"):
    (folder / name).write_text("\n".join(map(json.dumps, lines)))


def one(folder, reading, **line):
    write_lines(folder, {"file_name": "x.png", "text": "x", **line})
    return ImageFolder(folder, SIDE, reading)


def drawn(source, count, *names):
    """Grey values, 0 to 255, of the first channel."""
    batch = source.batch(count, generator=random_stream(*names))
    return (batch.images[:, 0] * 255).round().int()


@pytest.mark.parametrize("tall", [False, True])
def test_a_random_crop_is_any_whole_square_and_all_are_as_likely(tmp_path, tall):
    """5 places, 500 draws: each 100 times, give or take 5 standard deviations of 9."""
    save_columns(tmp_path / "x.png", 12, tall=tall)
    squares = drawn(one(tmp_path, RANDOM), 500, "crops")
    along = squares.mT if tall else squares  # (b, row, column)
    starts = along[:, 0, 0]
    expected = starts[:, None, None] + torch.arange(SIDE).expand(1, SIDE, SIDE)
    assert torch.equal(along, expected.int())
    counts = Counter(starts.tolist())
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert all(abs(count - 100) < 45 for count in counts.values())


@pytest.mark.parametrize("tall", [False, True])
def test_of_an_image_longer_than_two_squares_the_middle_two_are_kept(tmp_path, tall):
    save_columns(tmp_path / "x.png", 40, tall=tall)
    source = one(tmp_path, RANDOM)
    assert source.images.shape == (1, 3, SIDE, 2 * SIDE), "3 * size * 2 size bytes"
    assert source.images.dtype == torch.uint8
    values = drawn(source, 200, "long").unique().tolist()
    assert values == list(range(12, 28))


@pytest.mark.parametrize("size", [1, 2, SIDE])
@pytest.mark.parametrize("shape", [(8, 8), (12, 8), (8, 12)])
def test_the_middle_square_is_that_of_a_center_crop(tmp_path, shape, size):
    Image.effect_noise(shape, 60).save(tmp_path / "x.png")
    write_lines(tmp_path, {"file_name": "x.png", "text": "x"})
    random, center = (ImageFolder(tmp_path, size, each) for each in (RANDOM, Reading()))
    number = torch.tensor([0])
    if size == SIDE:  # no pixel is resampled
        assert torch.equal(random.numbered_images(number), center.numbered_images(number))
    assert random.numbered(number).images.shape == (1, 3, size, size)
    assert center.images.shape == (1, 3, size, size)


def test_without_a_choice_nothing_is_drawn_but_lines(tmp_path):
    save_columns(tmp_path / "x.png", 12)
    generator, alone = random_stream("x"), random_stream("x")
    one(tmp_path, Reading()).batch(5, generator=generator)
    torch.randint(1, (5,), generator=alone)
    assert torch.equal(generator.get_state(), alone.get_state())


def test_half_of_the_images_are_mirrored_left_to_right(tmp_path):
    """400 draws: 200, give or take 5 standard deviations of 10."""
    numbers = torch.arange(SIDE**2).view(SIDE, SIDE)
    Image.fromarray(numbers.numpy().astype(np.uint8)).save(tmp_path / "x.png")
    squares = drawn(one(tmp_path, Reading(flip=True)), 400, "flips")
    mirrored = squares[:, 0, 0] == SIDE - 1
    assert torch.equal(
        squares, torch.where(mirrored[:, None, None], numbers.flip(1), numbers).int()
    )
    assert abs(mirrored.sum().item() - 200) < 50
    assert not one(tmp_path, Reading()).varies


def test_a_random_batch_is_a_matter_of_its_number_alone(tmp_path):
    save_columns(tmp_path / "x.png", 16)
    source = one(tmp_path, Reading(crop="random", flip=True))
    batches = NumberedBatches(source, 6, seed=1, process=0)
    alone = {i: batches[i].images for i in (4, 3)}
    for workers in (0, 2):
        loader = DataLoader(batches, sampler=range(3, 5), batch_size=None, num_workers=workers)
        for i, loaded in enumerate(loader, start=3):
            assert torch.equal(loaded.images, alone[i])
            assert loaded.numbers.tolist() == [0] * 6
    others = [NumberedBatches(source, 6, *who)[3].images for who in ((2, 0), (1, 1))]
    assert not any(torch.equal(other, alone[3]) for other in (*others, alone[4]))


def save_grey_16(path):
    """A PNG of one pixel whose grey value, 256, stands for transparent; Pillow writes none."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 0, 0, 0, 0)),
        (b"tRNS", struct.pack(">H", 256)),
        (b"IDAT", zlib.compress(b"\0" + struct.pack(">H", 256))),
        (b"IEND", b""),
    ]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content)


def save_clear(path):
    Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 0)).save(path)


def save_half_red(path):
    Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 51)).save(path)


@pytest.mark.parametrize(
    ("save", "background", "expected"),
    [
        (save_clear, "white", (255, 255, 255)),
        (save_clear, "#102030", (16, 32, 48)),
        (save_grey_16, "white", (255, 255, 255)),
        (save_grey_16, "orange", (255, 165, 0)),
        (save_half_red, "blue", (51, 0, 204)),
    ],
)
def test_transparent_pixels_show_the_background(tmp_path, save, background, expected):
    save(tmp_path / "x.png")
    image = one(tmp_path, Reading(background=background)).images[0]
    assert image[:, SIDE // 2, SIDE // 2].tolist() == pytest.approx(expected, abs=1)


def test_a_caption_column_of_ones_own_is_the_only_one(tmp_path, caplog):
    save_columns(tmp_path / "x.png", 8)
    french = Reading(caption_column="légende")
    line = {"file_name": "x.png", "text": "a cat", "légende": "un chat"}
    write_lines(tmp_path, line, {"file_name": "x.png", "text": "a dog"})
    assert ImageFolder(tmp_path, SIDE, french).captions() == ["un chat"]
    (message,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "line 2 is left out: légende is None; allowed: " in message
    assert message.endswith('"légende": "its caption"}')
    assert ImageFolder(tmp_path, SIDE).captions() == ["a cat", "a dog"]
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "metadata.csv").write_text("file_name,légende,text\nx.png,un chat,a cat\n")
    assert ImageFolder(tmp_path, SIDE, french).captions() == ["un chat"]
    with pytest.raises(ValueError, match="allowed: the columns file_name, titre"):
        ImageFolder(tmp_path, SIDE, Reading(caption_column="titre"))


def test_images_that_do_not_fit_in_memory_are_refused_as_wide_as_they_are(tmp_path, monkeypatch):
    """At 100 x 100 pixels a square has 30,000 bytes."""
    save_columns(tmp_path / "x.png", 8)
    write_lines(tmp_path, {"file_name": "x.png", "text": "x"})
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Free", (), {"available": 40_000}))
    assert ImageFolder(tmp_path, 100).num_images == 1
    with pytest.raises(ValueError, match="image_size is 100; allowed: less, 1 images"):
        ImageFolder(tmp_path, 100, RANDOM)
