"""Damaged lines and image files by the hundred: each is used, or named, and nothing else happens.

PYTHONPATH=tests python -c "from faults.fuzz_data import soak; print(soak(20_000, 1))"
"""

import contextlib
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

from PIL import Image

from vqlearn.data import ImageFolder
from vqlearn.data.image_files import FORMATS

PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}
NO_IMAGES = (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EOF\n", b"%PDF-1.4\n", b"", b"\0")
SUFFIXES = ("jpg", "png", "eps", "pdf", "tif", "webp", "txt", "")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")
GOOD_LINE = b'{"file_name": "good.png", "text": "good"}'
SLOW = 10  # seconds

started = []  # programs, as long as this process lives


def soak(count: int, seed: int) -> dict[str, int]:
    """Try `count` folders with a good line and one that is perhaps damaged.

    `used` and `named` say what became of that line. `foreign`: another error than `ValueError`,
    the good line lost, or a line lost without a word. `hung`: over 10 s. `executed`: programs.
    """
    sys.addaudithook(lambda event, _: started.append(event) if event in PROGRAMS else None)
    before, chance = len(started), random.Random(seed)
    Image.init()
    found = Counter(tried=count, used=0, named=0, foreign=0, hung=0)
    for _ in range(count):
        with tempfile.TemporaryDirectory() as place:
            _write_folder(Path(place), chance)
            begin = time.monotonic()
            found[_outcome(Path(place))] += 1
            found["hung"] += time.monotonic() - begin > SLOW
    return {**found, "executed": len(started) - before}


def _outcome(folder: Path) -> str:
    with _warnings() as told:
        try:
            captions = ImageFolder(folder, 8).captions()
        except ValueError as error:  # a damaged first byte can make the file one of UTF-16
            return "named" if "UTF-16" in str(error) else "foreign"
        except Exception:
            return "foreign"
    if "good" not in captions or any(len(each) > 450 + len(str(folder)) for each in told):
        return "foreign"
    if told:
        return "named"
    return "used" if len(captions) == 2 else "foreign"


def _write_folder(folder: Path, chance: random.Random) -> None:
    name = f"image.{chance.choice(SUFFIXES)}".rstrip(".")
    line = json.dumps({"file_name": name, "text": "é \u2028 😀"}, ensure_ascii=False).encode()
    image = _image(chance)
    if chance.random() < 0.5:
        image = _damaged(image, chance)
    else:
        line = _damaged(line, chance).strip() or b"?"  # an empty line is none
    Image.new("RGB", (8, 8)).save(folder / "good.png")
    (folder / name).write_bytes(image)
    lines = line + b" \n" + GOOD_LINE if chance.random() < 0.5 else GOOD_LINE + b"\n" + line
    (folder / "metadata.jsonl").write_bytes(lines)


def _image(chance: random.Random) -> bytes:
    """A small image in any of the formats and modes that go together, or something else."""
    if chance.random() < 0.1:
        return chance.choice(NO_IMAGES)
    while True:
        size, buffer = (chance.randint(1, 12), chance.randint(1, 12)), BytesIO()
        picture = Image.effect_noise(size, 50).convert("RGB")
        with contextlib.suppress(Exception):  # no such pair
            formats = FORMATS if chance.random() < 0.7 else sorted(Image.SAVE)
            mode, format_ = chance.choice(MODES), chance.choice(formats)
            picture.convert(mode).save(buffer, format_)
            return buffer.getvalue()


def _damaged(content: bytes, chance: random.Random) -> bytes:
    """Bits flipped, bytes cut off or put in, numbers in the header made huge; at times nothing."""
    content = bytearray(content)
    for _ in range(chance.randint(0, 3)):
        place = chance.randint(0, len(content))
        match chance.randint(0, 4):
            case 0 if place < len(content):
                content[place] ^= 1 << chance.randint(0, 7)
            case 1:
                del content[place:]
            case 2:
                content[place:place] = chance.randbytes(chance.randint(1, 4))
            case 3:
                place = chance.randint(0, 40)
                content[place : place + 4] = chance.choice((b"\xff" * 4, b"\0\0\x40\0", b"\0" * 4))
            case 4:
                content[place:place] = content[: chance.randint(0, len(content))]
    return bytes(content)


@contextlib.contextmanager
def _warnings():
    """The warnings of the logger "vqlearn" in this block."""
    told, logger = [], logging.getLogger("vqlearn")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    logger.addHandler(handler)
    logger.propagate = False  # thousands of them: not on the screen
    try:
        yield told
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
