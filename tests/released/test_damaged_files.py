"""A damaged file is refused, or every weight in it is as it was.

`make soak` damages 30,000 files, `make test` 600.
"""

import os
import random
from collections import Counter

from support.time_limit import at_most
from support.training_files import same, write_solver_file

from vqlearn.checkpoints import CheckpointError
from vqlearn.released import read_training_file

FILES = 30_000 if os.environ.get("VQLEARN_DAMAGED_FILES") == "1" else 600
LONGEST = 400  # characters of a message


def truncated(data, chance):
    return data[: chance.randrange(len(data))]


def without_a_piece(data, chance):
    begin, size = chance.randrange(len(data)), chance.choice((1, 64, 1000))
    return data[:begin] + data[begin + size :]


def with_a_piece(data, chance):
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice((1, 64, 1000))) + data[at:]


def flipped(data, chance):
    return _flipped(data, chance, 0, len(data))


def flipped_pickle(data, chance):
    """The pickle is in front."""
    return _flipped(data, chance, 0, data.index(b"PK\x03\x04", 4))


def flipped_directory(data, chance):
    """The directory is at the end."""
    return _flipped(data, chance, data.index(b"PK\x01\x02"), len(data))


def _flipped(data, chance, begin, end):
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 4, 64))):
        changed[chance.randrange(begin, end)] ^= 1 << chance.randrange(8)
    return bytes(changed)


DAMAGES = (truncated, without_a_piece, with_a_piece, flipped, flipped_pickle, flipped_directory)


def outcome(file, content):
    """The message of the one error that is allowed, or whether all is as before."""
    try:
        with at_most(10.0, TimeoutError):
            ours = read_training_file(file)
            return same(ours.raw, content["model"]) and same(ours.ema, content["ema"])
    except CheckpointError as error:
        return str(error)


def test_damaged_files_are_refused_or_as_before(tmp_path):
    content = write_solver_file(tmp_path / "whole.pth")
    whole, found = (tmp_path / "whole.pth").read_bytes(), Counter()
    file = tmp_path / "damaged.pth"
    for number in range(FILES):
        damage = DAMAGES[number % len(DAMAGES)]
        file.write_bytes(damage(whole, random.Random(number)))
        result = outcome(file, content)
        is_message = isinstance(result, str) and str(file) in result and len(result) <= LONGEST
        assert result is True or is_message, (damage.__name__, number, result)
        found["as before" if result is True else "refused"] += 1
        file.unlink()
    print(dict(found))
    assert found["refused"] > 0.6 * FILES
    assert found["as before"] > 0.05 * FILES
