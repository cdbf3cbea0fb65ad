"""A package as npm has it, of a few emoji: the tests need no network."""

import io
import json
import tarfile

import pytest
from PIL import Image

from vqlearn.data.emoji.captions import TONES
from vqlearn.data.emoji.download import Package, integrity
from vqlearn.data.emoji.folder import build

ENTRIES = (
    ("GRINNING FACE", "grinning", "face-smiling", False),
    ("WOMAN SURFING", "woman-surfing", "person-sport", True),
    ("RED APPLE", "apple", "food-fruit", False),
    ("GREEN HEART", "green_heart", "heart", False),
    ("KEYCAP 1", "one", "keycap", False),
)


def entry(name, short_name, subcategory, *, tones=(), order=0):
    """What `emoji.json` says of an emoji, as far as it is read."""
    code = short_name.replace("_", "-")
    return {
        "name": name,
        "short_name": short_name,
        "subcategory": subcategory,
        "sort_order": order,
        "image": f"{code}.png",
        **({"skin_variations": {tone: {"image": f"{code}-{tone}.png"} for tone in tones}}),
    }


def make_package(file, entries, images=None):
    """An archive of npm with an index, a licence and images of one colour each; where it is."""
    names = [
        image["image"] for each in entries for image in (each, *each["skin_variations"].values())
    ]
    files = {"emoji.json": json.dumps(entries).encode(), "LICENSE": b"MIT, by somebody"}
    for number, name in enumerate(names if images is None else images):
        stream = io.BytesIO()
        Image.new("RGBA", (64, 64), (number * 20, 100, 200, 255)).save(stream, format="PNG")
        files[f"img/twitter/64/{name}"] = stream.getvalue()
    with tarfile.open(file, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("package/img/twitter/64/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return Package(file.as_uri(), integrity(file))


@pytest.fixture(scope="session")
def entries():
    return [
        entry(*told, tones=TONES if toned else (), order=order)
        for order, (*told, toned) in enumerate(ENTRIES)
    ]


@pytest.fixture(scope="session")
def package(tmp_path_factory, entries):
    return make_package(tmp_path_factory.mktemp("npm") / "package.tgz", entries)


@pytest.fixture(scope="session")
def data(tmp_path_factory, package):
    """The folder: 9 images, 2 of them held out."""
    folder = tmp_path_factory.mktemp("data") / "emoji"
    build(folder, package)
    return folder
