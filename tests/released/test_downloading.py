"""A released model: all its files are those that were downloaded first, or it is not converted."""

import hashlib
import importlib
import json
import logging
import random
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from support.official_files import PROMPTS, save_official

from vqlearn import VQDiffusionPipeline
from vqlearn.checkpoints import CheckpointError
from vqlearn.released import catalogue, convert, download, released
from vqlearn.released.catalogue import Released
from vqlearn.released.downloading import LOCK, RECORD, files_folder

MODEL = Released("toy", "text", "nothing", 3, used_codes=5)
CONTENTS = {
    **{f"toy_a{end}": bytes([i]) * 10_000 for i, end in enumerate("abc")},
    "taming_vqvae_5.pt": b"codes" * 100,
    "bpe_simple_vocab_16e6.txt.gz": b"pieces" * 50,
}
TOTAL = sum(map(len, CONTENTS.values()))


class Toy:
    """Downloads the toy model, which becomes a folder with one file; notes what was called."""

    def __init__(self, server, tmp_path):
        self.server, self.out = server, tmp_path / "toy"
        self.files = files_folder(self.out)
        self.told, self.converted = [], []

    def convert(self, files, out, **others):
        others = {name: path and path.name for name, path in others.items()}
        self.converted.append(([file.name for file in files], others))
        out.mkdir(exist_ok=True)
        (out / "all").write_bytes(b"".join(file.read_bytes() for file in files))

    def tell(self, line):
        self.told.append((line, sum(request.sent for request in self.server.asked)))

    def download(self, model=MODEL, convert=None, delete_parts=False):
        convert = convert or self.convert
        download(model, self.out, convert, delete_parts=delete_parts, tell=self.tell)
        return (self.out / "all").read_bytes()

    def again(self, **options):
        """The same after the converted folder is gone."""
        (self.out / "all").unlink()
        self.out.rmdir()
        self.server.asked.clear()
        return self.download(**options)

    def names(self):
        return sorted(path.name for path in self.files.iterdir() if path.name != LOCK)


@pytest.fixture
def toy(file_server, tmp_path, monkeypatch):
    for address in ("RELEASE", "REPOSITORY"):
        monkeypatch.setattr(catalogue, address, file_server.base)
    file_server.files |= CONTENTS
    return Toy(file_server, tmp_path)


WHOLE = b"".join(CONTENTS[f"toy_a{end}"] for end in "abc")


