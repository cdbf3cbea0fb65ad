"""The second implementation against numbers that the original code computed.

`original.json` was written by the original code itself (microsoft/VQ-Diffusion, d1d3948), which had
loaded the same small checkpoints without a missing or an unexpected key.
"""

import ast
import json
from pathlib import Path

import pytest
import torch
from official.answers import answers
from official.sizes import SMALL

HERE = Path(__file__).parent
ORIGINAL = json.loads((HERE / "original.json").read_text())


@pytest.mark.parametrize("name", SMALL)
def test_the_original_answers_the_same(name):
    found, expected = answers(name), ORIGINAL[name]
    assert found.keys() == expected.keys()
    for question, answer in found.items():
        recorded = torch.tensor(expected[question], dtype=answer.dtype)
        torch.testing.assert_close(answer, recorded, atol=2e-5, rtol=1e-6, msg=question)


def test_the_second_implementation_knows_nothing_of_the_first():
    for file in sorted(HERE.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in getattr(node, "names", [])]
            modules.append(getattr(node, "module", None) or "")
            assert not any(str(module).split(".")[0] == "vqlearn" for module in modules), file
