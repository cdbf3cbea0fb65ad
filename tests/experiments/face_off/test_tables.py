"""Tables of the face-off against reports made by hand."""

import pytest
from support.face_off_reports import put, put_right, typed, whole_report

from vqlearn.experiments.face_off.costs import COSTS
from vqlearn.experiments.face_off.results import tables
from vqlearn.experiments.face_off.results.claims import CLAIMS
from vqlearn.experiments.face_off.study import STUDY
from vqlearn.experiments.systems import LABELS, SYSTEMS, VARIANTS


@pytest.fixture
def report():
    return whole_report()


def cells(text):
    """The rows of a table in Markdown, below its titles: the name and its cells."""
    titles, line, *rows = [row.strip("|").split("|") for row in text.splitlines()]
    assert {part.strip() for part in line} == {"---"}
    assert {len(row) for row in rows} == {len(titles)}
    return [part.strip() for part in titles], {
        row[0].strip(): [part.strip() for part in row[1:]] for row in rows
    }


def test_the_table_of_quality(report):
    put(
        report,
        "quality",
        "raster",
        ("by_composition", "seen", "bits_per_token", "mean"),
        (0.1, 0.2, 0.6),
    )
    put(
        report,
        "quality",
        "raster",
        ("by_composition", "held_out", "bits_per_token", "mean"),
        (2.0, 3.0, 4.0),
    )
    for i, (composition, guided) in enumerate(
        (("seen", False), ("held_out", False), ("seen", True), ("held_out", True))
    ):
        values = [0.1 * (i + 1)] * 2 + [0.1 * (i + 1) + 0.03]
        put_right(report, "raster", composition, (guided, None), values)
    put_right(report, "direct", "seen", (False, 100), (0.2, 0.2, 0.5))
    put_right(report, "causal", "seen", (True, 25), (0.7, 0.8, 0.9))
    put_right(report, "causal", "seen", (True, 100), (0.0,))
    for name in ("multinomial/1", "multinomial/2", "imagebart/0", "imagebart/1", "imagebart/2"):
        del report[f"quality/{name}"]
    titles, rows = cells(tables.quality_table(typed(report)))
    assert titles[0] == "system"
    assert list(rows) == [label for name, label in LABELS.items() if name != "imagebart"]
    assert rows["raster transformer"] == [
        *("3", "0.300 (0.100 to 0.600)", "3.000 (2.000 to 4.000)"),
        *("11 (10 to 13)", "21 (20 to 23)", "31 (30 to 33)", "41 (40 to 43)"),
    ]
    assert rows["multinomial"] == ["1", "1.000", "1.000", "50", "50", "50", "50"]
    direct = rows["VQ-Diffusion, predicting x_{t-1}"]
    assert direct[3:] == ["30 (20 to 50)", "50 (50 to 50)", "", ""]
    assert rows["VQ-Diffusion, causal attention"][5] == "80 (70 to 90)"


def test_the_table_of_calls(report):
    for i, calls in enumerate((100, 50, 25, 10, 5)):
        for guided in (False, True):
            value = 0.1 * (i + 1) + 0.05 * guided
            put_right(report, "absorbing", "seen", (guided, calls), (value,))
    titles, rows = cells(tables.calls_table(typed(report)))
    assert titles[1:] == [f"{way} {n}" for way in ("plain", "guided") for n in (100, 50, 25, 10, 5)]
    plain, guided = ["10", "20", "30", "40", "50"], ["15", "25", "35", "45", "55"]
    assert rows["absorbing (masks only)"] == plain + guided
    left_out = {*VARIANTS, "raster", "imagebart"}
    assert set(rows) == {label for name, label in LABELS.items() if name not in left_out}
    del report["quality/absorbing/0"]  # the other seeds have not all calls
    assert "absorbing (masks only)" not in cells(tables.calls_table(typed(report)))[1]


def test_the_table_of_costs(report):
    seconds = {"1": 0.01234, "8": 0.5, "32": 12.0}
    found = {"operations_per_image": 1_234_000_000, "seconds_per_image": seconds}
    report["cost/imagebart/64"]["result"] = found
    report["cost/imagebart/1024"]["result"]["operations_per_image"] = 98_760_000_000
    titles, rows = cells(tables.cost_table(typed(report)))
    assert list(rows) == list(COSTS)
    assert titles[1:] == [
        *("64 tokens: 10⁹ operations", "64 tokens: s, 1 at once", "64 tokens: s, 8"),
        *("64 tokens: s, 32", "1,024: 10⁹ operations", "1,024: s, 1 at once", "1,024: s, 8"),
        "1,024: s, 32",
    ]
    assert rows["imagebart"] == ["1.23", "0.0123", "0.5", "12", "98.8", "1", "0.5", "0.25"]
    assert rows["raster"] == ["2", "1", "0.5", "0.25"] * 2
    del report["cost/imagebart/64"]
    with pytest.raises(KeyError, match="cost/imagebart/64"):
        tables.cost_table(typed(report))