def test_parts_are_fetched_and_converted_in_order_with_all_that_it_needs(toy):
    assert toy.download() == WHOLE
    others = {"used_codes": "taming_vqvae_5.pt", "tokenizer": "bpe_simple_vocab_16e6.txt.gz"}
    assert toy.converted == [(["toy_aa", "toy_ab", "toy_ac"], others)]
    assert toy.names() == sorted([*CONTENTS, RECORD])
    record = json.loads((toy.files / RECORD).read_text())
    for name, content in CONTENTS.items():
        assert record[name]["size"] == len(content)
        assert record[name]["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_tokenizer_needs_nothing_else(toy):
    toy.server.files["alone.pth"] = b"alone"
    assert toy.download(Released("alone", "tokenizer", "nothing", 0)) == b"alone"
    assert toy.converted == [(["alone.pth"], {"used_codes": None, "tokenizer": None})]
    assert toy.names() == sorted(["alone.pth", RECORD])


def test_the_size_is_told_before_anything_is_fetched(toy):
    toy.download()
    assert toy.told == [(f"toy: {TOTAL:,} bytes in 5 files, 0 of them are there", 0)]


def test_what_is_there_needs_no_server(toy):
    toy.download()
    assert toy.again() == WHOLE
    assert toy.server.asked == []
    assert toy.told[1][0].endswith(f"{TOTAL:,} of them are there")


@pytest.mark.parametrize("there", ["a file", "a folder", "a link", "a link to itself", "."])
def test_what_is_there_is_not_touched(toy, there, monkeypatch):
    target = toy.out.parent / "elsewhere"
    place = toy.out if there in ("a file", "a folder", ".") else target
    if there == "a file":
        place.write_text("mine")
    elif there == "a link to itself":
        place = toy.out
    else:
        place.mkdir()
        (place / "notes.txt").write_text("mine") if there != "." else monkeypatch.chdir(place)
    if "link" in there:
        toy.out.symlink_to(place)
    before = sorted(toy.out.parent.rglob("*"))
    with pytest.raises(FileExistsError, match=f"{place} is there already; allowed: another folder"):
        toy.download()
    assert toy.server.asked == []
    assert sorted(toy.out.parent.rglob("*")) == before


@pytest.mark.parametrize("there", ["a folder", "what a killed conversion left", "a link"])
def test_an_empty_folder_is_filled(toy, there):
    place = toy.out.with_name("elsewhere") if there == "a link" else toy.out
    place.mkdir()
    if there == "a link":
        toy.out.symlink_to(place)
    if there == "what a killed conversion left":
        (place / ".part-new").mkdir()
        (place / ".part-new" / "half").write_bytes(b"half")
    assert toy.download() == WHOLE
    assert [path.name for path in place.iterdir()] == ["all"]


def test_what_came_there_while_it_was_fetched_stays(toy):
    def convert(files, out, **others):
        toy.out.mkdir()
        (toy.out / "notes.txt").write_text("mine")

    with pytest.raises(FileExistsError, match="toy is there already"):
        toy.download(convert=convert, delete_parts=True)
    assert (toy.out / "notes.txt").read_text() == "mine"
    assert toy.names() == sorted([*CONTENTS, RECORD])


STAGES = {
    "asked": "vqlearn.released.downloading.ask",
    "written down": "vqlearn.released.downloading.write_json",
    "counted": "vqlearn.released.downloading.check_room",
    "fetched": "vqlearn.released.fetching._understood",
    "brought to the disk": "os.fsync",
    "compared": "vqlearn.released.downloading.sha256",
    "given its place": "shutil.rmtree",
}
"""What is called at each stage, most of them for each file."""


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("call", [1, 2, 8])
def test_ctrl_c_at_any_stage_costs_nothing(toy, stage, call, monkeypatch):
    *module, name = STAGES[stage].split(".")
    module = importlib.import_module(".".join(module))
    real, calls = getattr(module, name), []

    def stopped(*arguments, **options):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, stopped)
        with suppress(KeyboardInterrupt):
            toy.download()
    fetched = [file for file in CONTENTS if (toy.files / file).exists()]
    there = toy.out.exists()
    toy.server.asked.clear()
    assert (toy.again if there else toy.download)() == WHOLE
    assert not [request for request in toy.server.asked if request.name in fetched]
    assert sorted(path.name for path in toy.out.parent.iterdir()) == ["toy", "toy-files"]


