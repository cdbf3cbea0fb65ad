"""The leaderboard: its order, whose row is replaced, and files that are none."""

import csv

import pytest

from vqlearn.challenge import Leaderboard, TaskScore
from vqlearn.challenge.leaderboard import COLUMNS, prompts_of
from vqlearn.evaluation.diversity import Diversity
from vqlearn.evaluation.frontier import Point


def scored(right, total=10, evaluations=10):
    """So many prompts with both images right, of which the model has seen the pairs."""
    digits = "2" * right + "0" * (total - right)
    spread = {"all": Diversity(0.5, (0.25, 0.75), right)} if right > 1 else {}
    kinds = {"seen": Point(digits, spread), "held_out": Point("1" * total, {})}
    return TaskScore(Point(digits, spread), kinds, evaluations)


def rows(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def ranks(file):
    return [(row["rank"], row["name"]) for row in rows(file)]


def test_the_most_accurate_is_first_and_equal_ones_share_a_rank(tmp_path):
    board = Leaderboard(tmp_path / "board.csv")
    found = {"ada": scored(4), "bob": scored(6), "cyd": "it is no notebook", "dan": scored(4)}
    for name, each in {**found, "eve": scored(0), "fay": scored(3)}.items():
        board.add(name, each)
    expected = [("1", "bob"), ("2", "ada"), ("2", "dan"), ("4", "fay"), ("5", "eve"), ("", "cyd")]
    assert ranks(tmp_path / "board.csv") == expected


def test_a_row_says_all_of_a_score(tmp_path):
    row = Leaderboard(tmp_path / "board.csv").add("ada", scored(5, evaluations=7))
    assert rows(tmp_path / "board.csv") == [row]
    assert tuple(row) == COLUMNS
    low, high = (float(row[name]) for name in ("low", "high"))
    assert (round(low, 3), round(high, 3)) == (0.237, 0.763)  # Wilson's, of 5 in 10
    del row["low"], row["high"]
    assert row == {
        "rank": "1",
        "name": "ada",
        "accuracy": "0.5000",
        "seen": "0.5000",
        "never_seen": "0.5000",
        "diversity": "0.50",
        "evaluations": "7",
        "behind_first": "",
        "note": "",
        "prompts": "public",
        "right_images": "#2222200000",
    }
    assert Leaderboard(tmp_path / "other.csv").add("bob", scored(1))["diversity"] == ""


def test_how_far_it_is_behind_the_first_is_paired_over_prompts(tmp_path):
    """By hand: of 10 prompts 2 differ, by 1 each; the standard deviation is sqrt(1.6 / 9)."""
    board = Leaderboard(tmp_path / "board.csv")
    board.add("ada", scored(6))
    row = board.add("bob", scored(4))
    half = 1.959964 * (1.6 / 9 / 10) ** 0.5
    assert row["behind_first"] == f"0.2000 ({0.2 - half:.4f} to {0.2 + half:.4f})"
    Leaderboard(tmp_path / "board.csv").add("bob", scored(7))
    assert [bool(row["behind_first"]) for row in rows(tmp_path / "board.csv")] == [False, True]


def test_a_later_submission_takes_the_place_of_the_earlier_one_also_in_another_run(tmp_path):
    file = tmp_path / "board.csv"
    board = Leaderboard(file)
    board.add("ada", scored(4))
    board.add("bob", scored(3))
    assert ranks(file) == [("1", "ada"), ("2", "bob")]
    Leaderboard(file).add("ada", scored(2))
    assert ranks(file) == [("1", "bob"), ("2", "ada")]
    Leaderboard(file).add("bob", "an error")
    assert ranks(file) == [("1", "ada"), ("", "bob")]
    assert [row["note"] for row in rows(file)] == ["", "an error"]
    assert rows(file)[1]["accuracy"] == ""


def test_names_and_notes_are_no_formulas_and_no_rows(tmp_path):
    file = tmp_path / "board.csv"
    Leaderboard(file).add('=HYPERLINK("x")\n1,mallory,1.0', scored(1))
    Leaderboard(file).add("@ada", "-1\n2,eve,1.0")
    assert [row["name"][:2] for row in rows(file)] == ["'=", "'@"]
    assert rows(file)[1]["note"] == "'-1 2,eve,1.0"
    Leaderboard(file).add("@ada", scored(2))
    assert len(rows(file)) == 2


def test_scores_on_other_prompts_do_not_mix(tmp_path):
    file = tmp_path / "board.csv"
    Leaderboard(file, "a word").add("ada", scored(4))
    before = file.read_bytes()
    assert b"a word" not in before
    assert prompts_of("a word").encode() in before
    for word in ("public", "another word"):
        with pytest.raises(ValueError, match=r"has scores on 'held back \w{8}' prompts; allowed: "):
            Leaderboard(file, word)
    assert file.read_bytes() == before
    Leaderboard(file, "a word").add("bob", scored(5))
    assert ranks(file) == [("1", "bob"), ("2", "ada")]


DAMAGED = {
    "empty": "",
    "something else": "name,points\nada,3\n",
    "a row too short": ",".join(COLUMNS) + "\n1,ada\n",
    "a row too long": ",".join(COLUMNS) + "\n" + "," * len(COLUMNS) + "\n",
    "no number": ",".join(COLUMNS) + "\n1,ada,good" + "," * 10 + "\n",
    "no digits": ",".join(COLUMNS) + "\n1,ada,0.5" + "," * 10 + "2.2E+199\n",
    "an open quote": ",".join(COLUMNS) + '\n1,"ada',
    "not UTF-8": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_leaderboard_is_refused_and_stays(name, tmp_path):
    file, content = tmp_path / "board.csv", DAMAGED[name]
    content = content.encode() if isinstance(content, str) else content
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"is no leaderboard; allowed: "):
        Leaderboard(file)
    assert file.read_bytes() == content
