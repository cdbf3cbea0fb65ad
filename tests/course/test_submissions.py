"""Submissions: found, read without trust, and reduced to what one function needs."""

import json
import os
import sys

import pytest
from support import submissions as made
from support.submissions import code_cell, exercise_notebook, locked_cell, notebook, written

from vqlearn.course import submissions
from vqlearn.course.definitions import MOST_STATEMENTS, defined, definitions, unread
from vqlearn.course.submissions import Cell, find_submissions


def ids(folder):
    return [one.id for one in find_submissions(folder)]


def source(*cells, name="f"):
    """What of these cells the function f needs, on one line a statement."""
    code = [Cell(f"cell {i}", text) if isinstance(text, str) else text for i, text in enum(cells)]
    return definitions(code, name)


def enum(cells):
    return enumerate(cells, start=1)


def ran(*cells, name="f"):
    """The value of f() when its definitions have run."""
    names = {}
    exec(compile(source(*cells, name=name), "x", "exec", dont_inherit=True), names)
    return names[name]()


def test_files_and_folders_are_submissions(tmp_path):
    written(tmp_path, ada__py="", bob__any__ipynb="", cy__a__py="", cy__b__ipynb="", notes__txt="")
    assert ids(tmp_path) == ["ada", "bob", "cy/a", "cy/b"]


def test_the_folders_of_nbgrader_are_submissions(tmp_path):
    written(tmp_path, ada__hw1__hw1__ipynb="", bob__hw1__hw1__ipynb="", bob__hw1__more__py="")
    written(tmp_path, cy__hw1__hw1__ipynb="", cy__own__py="", di__source__x__py="")
    assert ids(tmp_path) == ["ada", "bob/hw1", "bob/more", "cy", "di"]
    assert find_submissions(tmp_path)[3].file == "cy/own.py"


def test_a_folder_without_a_submission_is_told(tmp_path):
    written(tmp_path, ada__py="", ada__notes__txt="", bob__x__py="")
    (tmp_path / "cy").mkdir()
    assert ids(tmp_path) == ["ada", "bob", "ada/", "cy"]
    assert [one.note for one in find_submissions(tmp_path)[2:]] == [submissions.NO_FILE] * 2


def test_sources_hidden_and_deeper_folders_are_left_out(tmp_path):
    written(tmp_path, source__x__py="", ada__py="", a__b__c__x__py="")
    for name in (".ipynb_checkpoints", ".git"):
        written(tmp_path / name, x__py="")
    (tmp_path / "._ada.py").write_text("")
    (tmp_path / "__pycache__").mkdir()
    assert ids(tmp_path) == ["ada", "a"]
    assert find_submissions(tmp_path)[1].note == submissions.NO_FILE


def test_two_files_of_one_name_are_told_apart(tmp_path):
    written(tmp_path, ada__py="", ada__ipynb="", bob__py="", bob__x__py="")
    assert ids(tmp_path) == ["ada.ipynb", "ada.py", "bob.py", "bob/x.py"]


def test_a_path_that_is_the_name_of_another_one(tmp_path):
    written(tmp_path, ada__py="", ada__ipynb="")
    written(tmp_path / "ada.py.d", x__py="")
    (tmp_path / "ada.py.d").rename(tmp_path / "ada.ipynb.py")  # its name is ada.ipynb.py
    found = ids(tmp_path)
    assert len(set(found)) == len(found) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_names_can_be_printed(tmp_path):
    for name in (b"\xff.py", b"a\nb.py", "é.py".encode()):
        with open(os.path.join(os.fsencode(tmp_path), name), "w"):
            pass
    found = find_submissions(tmp_path)
    assert {one.id for one in found} == {"a\\x0ab", "é", "\\xdcff"}
    assert all((one.id + one.file).isprintable() for one in found)


def test_cells_and_their_metadata(tmp_path):
    written(tmp_path, ada__ipynb=exercise_notebook())
    (one,) = find_submissions(tmp_path)
    assert [cell.grade_id for cell in one.cells] == [
        *("setup_02", "weighted_mean", "test_weighted_mean", "half_life", "test_half_life")
    ]
    assert [cell.locked for cell in one.cells] == [True, False, True, False, True]
    assert one.cells[1].text == made.MEAN.strip()
    assert one.file == "ada.ipynb"
    assert not one.note