def test_the_table_of_cuda_has_what_was_measured(report):
    for id in list(report):
        if id.startswith("cuda-cost/") and id != "cuda-cost/imagebart/1024":
            del report[id]
    seconds = {"1": 0.01234, "8": 2.0, "32": 3.0}
    report["cuda-cost/imagebart/1024"]["result"]["seconds_per_image"] = seconds
    head, _, text = tables.cuda_part(typed(report)).split("\n", maxsplit=2)
    titles, rows = cells(text)
    assert head.startswith("On CUDA (a GPU), ")
    assert titles == ["way", "tokens", "s, 1 at once", "s, 8 at once", "s, 32 at once"]
    assert rows == {"imagebart": ["1,024", "0.0123", "2", "3"]}
    del report["cuda-cost/imagebart/1024"]
    assert tables.cuda_part(typed(report)) == "Nothing was measured on CUDA."


def test_the_table_of_errors(report):
    put(report, "errors", "absorbing", ("untouched", "share"), (0.9, 0.9, 0.9))
    put(report, "errors", "absorbing", ("by_amount", "one", "accuracy", "share"), (0.7, 0.8, 0.9))
    put(report, "errors", "absorbing", ("by_amount", "0.1", "accuracy", "share"), (0.4, 0.4, 0.4))
    put(report, "errors", "absorbing", ("by_amount", "0.4", "accuracy", "share"), (0.0, 0.1, 0.2))
    for i, what in enumerate(("changed_share", "replaced_share", "corrected_share")):
        put(report, "errors", "absorbing", ("by_amount", "0.1", what), ((i + 1) / 100,) * 3)
    titles, rows = cells(tables.errors_table(typed(report)))
    assert titles[1:5] == ["none wrong: right, %", "one", "10 %", "40 %"]
    assert titles[5:] == ["10 %: lost changed", "10 %: replaced", "10 %: corrected"]
    assert list(rows) == [LABELS[name] for name in SYSTEMS]
    captions = ["90 (90 to 90)", "80 (70 to 90)", "40 (40 to 40)", "10 (0 to 20)"]
    outcomes = ["1 (1 to 1)", "2 (2 to 2)", "3 (3 to 3)"]
    assert rows["absorbing (masks only)"] == captions + outcomes
    assert rows["multinomial"][4:] == ["10 (10 to 10)", "50 (50 to 50)", "25 (25 to 25)"]


def test_the_table_of_directions(report):
    sides = ("upper", "lower", "left", "right")
    for i, composition in enumerate(("seen", "held_out")):
        for j, side in enumerate(sides):
            path = (composition, side, "accuracy", "share")
            put(report, "directions", "causal", path, (0.4 * i + 0.1 * j,) * 3)
    for seed in (1, 2):
        del report[f"directions/causal/{seed}"]
    titles, rows = cells(tables.directions_table(typed(report)))
    assert titles[1:] == [*sides, *(f"{side}, never seen" for side in sides)]
    assert rows["VQ-Diffusion, causal attention"] == ["0", "10", "20", "30", "40", "50", "60", "70"]
    assert len(rows) == 7


def test_the_table_of_exposure_bias(report):
    put(report, "forcing", "imagebart", ("raster", "data", "mean"), (0.1, 0.2, 0.3))
    put(
        report,
        "forcing",
        "imagebart",
        ("vq-diffusion", "own", "mean"),
        (0.4, 0.5, 0.6),
    )
    for seed in (0, 1, 2):
        del report[f"forcing/multinomial/{seed}"]
    titles, rows = cells(tables.exposure_bias_table(typed(report)))
    assert titles[1:3] == ["raster: true sequences", "sampled"]
    assert titles[3:] == ["VQ-Diffusion: true sequences", "sampled"]
    assert rows["ImageBART, 2 scales"] == [
        *("0.200 (0.100 to 0.300)", "2.000 (2.000 to 2.000)"),
        *("1.000 (1.000 to 1.000)", "0.500 (0.400 to 0.600)"),
    ]
    assert "multinomial" not in rows


