"""The notebooks: their form, what they store, and whether their Check cells can fail."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import nbformat
import pytest

from vqlearn.lessons import badges, notebook, run, show, source, table

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OFFLINE = ROOT / "tests" / "offline"
HEADINGS = [
    "Goal",
    "Intuition",
    "By hand",
    "Maths",
    "Naive code",
    "The package",
    "Check",
    "Exercises",
    "In the papers",
]
A_PATH_OF_A_MACHINE = re.compile(r"(?<![\w.])/(home|root|Users|tmp|work|usr|opt|var)/")

each_lesson = pytest.mark.parametrize("file", LESSONS, ids=lambda file: file.stem)


def sources(cells):
    return [cell.source for cell in cells]


def prose(file):
    """The text cells."""
    return [cell.source for cell in notebook.read(file).cells if cell.cell_type == "markdown"]


def body(file):
    """All cells before the papers and the appendices."""
    cells = notebook.read(file).cells
    ends = (i for i, text in enumerate(sources(cells)) if "## In the papers" in text)
    return cells[: next(ends, len(cells))]


def words(text):
    """How many words a reader reads, tables, formulas and code not counted."""
    without = re.sub(r"```.*?```|\$\$.*?\$\$|\$[^$]*\$|^\|.*$|<[^>]+>", "", text, flags=re.S | re.M)
    return len(without.split())


@each_lesson
def test_every_lesson_has_its_headings(file):
    """What follows them are appendices."""
    found = re.findall(r"^## (.+)$", "\n".join(prose(file)), re.MULTILINE)
    assert found[: len(HEADINGS)] == HEADINGS
    assert all(heading.startswith("Appendix") for heading in found[len(HEADINGS) :])


@each_lesson
def test_predictions_are_few_and_their_answers_are_folded(file):
    """The output that gives an answer away is folded too."""
    text = "\n".join(prose(file))
    assert 4 <= text.count("**Predict") <= 5
    assert text.count("<details>") == text.count("</details>") >= text.count("**Predict")
    assert any(cell.metadata.get("jupyter", {}).get("outputs_hidden") for cell in body(file))


@each_lesson
def test_text_cells_are_short(file):
    assert max(map(words, prose(file))) <= 250


@each_lesson
def test_plotting_code_is_hidden(file):
    for cell in notebook.code_cells(notebook.read(file)):
        if "plt." in cell.source or "ax." in cell.source or "axes" in cell.source:
            assert cell.metadata.get("jupyter", {}).get("source_hidden"), cell.source


PAPERS = re.compile(
    r"\]\((https://(?:arxiv\.org/abs/|doi\.org/|openreview\.net/|proceedings\.)[^)\s]+)\)"
)


@each_lesson
def test_ideas_are_cited(file):
    text = "\n".join(prose(file))
    assert len(PAPERS.findall(text[text.index("## In the papers") :])) >= 3


def test_the_series_cites_the_field():
    links = [link for file in LESSONS for link in PAPERS.findall("\n".join(prose(file)))]
    assert len(links) >= 60
    assert len(set(links)) >= 30


DIALECT = r"\b(laws?|sentences?|pictures?|calls?|said|unsaid|rows? of tokens)\b"


def test_lessons_speak_the_language_of_the_papers():
    """Each of these words at most once in the series, as a gloss."""
    found = [
        word.lower()
        for file in LESSONS
        for cell in notebook.read(file).cells
        for word in re.findall(DIALECT, cell.source, re.IGNORECASE)
    ]
    singular = [word.removesuffix("s") for word in found]
    assert {word: singular.count(word) for word in singular if singular.count(word) > 1} == {}


TAUGHT = (
    *("Markov chain", "ELBO", "marginal", "logits", "absorbing", "classifier-free"),
    *("exposure bias", "signal-to-noise", "mutual information", "total correlation", "nucleus"),
)


@pytest.mark.parametrize("term", TAUGHT)
def test_terms_of_the_papers_occur(term):
    assert any(term.lower() in text.lower() for file in LESSONS for text in prose(file))


@each_lesson
def test_every_cell_was_run_in_order_and_none_failed(file):
    cells = notebook.code_cells(notebook.read(file))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


@each_lesson
def test_cells_are_many_and_short(file):
    cells = body(file)
    lengths = [len(cell.source.splitlines()) for cell in cells if cell.cell_type == "code"]
    assert 30 <= len(cells) <= 80
    assert median(lengths) <= 6
    assert max(lengths) <= 20


@each_lesson
def test_nothing_names_a_machine(file):
    for cell in notebook.read(file).cells:
        assert not A_PATH_OF_A_MACHINE.search(cell.source)
        if cell.cell_type == "code":
            assert not A_PATH_OF_A_MACHINE.search(notebook.printed(cell))
            assert "object at 0x" not in str(cell.outputs)


@each_lesson
def test_outputs_are_compared(file):
    """No cell is skipped; at most two outputs are ignored, each checked by the next code cell."""
    cells = notebook.code_cells(notebook.read(file))
    tags = [cell.metadata.get("tags", []) for cell in cells]
    assert not [tag for each in tags for tag in each if tag in ("nbval-skip", "raises-exception")]
    assert not [text for text in sources(cells) if "NBVAL_" in text]
    ignored = [i for i, each in enumerate(tags) if "nbval-ignore-output" in each]
    assert len(ignored) <= 2
    assert all("assert " in cells[i + 1].source for i in ignored)


@each_lesson
def test_the_check_holds_assertions_and_three_pieces_are_shown(file):
    cells = notebook.read(file).cells
    assert 1 <= len(notebook.shown(notebook.read(file))) <= 3
    inside = sources(cells[first_check_cell(cells) :])
    assert sum("assert " in text for text in inside) >= 1


@each_lesson
def test_no_lesson_is_stale(file):
    assert not notebook.is_stale(notebook.read(file)), "run `make notebooks`"


@each_lesson
def test_links_lead_somewhere(file):
    cells = notebook.read(file).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)#]+?)\)", text)
    inside = [link for link in links if not link.startswith("http")]
    assert inside
    assert all((file.parent / link).exists() for link in inside), inside


def test_the_table_of_lessons_is_that_of_the_lessons():
    page = (ROOT / "notebooks" / "README.md").read_text()
    assert table.table(LESSONS) in page


def first_check_cell(cells):
    return next(i for i, text in enumerate(sources(cells)) if "\n## Check" in f"\n{text}")


# What goes wrong if the package is wrong ---------------------------------------------------------

MUTANTS = {
    "00_tour": (
        "diffusion/sampler.py",
        "process.log_reverse(log_p_x0, x_t, s, t), generator",
        "process.log_reverse(log_p_x0, x_t, t - 1, t), generator",
    ),
    "01_images_as_tokens": (
        "tokens/quantizer.py",
        "return distances.argmin(1)",
        "return distances.argmax(1)",
    ),
    "02_forward_process": (
        "diffusion/process.py",
        "(alpha + beta, beta, gamma))",
        "(alpha, beta, gamma))",
    ),
    "03_posterior": (
        "diffusion/process.py",
        "Mixing(unmask * at_s.alpha_bar, unmask",
        "Mixing(unmask * at_s.beta_bar, unmask",
    ),
    "04_denoiser": (
        "transformer/layers.py",
        "scale, shift = rearrange(scale_shift",
        "shift, scale = rearrange(scale_shift",
    ),
    "05_objective_and_training": (
        "diffusion/objective.py",
        "adaptive = 2 - (t - 1).to(bound)",
        "adaptive = 2 - t.to(bound)",
    ),
    "06_sampling": ("probability/random.py", "threshold, right=True)", "threshold, right=False)"),
    "07_discrete_family": (
        "diffusion/parameterisations.py",
        "log_p = log_step + self.process.log_marginal_under(finest, s)",
        "log_p = self.process.log_marginal_under(finest, s)",
    ),
    "08_continuous_and_discrete": (
        "continuous/gaussian.py",
        "to_x_t = alpha.sqrt() * (1 - alpha_bar_s)",
        "to_x_t = alpha * (1 - alpha_bar_s)",
    ),
    "09_autoregressive": (
        "autoregressive/pixelcnn.py",
        "return (position < centre) | ((position == centre) & known)",
        "return (position < centre - 1) | ((position == centre) & known)",
    ),
    "10_parallel_decoding": (
        "autoregressive/imagebart.py",
        "x = sample_categorical(log_q, generator=generator)",
        "x = x_0",
    ),
    "11_comparison": (
        "probability/estimates.py",
        "ends = [sorted((c * each.low, c * each.high)) for c, each in terms]",
        "ends = [(c * each.low, c * each.high) for c, each in terms]",
    ),
    "12_improved_vq_diffusion": (
        "diffusion/reveal/orders.py",
        "score = moment.log_p_x0.amax(dim=-1)  # (b, n)",
        "score = -moment.log_p_x0.amax(dim=-1)  # (b, n)",
    ),
    "13_ithq": (
        "diffusion/reference.py",
        "unconditional + guidance_scale * (conditional - unconditional)",
        "conditional + guidance_scale * (conditional - unconditional)",
    ),
}


def nbval(file, python_path, folder):
    """Run a notebook without comparing outputs; returns the numbers of the code cells that fail."""
    path = os.pathsep.join(map(str, [*python_path, OFFLINE]))
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-rf",
         "-p", "no:cacheprovider", "--rootdir", folder, "-c", os.devnull, str(file)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode in (0, 1), result.stdout + result.stderr
    return [int(number) for number in re.findall(r"^FAILED .*::Cell (\d+)", result.stdout, re.M)]


@pytest.mark.parametrize("lesson", MUTANTS)
def test_a_planted_error_makes_the_check_fail(lesson, tmp_path):
    """Outputs are not compared: only the lesson's own assertions can see it."""
    name, right, wrong = MUTANTS[lesson]
    package = tmp_path / "site" / "vqlearn"
    shutil.copytree(
        ROOT / "vqlearn", package, ignore=shutil.ignore_patterns("weights", "__pycache__")
    )
    (package / "weights").symlink_to(ROOT / "vqlearn" / "weights")
    text = (package / name).read_text()
    assert text.count(right) == 1
    (package / name).write_text(text.replace(right, wrong))
    file = ROOT / "notebooks" / f"{lesson}.ipynb"
    cells = notebook.read(file).cells
    before_check = len(
        notebook.code_cells(notebook.NotebookNode(cells=cells[: first_check_cell(cells)]))
    )
    failed = nbval(file, [tmp_path / "site"], tmp_path)
    assert any(number >= before_check for number in failed), failed


