"""Wrong results must not come out in silence."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from vqlearn.data import image_files
from vqlearn.data.image_files import read_image

# A1 ------------------------------------------------------------------------------

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
        assert np.array(image_files._as_rgb(picture))[..., 0].tolist() == [
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

# A4 ------------------------------------------------------------------------------

# A5 ------------------------------------------------------------------------------

# A6 ------------------------------------------------------------------------------

# A7 ------------------------------------------------------------------------------

# A8 ------------------------------------------------------------------------------

# A9 ------------------------------------------------------------------------------

# A10 ------------------------------------------------------------------------------

# A11 ------------------------------------------------------------------------------

# A12 ------------------------------------------------------------------------------

# A13 ------------------------------------------------------------------------------

# A14 ------------------------------------------------------------------------------