def test_the_table_of_errors_above(report):
    paths = {("accuracy", "share"): (0.7, 0.8, 0.9), ("changed_share",): (0.1, 0.2, 0.3)}
    paths[("corrected_share",)] = (0.4,) * 3
    for what, values in paths.items():
        path = ("free", "by_amount", "0.1", *what)
        put(report, "downstream", "vq-diffusion", path, values)
    titles, rows = cells(tables.downstream_table(typed(report)))
    assert titles[1:4] == ["none wrong: right, %", "one", "10 %"]
    assert titles[4:] == ["one: lost changed", "10 %", "one: corrected", "10 %"]
    ways = ("keeps the upper half", "may change it")
    assert list(rows) == [
        f"raster transformer, {ways[0]}",
        *(f"VQ-Diffusion, released schedule, {way}" for way in ways),
    ]
    half, tenth, quarter = ("50 (50 to 50)", "10 (10 to 10)", "25 (25 to 25)")
    same = [half, half, half, tenth, tenth, quarter, quarter]
    *others, free = rows.values()
    assert others == [same, same]
    assert free[2::2] == ["80 (70 to 90)", "20 (10 to 30)", "40 (40 to 40)"]
    assert free[:2] + free[3:6:2] == [half, half, tenth, quarter]


def test_the_table_of_bits_by_correctness(report):
    report["strangeness/raster/0"]["result"]["wrong"] = {"sequences": 1}
    report["strangeness/raster/1"]["result"]["right"]["sequences"] = (
        99  # only the first seed is told
    )
    titles, rows = cells(tables.correctness_table(typed(report)))
    assert titles == ["sequences", "number", "mean", "standard error", "median"]
    assert rows["raster transformer, sampled, wrong caption"] == ["1", "", "", ""]
    assert rows["raster transformer, sampled, right caption"] == ["50", "0.500", "0.100", "0.250"]
    assert len(rows) == 6


def test_the_table_of_captions(report):
    put(report, "captions", "absorbing", ("bits", "mean"), (0.5, 0.6, 0.7))
    put(report, "captions", "absorbing-auxiliary-0", ("bits", "mean"), (0.8,))
    put(report, "captions", "absorbing-auxiliary-0.01", ("bits", "mean"), (0.9,))
    del report["captions/uniform-auxiliary-0/0"]
    titles, rows = cells(tables.letters_table(typed(report)))
    assert titles[2:] == ["auxiliary weight 0", "auxiliary weight 0.01"]
    assert rows["absorbing"] == ["0.600 (0.500 to 0.700)", "0.800", "0.900"]
    assert rows["uniform"] == ["0.600 (0.600 to 0.600)", "", "0.600"]
    assert rows["raster"] == ["0.600 (0.600 to 0.600)", "", ""]  # it has no auxiliary loss


def test_the_table_of_verdicts(report):
    read = typed(report)
    _, rows = cells(tables.verdict_table(read))
    assert list(rows) == [claim.text for claim in CLAIMS]
    in_short = cells(tables.claims_table(read))[1]
    for claim in CLAIMS:
        verdict = f"**{claim.verdict(read)}**"
        assert rows[claim.text] == [verdict, claim.reason(read)]
        assert in_short[claim.text] == [verdict, claim.span(read)]
    for name in ("quality/causal", "errors/raster", "directions/raster", "forcing/raster"):
        some = whole_report()
        for seed in (0, 1, 2):
            del some[f"{name}/{seed}"]
        with pytest.raises(KeyError, match=f"none of the runs {name}/"):
            tables.verdict_table(typed(some))


def test_the_sentences_of_the_page(report):
    for calls, seconds in ((100, 0.5), (50, 0.3), (25, 0.1), (10, 0.07), (5, 0.03)):
        report[f"cost/diffusion {calls}/64"]["result"]["seconds_per_image"]["1"] = seconds
    report["quality/raster/0"]["machine"] = "a GPU"
    read = typed(report)
    assert "The CPU was one core." in tables.seconds_sentence(read)
    assert "took from 4.0 to 7.0 milliseconds" in tables.seconds_sentence(read)
    assert "a CPU (104 of 105 runs), a GPU (1 of 105 runs)" in tables.machines_sentence(read)
    assert "hold 0.500 bits" in tables.floor_sentence(read)


def test_the_page_can_be_made_of_what_it_waits_for(report):
    least = {id: run for id, run in report.items() if id in STUDY.needed}
    assert 80 < len(least) < len(report) / 2
    assert all(tables.all_tables(typed(least)).values())
    needed = ("quality/direct/0", "errors/imagebart/0", "forcing/raster/0", "cost/diffusion 5/16")
    assert {*needed, "captions/uniform-auxiliary-0.01/0"} <= STUDY.needed
    assert not {"quality/raster/1", "forcing/absorbing/0", "cuda-cost/raster/64"} & STUDY.needed
