"""The mutations: they come from everywhere, change one line each, and are told from no change."""

import ast
import json
import shutil

import pytest
from mutation import __main__ as mutants
from mutation.sites import KINDS, ROOMS, ROOT, Site, draw, sites

from vqlearn.lessons.marks import between

DRAWN = draw(2, 0)


def test_they_come_from_every_room_and_are_of_every_kind():
    assert len(DRAWN) >= 100
    assert {site.kind for site in DRAWN} == set(KINDS)
    assert {site.file.split("/")[1] for site in DRAWN} == set(ROOMS)
    assert len(set(DRAWN)) == len(DRAWN)
    assert draw(2, 0) == DRAWN
    assert draw(2, 1) != DRAWN


def test_each_changes_one_line_of_code():
    for site in DRAWN:
        source = (ROOT / site.file).read_bytes()
        before, after = source.splitlines(), site.apply(source).splitlines()
        assert [i for i, (a, b) in enumerate(zip(before, after, strict=True), 1) if a != b] == [
            site.line
        ]
        assert ast.dump(ast.parse(source)) != ast.dump(ast.parse(site.apply(source)))


EXAMPLE = '''
def f(x: list[3] = 2) -> "1 < 2":
    """1 + 1"""
    if x[0] < 1:
        raise ValueError(f"{x + 1}" + 7)
    return x.sum(dim=-1) * 0.5 + g(x == y, keepdim=True)
'''


def test_the_kinds(tmp_path):
    (tmp_path / "example.py").write_text(EXAMPLE)
    found = {(s.kind, s.before, s.after) for s in sites(tmp_path / "example.py", tmp_path)}
    assert found == {
        ("constant", "2", "3"),
        ("index", "0", "1"),
        ("comparison", "<", "<="),
        ("constant", "1", "2"),
        ("axis", "-1", "0"),
        ("sign", "*", "/"),
        ("constant", "0.5", "1.0"),
        ("sign", "+", "-"),
        ("comparison", "==", "!="),
        ("constant", "True", "False"),
    }


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A project of one file and its test."""
    for name, text in {
        "vqlearn/tokens/add.py": "def add(a, b):\n    return a + b * 1\n",
        "tests/tokens/test_add.py": "from vqlearn.tokens.add import add\n\n\n"
        "def test_add():\n    assert add(1, 2) == 3\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "KNOWN", tmp_path / "known.json")
    return tmp_path


def test_a_change_that_matters_is_noticed_and_another_survives(copy):
    found = {s.after: s for s in sites(copy / "vqlearn/tokens/add.py", copy) if s.kind == "sign"}
    assert mutants.try_out(found["-"], copy) == "tests/tokens/test_add.py"
    assert mutants.try_out(found["/"], copy) is None
    assert (copy / "vqlearn/tokens/add.py").read_text().endswith("a + b * 1\n")
    shutil.rmtree(copy / "tests")
    assert mutants.try_out(found["-"], copy) is None  # nobody looks


def test_tests_that_fail_anyway_notice_nothing(copy):
    (copy / "tests/tokens/test_add.py").write_text("def test_add():\n    assert False\n")
    site = Site("vqlearn/tokens/add.py", "sign", 2, 30, 31, "+", "-")
    with pytest.raises(RuntimeError, match="fail without any change"):
        mutants.try_out(site, copy)


def test_the_stored_report_adds_up_and_gives_every_survivor_a_reason():
    report = json.loads(mutants.REPORT.read_text(encoding="utf-8"))
    assert report["total"] == sum(share["total"] for share in report["kinds"].values()) >= 100
    assert report["killed"] == sum(share["killed"] for share in report["kinds"].values())
    assert report["killed"] >= 0.95 * report["total"]
    assert len(report["survivors"]) == report["total"] - report["killed"]
    assert all(len(one["reason"]) > 20 for one in report["survivors"])
    assert between(mutants.PAGE, "mutants") == mutants.table(report)
