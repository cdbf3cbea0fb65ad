"""Which codes of a tokenizer a denoiser knows: from the statistics files of the official code.

    full code      0  1  2  3  4  5 ...
    its token      0  0  0  1  0  2 ...     0: not used

Such a file holds this table. The training checkpoints do not.
"""

import hashlib
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from vqlearn.checkpoints.layout import CheckpointError
from vqlearn.checkpoints.pickles import load_tensor
from vqlearn.probability.checks import shown

SOURCE = "help_folder/statistics/taming_vqvae_{}.pt of https://github.com/microsoft/VQ-Diffusion"
DIGESTS = {
    2887: "5b024c7ad533bd0c9351596460b9ec38e070ac943c61b97a9be35024997f550b",
    974: "a3242cde9dd5dea79b0d15c6d096faf15eea88ae7ccd1389df683e982485548d",
}
"""SHA-256 of the released tables as int64, by the number of their tokens."""


def used_codes_of(
    label: str, file: Path | None, num_tokens: int, num_codes: int
) -> Int[Tensor, " k"] | None:
    """The full code of each of the tokens 0..num_tokens - 1, ascending; None: all are used.

    Raises `CheckpointError` that says what is missing and where it comes from, or what is wrong
    with the file.
    """
    if num_tokens == num_codes:
        if file is not None:
            raise CheckpointError(f"the used codes are {file}; allowed: none, {label} uses all")
        return None
    if file is None:
        raise CheckpointError(
            f"{label} uses {num_tokens} of {num_codes} codes, and does not say which; allowed: "
            f"--used-codes FILE, {SOURCE.format(num_tokens)}"
        )
    return _read(file, num_tokens, num_codes)


def digest_of(table: Int[Tensor, " codes"]) -> str:
    """The SHA-256 of a table as int64."""
    return hashlib.sha256(table.numpy().tobytes()).hexdigest()


def _read(file: Path, num_tokens: int, num_codes: int) -> Int[Tensor, " k"]:
    table = load_tensor(file)
    if table.dtype != torch.int64 or table.shape != (num_codes,):
        raise CheckpointError(
            f"{file} holds {shown(tuple(table.shape))} numbers, {table.dtype}; "
            f"allowed: a token for each of {num_codes} codes, torch.int64"
        )
    used = torch.cat([torch.zeros(1, dtype=torch.int64), table.nonzero()[:, 0]])
    if table[0] != 0 or not torch.equal(table[used], torch.arange(num_tokens)):
        raise CheckpointError(
            f"{file} has other tokens; allowed: 0 for code 0 and those that are not used, "
            f"1 to {num_tokens - 1} once each, ascending"
        )
    found = digest_of(table)
    if found != DIGESTS.get(num_tokens, found):
        raise CheckpointError(
            f"{file} is not the released list: its numbers have the SHA-256 {found}; "
            f"allowed: {DIGESTS[num_tokens]}"
        )
    return used
