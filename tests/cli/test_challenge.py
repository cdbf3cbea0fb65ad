"""`vqlearn challenge`: the leaderboard of the repository, what is refused, what is left out."""

import csv

import pytest
from support.challenge_toys import EXAMPLES
from support.command import run_command

from vqlearn.challenge import task
from vqlearn.challenge.leaderboard import prompts_of


def rows(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def few_prompts(monkeypatch):
    init = task.ScenesTask.__init__
    monkeypatch.setattr(task.ScenesTask, "__init__", lambda self, word: init(self, word, 2))


def test_the_stored_leaderboard_is_what_the_command_writes(tmp_path, monkeypatch, capsys):
    """The whole score of the baseline; other processors round differently, so not to the digit."""
    file = tmp_path / "board.csv"
    code, stdout, _ = run_command(
        monkeypatch, capsys, "challenge", EXAMPLES / "baseline.py", "--leaderboard", file
    )
    assert code == 0
    assert stdout.splitlines()[1].startswith("baseline: 3")
    assert stdout.splitlines()[-1] == str(file)
    (found,) = rows(file)
    stored = {row["name"]: row for row in rows(EXAMPLES / "leaderboard.csv")}
    assert stored["slow_start"]["rank"] == "1"
    assert set(stored) == {path.stem for path in EXAMPLES.glob("*.py")}
    for column in ("accuracy", "low", "high", "seen", "never_seen"):
        assert float(found[column]) == pytest.approx(float(stored["baseline"][column]), abs=0.03)
    assert (found["evaluations"], found["prompts"]) == ("10", "public")


@pytest.mark.usefixtures("few_prompts")
def test_a_folder_is_scored_on_held_back_prompts(tmp_path, monkeypatch, capsys):
    """A folder for each student, as for `vqlearn grade`; a bad submission stops no other."""
    folder, file = tmp_path / "class", tmp_path / "board.csv"
    for name, text in {
        "ada": (EXAMPLES / "slow_start.py").read_text(),
        "bob": "def unmask(network, num_images):\n    return network\n",
    }.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "mine.py").write_text(text)
    (folder / "cyd").mkdir()
    code, stdout, _ = run_command(
        *(monkeypatch, capsys, "challenge", folder),
        *("--leaderboard", file, "--held-back", "some secret words"),
    )
    assert code == 0
    found = {row["name"]: row for row in rows(file)}
    assert {row["prompts"] for row in found.values()} == {prompts_of("some secret words")}
    assert found["ada"]["evaluations"] == "10"
    assert "TypeError" in found["bob"]["note"]
    assert found["cyd"]["note"].startswith("no .ipynb or .py file")
    assert [line.split(":")[0] for line in stdout.splitlines()[1:-1]] == ["ada", "bob", "cyd"]
    assert "bob: no score: TypeError" in stdout


REFUSED = {
    "no file": (["nowhere"], "SUBMISSIONS is 'nowhere'; allowed: a file or a folder"),
    "nothing in it": (["empty"], "SUBMISSIONS is 'empty'; allowed: one with .py or .ipynb files"),
    "an empty word": (["a.py", "--held-back", ""], "--held-back has 0 characters; allowed: 12"),
    "a short word": (["a.py", "--held-back", "public"], "--held-back has 6 characters; allowed: "),
    "a folder as a file": (["a.py", "--leaderboard", "empty"], "--leaderboard is 'empty'"),
    "another file": (["a.py", "--leaderboard", "a.py"], "a.py is no leaderboard"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named_and_nothing_is_written(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n")
    arguments, message = REFUSED[name]
    code, stdout, stderr = run_command(monkeypatch, capsys, "challenge", *arguments)
    assert (code, stdout) == (1, "")
    assert message in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.py", "empty"]
    assert (tmp_path / "a.py").read_text() == "x = 1\n"
