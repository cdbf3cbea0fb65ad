"""What a conversion finds in its folder: older parts go, and a stop in the middle loses nothing."""

import errno
import pathlib
import shutil
from contextlib import nullcontext
from itertools import groupby

import pytest
import torch
from official import files
from official.sizes import SMALL
from safetensors.torch import load_file
from support.official_files import write_training

from vqlearn import CheckpointError
from vqlearn.checkpoints.digests import SUMS_FILE, check_digests
from vqlearn.checkpoints.layout import INDEX_FILE, PARTS
from vqlearn.pipeline import load_pipeline
from vqlearn.released import convert

NAMES = ("tokenizer alone", "coco_learnable", "imagenet_learnable")
CHANGES = [(old, new) for old in NAMES for new in NAMES if old != new]


@pytest.fixture
def convert_to(converted, tmp_path):
    """Converts a file, named, to a folder."""

    def to(name, out):
        if name == "tokenizer alone":
            files.save_codec(tmp_path / "vq.pth", SMALL["ffhq"].codec)
            return convert([tmp_path / "vq.pth"], out)
        official = converted(name).official
        return convert([official.file], out, **official.options)

    return to


def listed(folder):
    """Everything in a folder: files with their content, folders with None."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_the_folder_holds_the_new_parts_alone_and_foreign_files(old, new, convert_to, tmp_path):
    convert_to(new, tmp_path / "new")
    convert_to(old, tmp_path / "out")
    names = ("notes.txt", "vqvae/notes.txt", "photos/me.png", "clip")  # "clip" may be a part, too
    foreign = dict.fromkeys(names, b"mine")
    for name, content in foreign.items():
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_bytes(content)
    convert_to(new, tmp_path / "out")
    assert listed(tmp_path / "out") == listed(tmp_path / "new") | foreign | {"photos": None}


@pytest.mark.parametrize("part", ["transformer", "class_transformer"])
def test_what_a_killed_save_of_a_part_left_is_in_nobodys_way(part, convert_to, tmp_path):
    (tmp_path / "out" / part / ".part-new").mkdir(parents=True)
    (tmp_path / "out" / part / ".part-new" / "config.json").write_text("{")
    (tmp_path / "out" / part / ".part-config.json").write_text("{")
    convert_to("imagenet_learnable", tmp_path / "out")
    load_pipeline(tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".part-*"))


def parts_of(folder):
    return [name for name in PARTS if (folder / name).exists()]


class Watched:
    """Looks at a folder before each change of a name: there a kill would leave what it sees."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.seen = folder, []
        for name in ("unlink", "replace", "rmdir", "mkdir"):
            monkeypatch.setattr(pathlib.Path, name, self.looking(getattr(pathlib.Path, name)))

    def looking(self, change):
        def changed(path, *arguments, **options):
            self.seen.append(self.state())
            return change(path, *arguments, **options)

        return changed

    def state(self):
        """The parts that are there, as they were written; None: nothing says that they are."""
        if not any((self.folder / name).exists() for name in (INDEX_FILE, SUMS_FILE)):
            return None
        check_digests(self.folder, PARTS)
        return parts_of(self.folder)


@pytest.mark.parametrize(("old", "new"), CHANGES)
@pytest.mark.parametrize("linked", [False, True])
def test_a_kill_leaves_the_old_or_no_markers_or_the_new(
    old, new, linked, convert_to, tmp_path, monkeypatch
):
    """What a part that is a link leads to stays as it was."""
    out = tmp_path / "out"
    convert_to(old, out)
    if linked:
        shutil.move(out / "vqvae", tmp_path / "vqvae")
        (out / "vqvae").symlink_to(tmp_path / "vqvae")
        (out / SUMS_FILE).unlink()  # it is not for files outside
        behind = listed(tmp_path / "vqvae")
    with monkeypatch.context() as patch:
        watched = Watched(out, patch)
        before = watched.state()
        convert_to(new, out)
    states = [state for state, _ in groupby([before, *watched.seen, watched.state()])]
    assert states == [before, None, parts_of(out)][before is None :]
    if linked:
        assert listed(tmp_path / "vqvae") == behind


@pytest.mark.parametrize("missing", [0, 1])
def test_room_for_the_weights_is_there_before_the_first_is_written(
    missing, convert_to, tmp_path, monkeypatch
):
    convert_to("coco_learnable", tmp_path / "whole")
    weights = [load_file(file) for file in (tmp_path / "whole").rglob("*.safetensors")]
    needed = sum(each.nbytes for part in weights for each in part.values())
    usage = type("Usage", (), {"free": needed - missing})
    monkeypatch.setattr("vqlearn.storage.paths.shutil.disk_usage", lambda folder: usage)
    told = f"{needed:,} bytes are to be written, and {needed - 1:,} are free"
    with pytest.raises(OSError, match=told) if missing else nullcontext():
        convert_to("coco_learnable", tmp_path / "out")
    assert (tmp_path / "out").exists() != missing


def test_an_error_of_the_disk_names_the_folder(convert_to, tmp_path, monkeypatch):
    """Not every limit can be asked for: a quota is told by the first byte that is too much."""

    def write(*arguments):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("vqlearn.released.converting.write_streamed", write)
    with pytest.raises(OSError, match=f"Disk quota exceeded: '{tmp_path}/out'"):
        convert_to("coco_learnable", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["class_names.json", "tokenizer/config.json", "vqvae/config.json"])
def test_files_of_the_user_with_names_of_parts_are_not_replaced(name, convert_to, tmp_path):
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    message = f"holds '{name}', and neither model_index.json nor SHA256SUMS; allowed: a new folder"
    with pytest.raises(CheckpointError, match=message):
        convert_to("imagenet_learnable", tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "mine"


def test_what_a_killed_replacing_left_is_replaced(convert_to, tmp_path, monkeypatch):
    convert_to("coco_learnable", tmp_path / "out")

    class Killed(BaseException):
        pass

    def stop(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("vqlearn.checkpoints.writing.atomic_write", stop)
        with pytest.raises(Killed):
            convert_to("imagenet_learnable", tmp_path / "out")
    (tmp_path / "out" / "vqvae").mkdir(exist_ok=True)
    (tmp_path / "out" / "vqvae" / "config.json").write_text("half")
    convert_to("imagenet_learnable", tmp_path / "out")
    load_pipeline(tmp_path / "out")


def test_a_file_is_not_read_from_a_part_that_it_would_replace(converted, tmp_path):
    official = converted("imagenet_learnable").official
    place = tmp_path / "out" / "vqvae"
    place.mkdir(parents=True)
    file = shutil.copy(official.file, place / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="whose parts are replaced; allowed: a file elsew"):
        convert(file, tmp_path / "out", **official.options)
    used = shutil.copy(official.options["used_codes"], place / "used.pt")
    with pytest.raises(CheckpointError, match=r"used\.pt lies in .*out, whose parts are replaced"):
        convert(official.file, tmp_path / "out", used_codes=used)


def test_an_error_leaves_no_folder_that_was_not_there(converted, tmp_path):
    official = converted("imagenet_learnable").official
    (tmp_path / "there").mkdir()
    model = official.content["model"]
    wrong = {
        key: w * torch.nan if key.endswith("quant_conv.bias") else w for key, w in model.items()
    }
    file = write_training(tmp_path / "nan.pth", wrong, official.content["ema"])
    with pytest.raises(CheckpointError, match="NaN"):
        convert(file, tmp_path / "there" / "a" / "b", **official.options)
    assert not any((tmp_path / "there").iterdir())
