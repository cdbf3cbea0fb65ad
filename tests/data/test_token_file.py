"""Files of tokens: what is written comes back, and what is no such file is refused."""

import io

import numpy as np
import pytest
import torch

from vqlearn.data.token_file import TokenFile

GRIDS = torch.arange(12).reshape(2, 2, 3)
NAMES = ["ä cat.png", "sub/b.jpg"]


def arrays(**changes):
    whole = {
        "tokens": GRIDS.numpy().astype(np.int32),
        "file_names": np.array(NAMES),
        "num_codes": np.int64(12),
        "tokenizer": np.array("0123456789abcdef"),
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def written(file, **changes):
    np.savez(file, **arrays(**changes))
    return file


def test_what_is_written_comes_back_and_numpy_reads_it(tmp_path):
    file = tmp_path / "new" / "tokens.npz"
    TokenFile(GRIDS, NAMES, 12, "0123456789abcdef").write(file)
    found = TokenFile.read(file)
    assert torch.equal(found.tokens, GRIDS)
    assert (found.file_names, found.num_codes, found.tokenizer) == (NAMES, 12, "0123456789abcdef")
    with np.load(file, allow_pickle=False) as plain:
        assert plain["tokens"].dtype == np.int32
        assert plain["tokens"].tolist() == GRIDS.tolist()
        assert plain["file_names"].tolist() == NAMES


def test_other_integers_are_read_too(tmp_path):
    file = written(tmp_path / "tokens.npz", tokens=GRIDS.numpy().astype(np.uint8))
    assert torch.equal(TokenFile.read(file).tokens, GRIDS)


BAD = {
    "no tokens": ({"tokens": None}, "is no file of tokens"),
    "no names": ({"file_names": None}, "is no file of tokens"),
    "fractions": ({"tokens": np.zeros((2, 2, 3))}, "is no file of tokens"),
    "objects": ({"file_names": np.array(NAMES, dtype=object)}, "is no file of tokens"),
    "numbers as names": ({"file_names": np.arange(2)}, "is no file of tokens"),
    "names in a square": ({"file_names": np.array([NAMES])}, "is no file of tokens"),
    "a sequence": ({"tokens": np.zeros((2, 6), np.int32)}, r"axes \[2, 1, 0, 0\]"),
    "a name too few": ({"file_names": np.array(NAMES[:1])}, "1 names; allowed: "),
    "no images": (
        {"tokens": np.zeros((0, 2, 3), np.int32), "file_names": np.array([], dtype="U1")},
        "allowed: no 0",
    ),
    "MASK": ({"num_codes": np.int64(11)}, "holds 0 to 11; allowed: 0 to 10"),
    "a negative one": ({"tokens": GRIDS.numpy() - 1}, "holds -1 to 10; allowed: 0 to 11"),
    "the parent": ({"file_names": np.array(["a.png", "../b.png"])}, "a name is '../b.png'"),
    "the root, twice": ({"file_names": np.array(["a.png", "//b.png"])}, "a name is '//b.png'"),
    "one name": ({"file_names": np.array(["a.png", "a.png"])}, "two images have one name"),
    "the root": ({"file_names": np.array(["a.png", "/b.png"])}, "a name is '/b.png'"),
    "no name": ({"file_names": np.array(["a.png", ""])}, "a name is ''"),
    "a drive": ({"file_names": np.array(["a.png", "C:\\b.png"])}, "a name is 'C:"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_file_of_tokens_is_refused(name, tmp_path):
    changes, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        TokenFile.read(written(tmp_path / "tokens.npz", **changes))


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays())
    whole = stream.getvalue()
    file = tmp_path / "tokens.npz"
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is no file of tokens"):
            TokenFile.read(file)
    with pytest.raises(FileNotFoundError):
        TokenFile.read(tmp_path / "nowhere.npz")
