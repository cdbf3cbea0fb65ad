"""Results in the file, on the page and in the plot."""

import json

import pytest
from bench import __main__ as command
from bench import cases, page, store
from bench.case import CUDA, Case, Result, Setting
from bench.cases import CASES
from bench.growth_plot import PLOT
from bench.machine import Machine, cpu_flags, this_machine
from bench.pairs import Alone, Comparison
from bench.store import Results

from vqlearn.lessons.marks import between

MACHINE = Machine("CPU", 2, ("avx2", "avx512_bf16"), 1, {"torch": "2.0", "diffusers": "1"})
OTHER = Machine("a GPU", 16, (), 8, {"torch": "2.0"})
CLEAR = Comparison((0.31234567, 0.3, 0.33), (0.1, 0.1, 0.1))
NOISE = Comparison((0.1, 0.2, 0.3), (0.15, 0.15, 0.15))
MARKS = "".join(f"<!-- {mark} -->\n<!-- /{mark} -->\n" for mark in page.tables(Results()))


def some_results():
    return (
        Results()
        .including("cpu", "posterior", Result(MACHINE, CLEAR))
        .including("cpu", "truncation", Result(MACHINE, NOISE))
        .including("cpu", "memory/scenes", Result(MACHINE, Comparison((2000.0,), (1234.0,), "MiB")))
        .including("cpu", "start/help", Result(MACHINE, alone=Alone((1.5, 2.0, 2.5))))
        .including("cuda", "posterior", Result(OTHER, Comparison((4.0,), (5.0,))))
    )


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The file of results and the page, both without results, in a folder of their own."""
    (tmp_path / "bench.md").write_text(MARKS)
    monkeypatch.setattr(store, "RESULTS", tmp_path / "bench.json")
    monkeypatch.setattr(page, "PAGE", tmp_path / "bench.md")
    return tmp_path


def test_results_come_back_from_the_file_with_four_digits(tmp_path):
    file = tmp_path / "bench.json"
    store.write(some_results(), file)
    found = store.read(file)
    assert found.devices["cpu"].pop("posterior").comparison.theirs == (0.3123, 0.3, 0.33)
    expected = some_results()
    expected.devices["cpu"].pop("posterior")
    assert found == expected
    assert json.loads(file.read_text())["command"] == "make bench"


def test_without_a_file_there_are_no_results(tmp_path):
    assert store.read(tmp_path / "none.json") == Results()


def test_a_newer_result_takes_the_place_of_one_and_others_stay():
    before = some_results()
    after = before.including("cpu", "posterior", Result(OTHER, NOISE))
    assert after.devices["cpu"].pop("posterior") == Result(OTHER, NOISE)
    assert before.devices["cpu"].pop("posterior") == Result(MACHINE, CLEAR)
    assert after == before


def test_a_line_for_each_result_in_the_order_of_the_cases():
    lines = page.main_table(some_results()).splitlines()
    what = [CASES[name].what for name in ("truncation", "posterior", "start/help")]
    assert lines[2] == f"| {what[0]} | diffusers | 200 ms | 150 ms | too noisy to tell | A |"
    third = "3.12 (3.06 to 3.21)"
    assert lines[3] == f"| {what[1]} | diffusers | 312 ms | 100 ms | {third} | A |"
    assert lines[4] == f"| {what[1]} | diffusers | 4 s | 5 s | 0.8 (0.8 to 0.8) | B |"
    assert lines[5] == f"| {what[2]} |  |  | 2 s (1.75 to 2.25) |  | A |"
    assert "| 2,000 MiB | 1,234 MiB | 1.62 (1.62 to 1.62) | A |" in lines[6]
    assert len(lines) == 7


def test_a_result_without_a_case_stays_in_the_file_and_off_the_page(tmp_path):
    results = Results().including("cpu", "gone", Result(MACHINE, CLEAR))
    assert page.main_table(results) == ""
    store.write(results, tmp_path / "bench.json")
    assert "gone" in store.read(tmp_path / "bench.json").devices["cpu"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        ((0.9, 0.99, 1.1), "990 ms (945 to 1,045)"),
        ((1.0, 1.5, 1234.5), "1.5 s (1.25 to 618)"),
    ],
)
def test_quartiles_have_the_unit_of_the_median(seconds, shown):
    results = Results().including("cpu", "start/help", Result(MACHINE, alone=Alone(seconds)))
    assert f"| {shown} |" in page.main_table(results)


def test_a_machine_is_the_same_when_it_comes_from_the_file(files):
    store.write(some_results(), store.RESULTS)
    both = store.read(store.RESULTS).including("cpu", "raster", Result(MACHINE, CLEAR))
    assert page.machine_list(both) == page.machine_list(some_results())


def test_machines_have_letters():
    assert page.machine_list(some_results()).splitlines() == [
        "- A: CPU; 2 cores with avx2, avx512_bf16; threads of torch: 1; diffusers 1, torch 2.0",
        "- B: a GPU; 16 cores; threads of torch: 8; torch 2.0",
    ]


def test_flags_are_those_of_the_first_core():
    x86 = "processor: 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor: 1\nflags: amx_bf16\n"
    assert cpu_flags(x86) == ("avx2", "avx512_bf16")
    assert cpu_flags("Features : fp asimd bf16\n") == ("asimd", "bf16")
    assert cpu_flags("") == ()
    found = this_machine("cpu")
    assert found.device == "CPU"
    assert found.versions["diffusers"].startswith("0.")


@pytest.fixture
def two_cases(monkeypatch):
    asked = []

    def case(name, found, needs=None):
        return Case(f"what {name} does", "x", lambda setting: asked.append(setting) or found, needs)

    small = {"a": case("a", CLEAR), "b/c": case("b", NOISE), "d": case("d", CLEAR, CUDA)}
    for module in (cases, page):
        monkeypatch.setattr(module, "CASES", small)
    return asked


def test_the_command_measures_all_or_some_and_keeps_the_others(files, two_cases, capsys):
    command.main(["--pairs", "2", "--device", "cpu"])
    assert two_cases == [Setting(2, "cpu", False)] * 2
    assert list(store.read(files / "bench.json").devices["cpu"]) == ["a", "b/c"]
    assert "what b does" in between(files / "bench.md", "bench")
    assert "| what a does |" in capsys.readouterr().out
    command.main(["--only", "b", "--device", "cpu", "--full-depth"])
    assert two_cases[2:] == [Setting(10, "cpu", True)]
    assert list(store.read(files / "bench.json").devices["cpu"]) == ["a", "b/c"]


def test_each_result_is_kept_as_soon_as_it_is_there(files, two_cases, monkeypatch):
    def stopped(setting):
        raise KeyboardInterrupt

    monkeypatch.setitem(cases.CASES, "b/c", Case("", "", stopped))
    with pytest.raises(KeyboardInterrupt):
        command.main(["--device", "cpu"])
    assert list(store.read(files / "bench.json").devices["cpu"]) == ["a"]
    assert "what a does" in between(files / "bench.md", "bench")


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="--pairs is 0"):
        command.main(["--pairs", "0", "--device", "cpu"])


def test_the_page_shows_what_is_stored():
    results = store.read(store.RESULTS)
    for mark, text in page.tables(results).items():
        assert between(page.PAGE, mark) == text
    assert (page.PAGE.parent / PLOT).exists() == bool(page.growth_table(results))
