"""A file in parts is as good as the whole one, and a part too few is noticed."""

import random
import re
import sys
from mmap import mmap
from pathlib import Path

import pytest
from support.training_files import same, write_solver_file

from vqlearn.checkpoints import CheckpointError
from vqlearn.released import read_training_file
from vqlearn.released.parts import Parts, _mapped


def cut(file, ends):
    """The file in parts that end at these bytes and at its end, named as `split` names them."""
    data, begin, parts = file.read_bytes(), 0, []
    for number, end in enumerate([*ends, file.stat().st_size]):
        parts.append(file.with_name(f"{file.stem}_a{chr(ord('a') + number)}"))
        parts[-1].write_bytes(data[begin:end])
        begin = end
    return parts


@pytest.mark.parametrize("seed", range(20))
def test_every_piece_is_read_and_mapped_across_the_parts(tmp_path, seed):
    chance = random.Random(seed)
    data = chance.randbytes(3000)
    (tmp_path / "file.pth").write_bytes(data)
    parts = Parts(cut(tmp_path / "file.pth", sorted(chance.choices(range(3001), k=5))))
    assert parts.size == 3000
    for _ in range(50):
        begin, size = chance.randrange(3000), chance.randrange(1500)
        size = min(size, 3000 - begin)
        assert bytes(parts.view(begin, size)) == data[begin : begin + size]
        with parts.open() as stream:
            stream.seek(begin - 3000, 2)
            assert stream.tell() == begin
            assert stream.read(size) == data[begin : begin + size]
            assert stream.read() == data[begin + size :]


@pytest.mark.parametrize(
    "ends", [[1], [64, 65, 4096], [4000, 8000, 8000], [2048 * i for i in (1, 2, 3)]]
)
def test_a_training_file_in_parts_is_the_whole_one(tmp_path, ends):
    content = write_solver_file(tmp_path / "file.pth")
    parts = cut(tmp_path / "file.pth", ends)
    (tmp_path / "file.pth").unlink()
    file = read_training_file(parts)
    assert same(file.raw, content["model"])
    assert same(file.ema, content["ema"])


@pytest.mark.parametrize(
    ("given", "number", "allowed"),
    [
        ("ab", 1, "x_aa"),  # the first is missing
        ("ab ac", 1, "x_aa"),
        ("aa ac", 2, "x_ab"),  # a gap
        ("ab aa", 1, "x_aa"),  # another order
        ("aa aa", 2, "x_ab"),
    ],
)
def test_parts_that_are_not_in_order_are_refused(tmp_path, given, number, allowed):
    for end in ("aa", "ab", "ac"):
        (tmp_path / f"x_{end}").write_bytes(b"x")
    names = given.split() if " " in given else [given, "ac"]
    seen = f"x_{names[number - 1]}'"
    with pytest.raises(
        CheckpointError, match=f"part {number} of 2 is .*{seen}; allowed: '{allowed}'"
    ):
        read_training_file([tmp_path / f"x_{end}" for end in names])


def test_parts_of_several_files_are_refused(tmp_path):
    (tmp_path / "else").mkdir()
    for name in ("x_aa", "y_ab", "else/x_ab", "plain"):
        (tmp_path / name).write_bytes(b"x")
    for other in ("y_ab", "else/x_ab", "plain"):
        with pytest.raises(CheckpointError, match=f"part 2 of 2 is .*{other}'; allowed: 'x_ab'"):
            read_training_file([tmp_path / "x_aa", tmp_path / other])
    with pytest.raises(CheckpointError, match=r"part 1 of 2 is .*plain'; allowed: 'plain_aa'"):
        read_training_file([tmp_path / "plain", tmp_path / "x_aa"])


def test_names_go_on_after_az(tmp_path):
    names = [f"x_{a}{b}" for a in "ab" for b in "abcdefghijklmnopqrstuvwxyz"][:28]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert Parts([tmp_path / name for name in names]).size == 28
    with pytest.raises(CheckpointError, match=r"part 27 of 27 is .*x_bb'; allowed: 'x_ba'"):
        Parts([tmp_path / name for name in [*names[:26], "x_bb"]])


def test_no_part_and_a_missing_part_are_refused(tmp_path):
    (tmp_path / "x_aa").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"\[\]; allowed: NAME_aa, NAME_ab"):
        read_training_file([])
    with pytest.raises(CheckpointError, match=r"there is no file '.*x_ab'"):
        read_training_file([tmp_path / "x_aa", tmp_path / "x_ab"])


def test_parts_that_are_not_whole_are_refused(tmp_path):
    """The last part is missing or shorter, or one in the middle is."""
    write_solver_file(tmp_path / "file.pth")
    parts = cut(tmp_path / "file.pth", [4000, 8000])
    names = re.escape(f"{parts[0]} .. ")
    with pytest.raises(CheckpointError, match=f"{names}file_ab is not whole: the directory"):
        read_training_file(parts[:2])
    with pytest.raises(CheckpointError, match="file_aa is not whole: the directory"):
        read_training_file(parts[0])
    for part in parts[1:]:
        whole = part.read_bytes()
        part.write_bytes(whole[:-64])
        with pytest.raises(CheckpointError, match=f"{names}file_ac is not whole"):
            read_training_file(parts)
        part.write_bytes(whole)


@pytest.mark.parametrize(
    ("begin", "size", "kind"),
    [
        *((0, 50, mmap), (8, 42, mmap), (24, 1, mmap), (50, 50, mmap), (58, 4, mmap)),
        *((4, 8, bytearray), (9, 8, bytearray), (48, 3, bytearray), (56, 8, bytearray)),
    ],
)
def test_what_lies_well_in_one_part_is_mapped(tmp_path, begin, size, kind):
    """Parts of 50 bytes, whose multiples of 8 are counted from their own beginnings."""
    (tmp_path / "file.pth").write_bytes(bytes(range(100)))
    view = Parts(cut(tmp_path / "file.pth", [50])).view(begin, size)
    assert type(view.obj) is kind
    assert bytes(view) == bytes(range(begin, begin + size))


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_mapped_bytes_can_be_changed_without_the_file(tmp_path, monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    (tmp_path / "file").write_bytes(b"abc")
    bytes_of_file = _mapped(tmp_path / "file")
    bytes_of_file[1] = ord("x")
    assert bytes_of_file[:] == b"axc"
    assert (tmp_path / "file").read_bytes() == b"abc"


@pytest.mark.skipif(sys.platform != "linux", reason="NO_RESERVE is that of Linux")
def test_a_file_larger_than_the_memory_is_mapped(tmp_path):
    """1 TB that takes no room; Linux would refuse to map it for writing."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(2**40)
    assert bytes(Parts([tmp_path / "file"]).view(2**39, 8)) == bytes(8)


def test_no_file_stays_open(tmp_path):
    """Of a file of 11 parts 11 are mapped, whatever the number of tensors."""
    write_solver_file(tmp_path / "file.pth")
    before = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
    kept = [dict(read_training_file(tmp_path / "file.pth").raw) for _ in range(3)]
    after = len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0
    assert len(kept[0]) > 3
    assert after - before <= 3