# The tools ----------------------------------------------------------------------------------------


def a_notebook(*code):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in code])


SHOWS = """from vqlearn.lessons import show
from vqlearn.probability import random

show(random.uniform)"""


def test_a_lesson_is_stale_until_it_is_run_and_when_something_changes(tmp_path, monkeypatch):
    file = tmp_path / "lesson.ipynb"
    nbformat.write(a_notebook("1 + 1", SHOWS), file)
    assert notebook.is_stale(notebook.read(file))
    run.run(file)
    stored = notebook.read(file)
    assert not notebook.is_stale(stored)
    assert [cell.execution_count for cell in stored.cells] == [1, 2]
    assert stored.metadata["vqlearn"]["megabytes"] >= 100
    stored.cells[0].source = "1 + 2"
    assert notebook.is_stale(stored)
    monkeypatch.setattr(notebook, "source_of", lambda piece: "changed")
    assert notebook.is_stale(notebook.read(file))


def test_a_lesson_that_fails_is_left_as_it_was(tmp_path):
    file = tmp_path / "lesson.ipynb"
    nbformat.write(a_notebook("1 / 0"), file)
    before = file.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        run.run(file)
    assert file.read_bytes() == before


def test_show_prints_where_a_piece_stands_and_its_source(capsys):
    from vqlearn.diffusion.sampler import levels_to_visit

    show(levels_to_visit)
    printed = capsys.readouterr().out
    assert printed.startswith("# vqlearn/diffusion/sampler.py\ndef levels_to_visit(")
    assert printed.endswith("\n")
    with pytest.raises(TypeError, match=r"cannot be shown; allowed: a function"):
        show(len)
    with pytest.raises(TypeError, match=r"of vqlearn"):
        show(median)


