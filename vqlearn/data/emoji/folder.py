"""The folders of emoji that `vqlearn train --data` reads: images, captions, and who drew them.

    python -m vqlearn.data.emoji

    runs/emoji-data/
      train/metadata.jsonl        {"file_name": "1f34e.png", "text": "a red apple", …}
      train/1f34e.png             64 x 64 pixels, as in the package; what is clear becomes white
      held_out/                   the same, of combinations that the training does not see
      emoji.json, README.md       what it was made from; licences

The parts are folders of their own: `--data runs/emoji-data/train`, and `…/held_out` to measure.
White is the right ground: whatever Twemoji draws as white is a pale grey, so it can be seen, while
on grey or blue the clocks, the tools and the clouds go.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqlearn.data.emoji.captions import captions, captions_with_tones
from vqlearn.data.emoji.download import TWEMOJI, Package, fetched, read_members
from vqlearn.data.emoji.split import VARIATIONS, held_out, is_left_out
from vqlearn.probability.checks import shown
from vqlearn.storage import atomic_folder, write_text

DATA = Path("runs") / "emoji-data"
PARTS = ("train", "held_out")
METADATA = "metadata.jsonl"
INDEX = "emoji.json"
IMAGES = "img/twitter/64/"
README = """# Emoji and captions

Images: Twemoji 16.0.1, https://github.com/jdecked/twemoji, copyright 2014–2021 Twitter, since 2022
Jason Sofonia and Justine De Caires, and other contributors, licensed under CC BY 4.0,
https://creativecommons.org/licenses/by/4.0/. They are files of the npm package
emoji-datasource-twitter 16.0.0, which has them in 64 x 64 pixels, unchanged.

`emoji.json`: the same package, https://github.com/iamcal/emoji-data, copyright 2013 Cal Henderson,
under the licence below. Captions: vqlearn, made from `emoji.json`.

"""


@dataclass(frozen=True)
class Picture:
    """One image file of the package, its captions, and the part of the data that it belongs to."""

    file: str
    captions: tuple[str, ...]
    part: str

    def lines(self) -> Iterator[str]:
        """One line of `metadata.jsonl` for each caption."""
        for caption in self.captions:
            yield json.dumps({"file_name": self.file, "text": caption}) + "\n"


def pictures(emoji: list[dict[str, Any]]) -> list[Picture]:
    """All images that are used, in Unicode's order."""
    emoji = sorted(emoji, key=lambda each: each["sort_order"])
    emoji = [each for each in emoji if not is_left_out(each)]
    kept_back, found = held_out(emoji), []
    for each in emoji:
        name, variations = each["short_name"], each.get(VARIATIONS, {})
        images = {None: each, **variations}
        for tones, image in images.items():
            if not is_left_out(each, tones):
                told = captions(each) if tones is None else captions_with_tones(each, tones)
                part = PARTS[(name, tones) in kept_back]
                found.append(Picture(image["image"], tuple(told), part))
    return found


def build(folder: Path, package: Package = TWEMOJI) -> list[Picture]:
    """Make the folder, unless it is there, whole and made by these rules; returns what is in it.

    Raises `ValueError` for a folder of other rules or with other things in it, if the package is
    not the one that is meant, or if two images have the same caption; `OSError` if it cannot be
    fetched or written.
    """
    if folder.exists():
        return _check_whole(folder)
    with fetched(package) as archive:
        members = read_members(archive, (INDEX, IMAGES, "LICENSE"))
    found = pictures(json.loads(members[INDEX]))
    _check_distinct(found)
    with atomic_folder(folder) as unfinished:
        for part in PARTS:
            (unfinished / part).mkdir()
            write_text(unfinished / part / METADATA, _metadata(found, part))
        for picture in found:
            (unfinished / picture.part / picture.file).write_bytes(members[IMAGES + picture.file])
        (unfinished / INDEX).write_bytes(members[INDEX])
        write_text(unfinished / "README.md", README + members["LICENSE"].decode())
    return found


def summary(found: list[Picture]) -> str:
    """How many images and captions each part has."""
    told = []
    for part in PARTS:
        own = [picture for picture in found if picture.part == part]
        captions = sum(len(picture.captions) for picture in own)
        told.append(f"{part}: {len(own)} images, {captions} captions")
    return "; ".join(told)


def _metadata(found: list[Picture], part: str) -> str:
    return "".join(line for picture in found if picture.part == part for line in picture.lines())


def _check_distinct(found: list[Picture]) -> None:
    """Raise `ValueError` if a caption is that of two images."""
    owners = {}
    for picture in found:
        for caption in picture.captions:
            if (other := owners.setdefault(caption, picture.file)) != picture.file:
                raise ValueError(
                    f"the caption of {picture.file} is {caption!r}; allowed: another one than "
                    f"that of {other}"
                )


def _check_whole(folder: Path) -> list[Picture]:
    """What is in a folder that is there. Raises `ValueError` unless it is what would be made."""
    index = folder / INDEX
    found = pictures(json.loads(index.read_text(encoding="utf-8"))) if index.is_file() else []
    texts = {folder / part / METADATA: _metadata(found, part) for part in PARTS}
    files = [index, *(folder / picture.part / picture.file for picture in found)]
    wrong = [file for file in (*files, *texts) if not file.is_file()]
    wrong = wrong or [file for file, text in texts.items() if file.read_text("utf-8") != text]
    if wrong:
        raise ValueError(
            f"folder is {shown(str(folder))}, and {wrong[0]} is missing or made by other rules; "
            "allowed: a folder that is not there yet, or a whole one; delete it to make it anew"
        )
    return found
