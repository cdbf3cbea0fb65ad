"""text8 and CIFAR-10 from files: tiny ones in the same layout, and every way to be wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vqlearn.data.local_files import (
    CIFAR10_FOLDER,
    CIFAR10_TEST,
    CIFAR10_TRAIN,
    cifar10,
    data_folder,
    text8,
    text8_texts,
    text8_tokens,
    text8_windows,
)

LARGE = 2**22  # bytes
TEXT = "the quick brown fox jumps over the lazy dog " * 10  # 440 characters


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VQLEARN_DATA", str(tmp_path))
    return tmp_path


def test_paths_may_begin_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "text8").write_text(TEXT)
    assert bytes(text8("~/text8").train).decode() == TEXT[: len(text8("~/text8").train)]
    for wrong in ("", "a\0"):
        for read in (text8, cifar10):
            with pytest.raises(ValueError, match="path is"):
                read(wrong)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_data_folder_is_the_named_one_or_the_one_in_the_home(monkeypatch, folder):
    assert data_folder() == folder
    monkeypatch.delenv("VQLEARN_DATA")
    assert data_folder() == Path.home() / ".cache" / "vqlearn" / "data"
    monkeypatch.setenv("VQLEARN_DATA", "~/there")
    assert data_folder() == Path.home() / "there"


def test_text8_is_cut_into_90_5_and_5_of_100(folder):
    (folder / "text8").write_text(TEXT)
    text = text8()
    parts = [bytes(part).decode() for part in (text.train, text.valid, text.test)]
    assert parts == [TEXT[:396], TEXT[396:418], TEXT[418:]]
    assert isinstance(text.train, np.memmap)
    (folder / "other").write_text(TEXT + "abc" * 6)  # 458: a twentieth is 22.9
    other = text8(folder / "other")
    assert [len(part) for part in (other.train, other.valid, other.test)] == [414, 22, 22]
    assert len(text8(str(folder / "other")).train) == 414


def test_windows_are_pieces_of_the_part_and_reach_its_both_ends(folder):
    (folder / "text8").write_text(TEXT)
    test = text8().test
    rows = text8_windows(test, 500, 20, generator=seeded())
    assert rows.shape == (500, 20)
    assert rows.dtype == torch.long
    pieces = set(text8_texts(rows))
    assert pieces == {TEXT[418:][start : start + 20] for start in range(3)}
    assert torch.equal(rows, text8_windows(test, 500, 20, generator=seeded()))
    whole = text8_windows(test, 1, 22, generator=seeded())
    assert torch.equal(whole, text8_tokens(test[None]))


def test_a_space_is_0_and_a_to_z_are_1_to_26():
    letters = np.frombuffer(b" abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
    assert text8_tokens(letters).tolist() == list(range(27))
    assert text8_texts(torch.arange(27)[None]) == [" abcdefghijklmnopqrstuvwxyz"]


@pytest.mark.parametrize("token", [-1, 27])
def test_tokens_outside_text8_are_named(token):
    with pytest.raises(ValueError, match=f"{token}.*; allowed: 0 to 26"):
        text8_texts(torch.tensor([[token]]))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda part: text8_windows(part, 0, 5, generator=seeded()), "count is 0; allowed: 1"),
        (lambda part: text8_windows(part, 1, 0, generator=seeded()), "length is 0; allowed: 1"),
        (lambda part: text8_windows(part, 1, 23, generator=seeded()), "is 23; allowed: 1 to 22"),
    ],
)
def test_windows_that_cannot_be_are_named(folder, bad, words):
    (folder / "text8").write_text(TEXT)
    with pytest.raises(ValueError, match=words):
        bad(text8().test)


@pytest.mark.parametrize("position", [0, 25, LARGE + 7])
@pytest.mark.parametrize("wrong", [b"A", b"\n", b"\xff", b"{", b"`"])
def test_the_first_byte_that_is_not_of_text8_is_named(folder, position, wrong):
    content = bytearray(b"a" * (LARGE + 20))
    content[position] = wrong[0]
    content[-1] = ord("!")
    (folder / "text8").write_bytes(content)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        text8()
    assert f"holds {wrong!r} at byte {position}; allowed: a to z and space" in str(error.value)


def test_a_text_too_short_to_be_cut_is_named(folder):
    (folder / "text8").write_text("a" * 19)
    with pytest.raises(ValueError, match="has 19 bytes; allowed: 20 or more"):
        text8()
    (folder / "text8").write_text("a" * 20)
    assert len(text8().test) == 1


def test_a_missing_file_is_named_with_its_position_and_origin(folder):
    (folder / "text8.zip").write_text("x")
    with pytest.raises(FileNotFoundError) as error:
        text8()
    for words in (str(folder / "text8"), "['text8.zip']", "Mahoney", "VQLEARN_DATA", "100,000,000"):
        assert words in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"holds \['text8\.zip'\]"):
        text8(folder)
    with pytest.raises(FileNotFoundError, match="nowhere/text8"):
        text8("nowhere/text8")
    (folder / "cifar-10-batches-py").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        cifar10()
    for words in (CIFAR10_FOLDER, "data_batch_1.bin", "['cifar-10-batches-py', 'text8.zip']"):
        assert words in str(error.value)
    assert "pickle may run any program" in str(error.value)


def write_cifar10(folder, count=3):
    """Pixel (y, x) of image i of file f: red 8 y, green 8 x, blue 40 f + i; label i + f."""
    folder.mkdir()
    y, x = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    for number, name in enumerate((*CIFAR10_TRAIN, CIFAR10_TEST)):
        rows = [
            bytes([i + number])
            + b"".join(
                plane.astype(np.uint8).tobytes()
                for plane in (8 * y, 8 * x, 0 * x + 40 * number + i)
            )
            for i in range(count)
        ]
        (folder / name).write_bytes(b"".join(rows))


def test_pictures_and_labels_of_cifar10_are_where_they_should_be(folder):
    write_cifar10(folder / CIFAR10_FOLDER)
    data = cifar10()
    assert data.train.shape == (15, 32, 32, 3)
    assert data.test.shape == (3, 32, 32, 3)
    assert data.train.dtype == data.train_labels.dtype == np.uint8
    assert data.train_labels.tolist() == [i + f for f in range(5) for i in range(3)]
    assert data.test_labels.tolist() == [5, 6, 7]
    assert data.train[4, 3, 9].tolist() == [24, 72, 41]
    assert data.train[14, 31, 0].tolist() == [248, 0, 162]
    assert data.test[2, 0, 31].tolist() == [0, 248, 202]
    assert data.train.flags.c_contiguous
    assert np.array_equal(cifar10(folder / CIFAR10_FOLDER).train, data.train)
    assert np.array_equal(cifar10(str(folder / CIFAR10_FOLDER)).test, data.test)


@pytest.mark.parametrize("name", [*CIFAR10_TRAIN, CIFAR10_TEST])
def test_a_file_of_cifar10_that_is_missing_or_cut_off_is_named(folder, name):
    write_cifar10(folder / CIFAR10_FOLDER)
    file = folder / CIFAR10_FOLDER / name
    whole = file.read_bytes()
    for content in (whole[:-1], b"", whole + b"x"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} has {len(content)} bytes.* of 3073"):
            cifar10()
    file.write_bytes(whole[: 2 * 3073])
    with pytest.raises(ValueError, match=r"holds . images; allowed: ., as in data_batch_1"):
        cifar10()
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"no file .*{name}"):
        cifar10()


def test_a_label_above_9_is_named(folder):
    write_cifar10(folder / CIFAR10_FOLDER)
    file = folder / CIFAR10_FOLDER / CIFAR10_TRAIN[3]
    content = bytearray(file.read_bytes())
    content[3073] = 10
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"data_batch_4.bin has the label 10 at image 1; .* 9"):
        cifar10()