def test_progress_is_silent_where_nobody_watches(capsys):
    assert list(source.progress(range(3), "steps")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_badges_come_and_go():
    lesson = a_notebook("1")
    with_badges = badges.with_badge(lesson, "00_tour.ipynb", "somebody/vqlearn")
    assert (
        "github/somebody/vqlearn/blob/main/notebooks/00_tour.ipynb" in with_badges.cells[0].source
    )
    assert "git clone --quiet --depth 1 https://github.com/somebody/vqlearn " in (
        with_badges.cells[1].source
    )
    again = badges.with_badge(with_badges, "00_tour.ipynb", "other/name")
    assert len(again.cells) == 3
    assert sources(badges.with_badge(again, "00_tour.ipynb", "").cells) == ["1"]
    with pytest.raises(ValueError, match=r"REPO is 'nobody'; allowed: owner/name"):
        badges.with_badge(lesson, "00_tour.ipynb", "nobody")


def test_the_install_cell_does_nothing_where_vqlearn_is_installed(tmp_path):
    file = tmp_path / "lesson.ipynb"
    nbformat.write(badges.with_badge(a_notebook("1"), "lesson.ipynb", "somebody/vqlearn"), file)
    run.run(file)
    assert notebook.printed(notebook.read(file).cells[1]) == ""


def test_the_table_names_question_time_memory_and_code(tmp_path):
    text = "# 07 · Odd things\n\n## Goal\n\nWhat is\nodd?\n\n*Runs in 3 seconds. Opens `a.py`.*\n"
    lesson = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    lesson.metadata["vqlearn"] = {"seconds": 3, "megabytes": 500}
    nbformat.write(lesson, tmp_path / "07_odd.ipynb")
    row = "| [07 · Odd things](07_odd.ipynb) | What is odd? | 3 s | 500 MB | `a.py` |\n"
    assert table.table([tmp_path / "07_odd.ipynb"]).endswith(row)
    nbformat.write(a_notebook("# no goal"), tmp_path / "08_none.ipynb")
    with pytest.raises(ValueError, match=r"08_none.ipynb has nothing like"):
        table.table([tmp_path / "08_none.ipynb"])


def test_the_network_of_notebooks_is_blocked():
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(OFFLINE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the network is blocked" in result.stderr