NO_CELLS = [{}, {"cells": 3}, {"cells": {"a": 1}}, [], 3, None, "x"]
ODD_CELLS = [
    *(3, None, [], {"cell_type": 3}, {"cell_type": "code"}, {"cell_type": "code", "source": 3}),
    {"cell_type": "code", "source": [1, None, "x = 1"], "metadata": 7},
    {"cell_type": "code", "source": "x = 1", "metadata": {"nbgrader": [1]}},
    {"cell_type": "code", "source": "x = 1", "metadata": {"nbgrader": {"grade_id": 3}}},
    {"cell_type": "code", "source": "x = 1", "metadata": {"nbgrader": {"locked": "yes"}}},
]


@pytest.mark.parametrize("content", NO_CELLS, ids=repr)
def test_what_is_no_notebook(content, tmp_path):
    written(tmp_path, ada__ipynb=json.dumps(content))
    (one,) = find_submissions(tmp_path)
    assert one.note == submissions.NOT_A_NOTEBOOK


@pytest.mark.parametrize("cell", ODD_CELLS, ids=repr)
def test_odd_cells_are_read_as_far_as_they_can_be(cell, tmp_path):
    written(tmp_path, ada__ipynb=json.dumps({"cells": [cell, code_cell("y = 2")]}))
    (one,) = find_submissions(tmp_path)
    assert not one.note
    assert not any(cell.locked or cell.grade_id for cell in one.cells)
    assert one.cells[-1].text == "y = 2"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe", "not text in UTF-8"),
        (b"{", "no notebook"),
        (b"[" * 200_000, "no notebook"),
        (b'{"cells": [' + b"1" * 10_000 + b"]}", "no notebook"),
        (b"", "no notebook"),
    ],
)
def test_files_that_cannot_be_read(content, reason, tmp_path):
    (tmp_path / "ada.ipynb").write_bytes(content)
    (one,) = find_submissions(tmp_path)
    assert reason in one.note


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "ada.py").open("wb") as stream:
        stream.truncate(100 << 20)
    written(tmp_path, bob__py="x = 1\n" * (submissions.LONGEST_CODE // 6 + 1))
    ada, bob = find_submissions(tmp_path)
    assert "larger than 20 MiB" in ada.note
    assert "characters of code; allowed: 100000" in bob.note


def test_a_link_is_not_followed(tmp_path):
    """It could lead to the solutions."""
    written(tmp_path / "source", solution__py=made.SOLUTION)
    (tmp_path / "ada.py").symlink_to(tmp_path / "source" / "solution.py")
    (tmp_path / "bob").symlink_to(tmp_path / "source")
    (one,) = find_submissions(tmp_path)
    assert (one.id, one.note, one.cells) == ("ada", "it is a link to another file", ())


def test_other_content_has_another_digest(tmp_path):
    written(tmp_path, ada__py="x = 1", bob__py="x = 1", cy__py="x = 2")
    ada, bob, cy = (one.digest for one in find_submissions(tmp_path))
    assert ada == bob != cy


def test_only_what_a_function_needs_is_taken():
    text = """
import math, os
import numpy as np
from torch import nn, Tensor
UNUSED = os.system("echo unused")
print("loud")
SCALE: float = 2.0
def helper(x): return SCALE * x
def other(): return np.zeros(3)
for i in range(3): print(i)
class Box(nn.Module): pass
def f(box=Box): return helper(math.pi)
f()
"""
    kept = source(text).splitlines()
    assert [line for line in kept if "import" in line] == ["import math", "from torch import nn"]
    assert "SCALE: float = 2.0" in kept
    assert "class Box(nn.Module):" in kept
    assert not any(word in "\n".join(kept) for word in ("UNUSED", "print", "other", "Tensor"))


def test_a_local_name_is_not_one_of_the_notebook():
    assert "slow" not in source("x = slow()\ny = slow()\ndef f(x):\n    y = x\n    return y")


def test_the_last_definition_counts_and_the_first_brings_nothing_along():
    text = source("x = broken()\ndef f(): return x", "def f(): return 2")
    assert "broken" not in text
    assert ran("def f(): return 1", "def f(): return 2") == 2


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (["a = 1\nb = a\na = 2\ndef f(): return a, b"], (2, 1)),
        (["K = 3\ndef g(): return K\ntable = g()\nK = 4\ndef f(): return table, K"], (3, 4)),
        (["def g(): return 1\nx = g()\ndef g(): return 2\ndef f(): return x, g()"], (1, 2)),
        (["x = 1\nx += 1\nx *= 5\ndef f(): return x"], 10),
        (["a, (b, *c) = 1, (2, 3, 4)\ndef f(): return a, b, c"], (1, 2, [3, 4])),
        (["q = [0, 0]\nq[1] = 5\ndef f(): return q"], [0, 5]),
        (["def f(): return f.x\nf.x = 3"], 3),
        (["g = lambda: 5\nf = g"], 5),
        (["import os\nimport os.path\nimport os\ndef f(): return os.path.sep"], os.sep),
        (["def f(): return [y * z for y in r]\nr = (1, 2)\nz = 3"], [3, 6]),
        (["def d(g): return lambda: g() + n\nn = 1\n@d\ndef f(): return 1"], 2),
        (["class A:\n    def g(self): return B.k\nclass B: k = 8\ndef f(): return A().g()"], 8),
        (["def f(): return g(3)\ndef g(n): return n and g(n - 1)"], 0),
        (["from math import *\ndef f(): return floor(2.5)"], 2),
        (["def f(x: 'Tensor' = None): return 1", "from __future__ import annotations"], 1),
    ],
)  # fmt: skip
def test_definitions_are_those_of_a_notebook_that_runs_from_top_to_bottom(cells, value):
    assert ran(*cells) == value