KILLED = """
import os, signal, sys
from pathlib import Path
from vqlearn.released import catalogue, download
from vqlearn.released.catalogue import Released

def convert(files, out, **others):
    (out / "vqvae").mkdir()
    (out / "vqvae" / "config.json").write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)

catalogue.RELEASE, out = sys.argv[1:]
model = Released("alone", "tokenizer", "nothing", 0)
download(model, Path(out), convert, delete_parts=True, tell=print)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system kills in another way")
def test_a_download_that_was_killed_while_it_converted_goes_on(toy):
    toy.server.files["alone.pth"] = b"alone"
    arguments = [sys.executable, "-c", KILLED, toy.server.base, str(toy.out)]
    killed = subprocess.run(arguments, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not toy.out.exists()
    toy.server.asked.clear()
    assert toy.download(Released("alone", "tokenizer", "nothing", 0)) == b"alone"
    assert toy.server.asked == []
    assert sorted(path.name for path in toy.out.parent.iterdir()) == ["toy", "toy-files"]
    assert [path.name for path in toy.out.iterdir()] == ["all"]


def test_a_stopped_download_goes_on_where_it_was(toy):
    toy.server.cuts, toy.server.statuses = [None, 4_000], [None] * 7 + [404]
    with pytest.raises(OSError, match=r"toy_ab: HTTP 404"):
        toy.download()
    assert toy.names() == sorted(["toy_aa", "toy_ab.part", RECORD])
    assert toy.converted == []
    toy.server.asked.clear()
    assert toy.download() == WHOLE
    assert [toy.server.sent(name) for name in ("toy_aa", "toy_ab", "toy_ac")] == [0, 6_000, 10_000]
    assert toy.told[1][0].endswith("14,000 of them are there")


@pytest.mark.parametrize("size", [10_000, 11_000, 3_000])
def test_a_file_that_changed_while_the_download_was_stopped_is_fetched_anew(toy, caplog, size):
    toy.server.cuts, toy.server.statuses = [4_000], [None] * 6 + [404]
    with pytest.raises(OSError, match="404"):
        toy.download()
    toy.server.files["toy_aa"] = b"!" * size
    assert toy.download() == b"!" * size + WHOLE[10_000:]
    assert "toy_aa is another file on the server now: it is fetched anew" in caplog.messages


def test_a_file_of_one_size_that_is_not_the_first_is_refused_until_its_record_is_deleted(toy):
    toy.download(delete_parts=True)
    toy.server.files["toy_ab"] = b"?" * 10_000
    digests = [hashlib.sha256(c).hexdigest() for c in (b"?" * 10_000, CONTENTS["toy_ab"])]
    for _ in range(2):
        with pytest.raises(
            ValueError, match=f"toy_ab has the SHA-256 {digests[0]}, .*{digests[1]}"
        ):
            toy.again() if toy.out.exists() else toy.download()
    assert "toy_ab.part" in toy.names()
    assert len(toy.converted) == 1
    (toy.files / RECORD).unlink()
    assert toy.download() == WHOLE[:10_000] + b"?" * 10_000 + WHOLE[20_000:]


def test_a_file_of_another_size_than_the_first_is_not_fetched(toy):
    toy.download(delete_parts=True)
    toy.server.files["toy_ab"] = b"?" * 9_000
    with pytest.raises(ValueError, match=r"toy_ab has 9000 bytes now, .* 10000; .*download.json"):
        toy.again()
    assert toy.server.sent("toy_ab") == 0


@pytest.mark.parametrize("content", [b"x" * 10_000, b"short"])
def test_a_file_that_was_damaged_here_is_fetched_anew(toy, caplog, content):
    toy.download()
    (toy.files / "toy_ac").write_bytes(content)
    assert toy.again() == WHOLE
    assert any("toy_ac is damaged" in message for message in caplog.messages)
    assert toy.server.sent("toy_aa") == 0


@pytest.mark.parametrize("size", [10_000, 9_999])
def test_a_file_that_was_fetched_by_other_means_is_taken_if_its_size_is_right(toy, size):
    toy.files.mkdir()
    (toy.files / "toy_aa").write_bytes(CONTENTS["toy_aa"][:size])
    assert toy.download() == WHOLE
    assert toy.server.sent("toy_aa") == (0 if size == 10_000 else 10_000)


def test_parts_go_only_on_request_and_their_digests_stay(toy):
    toy.download(delete_parts=True)
    assert toy.names() == [RECORD]
    assert toy.again(delete_parts=False) == WHOLE
    assert toy.names() == sorted([*CONTENTS, RECORD])


def test_parts_stay_if_they_cannot_be_converted(toy):
    def refuse(files, out, **others):
        (out / "half").mkdir()
        raise CheckpointError("no")

    with pytest.raises(CheckpointError, match=f"no; to fetch it all again, delete {toy.files}"):
        toy.download(convert=refuse, delete_parts=True)
    assert toy.names() == sorted([*CONTENTS, RECORD])
    assert [path.name for path in toy.out.parent.iterdir()] == [toy.files.name]


def test_a_second_download_does_not_take_the_first_for_an_old_folder(toy):
    """While the first converts, "delete it" would be bad advice."""
    refused = []

    def convert(files, out, **others):
        with pytest.raises(BlockingIOError, match="another download works"):
            toy.download()
        refused.append(out)
        toy.convert(files, out, **others)

    assert toy.download(convert=convert) == WHOLE
    assert len(refused) == 1


@pytest.mark.parametrize("at", [1, 2, 3])
def test_parts_that_could_not_be_deleted_do_not_harm_the_folder(toy, at, monkeypatch):
    """Stopped, or refused by the system, while it deletes: the model is whole, the rest stays."""
    unlink, deleted = Path.unlink, []

    def stopped(path, **options):
        deleted.extend([path] if path.name in CONTENTS else [])
        if len(deleted) == at:
            raise KeyboardInterrupt
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", stopped)
        with pytest.raises(KeyboardInterrupt):
            toy.download(delete_parts=True)
    assert (toy.out / "all").read_bytes() == WHOLE
    assert len(toy.names()) == len(CONTENTS) + 1 - (at - 1)
    assert toy.again() == WHOLE


def test_two_downloads_do_not_meet(toy):
    toy.files.mkdir()
    with FileLock(toy.files / LOCK), pytest.raises(BlockingIOError, match="another download works"):
        toy.download()
    assert toy.server.asked == []
    assert toy.download() == WHOLE


@pytest.mark.parametrize(("free", "is_enough"), [(TOTAL - 4_000, True), (TOTAL - 4_001, False)])
def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    toy, monkeypatch, free, is_enough
):
    """4,000 bytes are there already."""
    toy.server.cuts, toy.server.statuses = [4_000], [None] * 6 + [404]
    with pytest.raises(OSError, match="404"):
        toy.download()
    toy.server.asked.clear()
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr("vqlearn.storage.paths.shutil.disk_usage", lambda folder: usage)
    if is_enough:
        assert toy.download() == WHOLE
    else:
        with pytest.raises(OSError, match=f"{free + 1:,} bytes are to be fetched, and {free:,}"):
            toy.download()
        assert sum(request.sent for request in toy.server.asked) == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"toy_aa": {"size": 1}}', '{"toy_aa": 1}'])
def test_a_damaged_record_is_named(toy, text):
    toy.files.mkdir()
    (toy.files / RECORD).write_text(text)
    with pytest.raises(CheckpointError, match="download"):
        toy.download()


def test_a_small_official_checkpoint_becomes_a_folder_that_generates(
    file_server, tmp_path, monkeypatch
):
    """Cut into parts as the release cuts it. Its captions have a vocabulary of their own."""
    official = save_official(tmp_path / "made", "coco_pretrained")
    model = replace(released("coco_pretrained"), used_codes=official.sizes.denoiser.codes)
    for address in ("RELEASE", "REPOSITORY"):
        monkeypatch.setattr(catalogue, address, file_server.base)
    content = official.file.read_bytes()
    step = -(-len(content) // model.num_parts)
    for number, file in enumerate(model.files):
        file_server.files[file.name] = content[number * step : (number + 1) * step]
    file_server.files[model.used_codes_file.name] = official.options["used_codes"].read_bytes()
    file_server.files[model.tokenizer_file.name] = b"not read"
    file_server.cuts = [None, 100_000, None, 7]

    def convert_with_words(files, out, *, used_codes, tokenizer):
        convert(files, out, used_codes=used_codes, tokenizer=official.options["tokenizer"])

    folder = tmp_path / "coco"
    download(model, folder, convert_with_words, delete_parts=True, tell=lambda line: None)
    convert([official.file], tmp_path / "whole", **official.options)
    pipes = [VQDiffusionPipeline.from_pretrained(path) for path in (folder, tmp_path / "whole")]
    images = [pipe(PROMPTS, generator=torch.Generator().manual_seed(0)).images for pipe in pipes]
    assert len(images[0]) == len(PROMPTS)
    assert [image.tobytes() for image in images[0]] == [image.tobytes() for image in images[1]]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_nothing_but_the_whole_is_converted(toy, seed, caplog):
    """Connections drop, servers are busy, commands stop: the same command ends in the same file."""
    caplog.set_level(logging.CRITICAL)
    chance = random.Random(seed)
    toy.server.ranges = chance.random() < 0.7
    toy.server.versions = chance.choice([("ETag",), ("Last-Modified",), ()])
    for _ in range(30):
        toy.server.cuts = [chance.choice([None, chance.randrange(10_000)]) for _ in range(9)]
        toy.server.statuses = [chance.choice([None, None, 503, 404]) for _ in range(9)]
        try:
            assert toy.download() == WHOLE
            break
        except OSError:
            assert toy.converted == []
    assert len(toy.converted) == 1
