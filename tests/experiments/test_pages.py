"""Every table of a page is what the code makes of the stored numbers."""

from pathlib import Path

import pytest

from vqlearn.experiments.__main__ import STUDIES
from vqlearn.experiments.pages import pages_with, table, write_tables
from vqlearn.lessons.marks import between

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", STUDIES)
def test_the_tables_of_the_pages_are_those_of_the_stored_runs(name):
    study = STUDIES[name]
    for mark, text in study.tables(study.read(ROOT / "figures")).items():
        pages = pages_with(ROOT, mark)
        assert pages, f"no page has the mark {mark}"
        for page in pages:
            assert between(page, mark) == text, f"run `{study.command}`"


def test_tables_are_written_between_their_marks_on_every_page(tmp_path):
    pages = [tmp_path / "README.md", tmp_path / "figures" / "a.md"]
    pages[1].parent.mkdir()
    for page in pages:
        page.write_text("# Title\n<!-- b -->\n<!-- /b -->\nEnd\n")
    text = table(("name", "bits"), [["x", "1.5"]])
    write_tables(tmp_path, {"b": text, "c": "nowhere"})
    assert text == "| name | bits |\n| --- | --- |\n| x | 1.5 |"
    for page in pages:
        assert page.read_text() == f"# Title\n<!-- b -->\n{text}\n<!-- /b -->\nEnd\n"