def test_annotations_of_later_cells_may_be_names_that_are_not_there():
    assert (
        ran("x = 1", "from __future__ import annotations", "def f(a: Nowhere = 2): return a") == 2
    )


def test_lines_for_ipython_are_left_out():
    magics = "%matplotlib inline\n!ls\nfiles = !ls\ntorch?\n"
    text = f"{magics}x = (7\n     % 4)\ndef f():\n    %time\n    return x"
    assert ran(text) == 3
    assert ran("def f():\n    return 7 \\\n  % 4") == 3


def test_a_cell_that_cannot_be_parsed_is_left_out_and_named():
    cells = [Cell("cell 1", "def f(: pass"), Cell("cell 2", "def f(): return 1")]
    assert definitions(cells, "f") == "def f():\n    return 1"
    assert unread(cells) == ["cell 1 cannot be parsed (invalid syntax, line 1)"]
    assert definitions(cells[:1], "f") is None


def test_of_locked_cells_only_imports_count():
    locked = Cell("cell 1", "import math\ndef f(): return 1\ndef g(): return 9\nx = 9", locked=True)
    assert definitions([locked], "g") is None
    text = source(locked, "def f(): return math.pi, g, x")
    assert text == "import math\ndef f():\n    return (math.pi, g, x)"


def test_what_a_student_defines_goes_before_a_later_locked_import():
    assert ran("math = 5\ndef f(): return math", Cell("", "import math", locked=True)) == 5


def test_a_star_import_of_what_is_not_there_is_left_out():
    assert "vqlearn" not in source("from vqlearn.course import *\ndef f(): return 1")


def test_names_that_are_defined():
    cells = [Cell("", "import a.b, c as d\ne, f = 1, 2\nif True:\n    g = 3\ndef h(): i = 4")]
    assert defined(cells) == {"a", "d", "e", "f", "h"}


DEEP = 100_000


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * DEEP,
        "x = " + "-" * DEEP + "1",
        "x = " + "a." * DEEP + "a",
        "x = " + "1+" * DEEP + "1",
        "x = " + "not " * DEEP + "1",
        "x = " + "f" + "()" * DEEP,
        "x = " + "lambda:" * (DEEP // 2) + "1",
        "if 1: pass\n" + "elif 1: pass\n" * (DEEP // 5),
        "x = " + "[" * 150 + "1" + "]" * 150,
        "x = " + "1" * DEEP,
        "x = '\ud800'",
        "x = 1\0",
        "x = '\\N{nothing}'",
        "return 1",
        "x = await y",
        "\t if x",
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_code_that_is_hard_to_parse_stops_nothing(text):
    cells = [Cell("cell 1", text), Cell("cell 2", "def f(): return 1")]
    assert "return 1" in definitions(cells, "f")
    definitions(cells, "x")
    assert all(one.startswith("cell 1 cannot be parsed") for one in unread(cells))


def test_very_many_definitions_are_refused():
    """Each may need every other one."""
    cells = [Cell("the file", "".join(f"def f{i}(): return f{i + 1}()\n" for i in range(1200)))]
    assert definitions(cells, "f0") is None
    assert unread(cells) == [f"it has 1200 definitions; allowed: {MOST_STATEMENTS}"]
    chain = "".join(f"x{i} = x{i + 1}\ndef f{i}(): return f{i + 1}()\n" for i in range(490))
    assert definitions([Cell("the file", chain)], "f0").count("def") == 490


def test_a_notebook_of_any_order_is_read_whatever_its_name_is(tmp_path):
    cells = [code_cell("def f(): return g()"), locked_cell("x"), "def g(): return 1"]
    written(tmp_path, untitled__ipynb=notebook(*cells))
    (one,) = find_submissions(tmp_path)
    assert defined(one.cells) == {"f", "g"}
