"""Numbers out of a report of the face-off, and its tables, against reports made by hand."""

import pytest
from support.face_off_reports import put, whole_report

from vqlearn.experiments.face_off import tables
from vqlearn.experiments.face_off.claims import CLAIMS
from vqlearn.experiments.face_off.costs import COSTS
from vqlearn.experiments.face_off.results import LABELS, Seeds, cost, measured, over_seeds, right
from vqlearn.experiments.face_off.systems import SYSTEMS, VARIANTS


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


# results


def test_seeds_have_a_mean_and_ends():
    seeds = Seeds({2: 5.0, 0: 3.0, 1: 1.0})
    assert seeds.values == (3.0, 1.0, 5.0)
    assert (seeds.mean, seeds.low, seeds.high) == (3.0, 1.0, 5.0)
    assert seeds.text(".1f") == "3.0 (1.0 to 5.0)"
    assert seeds.text(".0f") == "3 (1 to 5)"
    assert Seeds({1: 0.25}).text(".2f") == "0.25"
    assert Seeds({1: 0.25}).percent() == Seeds({1: 25.0})


def test_seeds_are_combined_one_by_one():
    gaps = Seeds({0: 3.0, 1: 1.0, 2: 5.0}).over(Seeds({2: 7.0, 0: 1.0}), lambda a, b: a - b)
    assert gaps == Seeds({0: 2.0, 2: -2.0})  # of those that both have
    with pytest.raises(ValueError, match=r"seeds \[0\] and \[1\] have none in common"):
        Seeds({0: 3.0}).over(Seeds({1: 1.0}), lambda a, b: a - b)


def test_a_number_of_every_seed_in_order(report):
    put(report, "errors", "raster", ("0.2", "mended"), (0.1, 0.2, 0.3))
    assert over_seeds(report, "errors", "raster", "0.2", "mended").values == (0.1, 0.2, 0.3)
    del report["runs"]["errors/raster/1"]
    assert over_seeds(report, "errors", "raster", "0.2", "mended").values == (0.1, 0.3)
    with pytest.raises(KeyError, match="no-such"):
        over_seeds(report, "errors", "raster", "0.2", "no-such")


def test_a_name_is_not_the_beginning_of_another(report):
    """vq-diffusion-paper is not vq-diffusion, absorbing-auxiliary-0 is not absorbing."""
    put(report, "errors", "vq-diffusion-paper", ("one", "mended"), (9.0, 9.0, 9.0))
    assert over_seeds(report, "errors", "vq-diffusion", "one", "mended").values == (0.25,) * 3
    assert len(over_seeds(report, "captions", "absorbing", "bits", "mean").values) == 3


def test_what_was_not_run_is_named(report):
    with pytest.raises(KeyError, match="no run errors/causal/…; there are: quality/vq-diffusion/0"):
        over_seeds(report, "errors", "causal", "one", "mended")
    with pytest.raises(KeyError, match="no run errors/raster/"):
        over_seeds({"runs": {}}, "errors", "raster")


def test_right_sentences_by_way_and_calls(report):
    path = ("held_out", "drawn", "guided", "share")
    put(report, "quality", "raster", path, (0.1, 0.2, 0.3))
    for calls in (25, 5):  # a raster network has no choice
        assert right(report, "raster", "held_out", calls=calls).values == (0.1, 0.2, 0.3)
    assert right(report, "raster", "held_out", "plain").values == (0.5,) * 3
    assert right(report, "raster", "seen").values == (0.5,) * 3
    put(report, "quality", "absorbing", ("seen", "drawn", "guided 25", "share"), (0.6, 0.7, 0.8))
    put(report, "quality", "absorbing", ("seen", "drawn", "guided 5", "share"), (0.9,))
    assert right(report, "absorbing", "seen").values == (0.6, 0.7, 0.8)
    assert right(report, "absorbing", "seen", calls=5).values == (0.9,)  # the first seed only
    with pytest.raises(KeyError, match="no seed of direct was drawn guided or guided 25"):
        right(report, "direct", "seen")
    with pytest.raises(KeyError, match="no seed of absorbing was drawn guided or guided 7"):
        right(report, "absorbing", "seen", calls=7)


def test_who_was_measured_in_the_order_of_the_labels(report):
    assert set(LABELS) == {*SYSTEMS, *VARIANTS}
    assert measured(report, "quality") == list(LABELS)
    assert measured(report, "directions") == [
        *("vq-diffusion", "vq-diffusion-paper", "absorbing", "multinomial"),
        *("raster", "imagebart", "causal"),
    ]
    some = {"runs": {"quality/raster/2": {}, "quality/absorbing/0": {}, "errors/causal/0": {}}}
    assert measured(some, "quality") == ["absorbing", "raster"]
    assert measured(some, "forcing") == []


def test_a_cost_by_its_path(report):
    report["runs"]["cost/raster guided/256"]["seconds"]["8"] = 7.5
    assert cost(report, "raster guided", 256, "seconds", "8") == 7.5
    assert cost(report, "raster", 256, "seconds") == {"1": 1.0, "8": 0.5, "32": 0.25}
    with pytest.raises(KeyError, match="cost/raster/81"):
        cost(report, "raster", 81, "operations")


# tables


def test_the_table_of_quality(report):
    put(report, "quality", "raster", ("seen", "bits", "mean"), (0.1, 0.2, 0.6))
    put(report, "quality", "raster", ("held_out", "bits", "mean"), (2.0, 3.0, 4.0))
    for i, (composition, way) in enumerate(
        (("seen", "plain"), ("held_out", "plain"), ("seen", "guided"), ("held_out", "guided"))
    ):
        values = [0.1 * (i + 1)] * 2 + [0.1 * (i + 1) + 0.03]
        put(report, "quality", "raster", (composition, "drawn", way, "share"), values)
    put(report, "quality", "direct", ("seen", "drawn", "plain 100", "share"), (0.2, 0.2, 0.5))
    put(report, "quality", "causal", ("seen", "drawn", "guided 25", "share"), (0.7, 0.8, 0.9))
    put(report, "quality", "causal", ("seen", "drawn", "guided 100", "share"), (0.0,))
    for name in ("multinomial/1", "multinomial/2", "imagebart/0", "imagebart/1", "imagebart/2"):
        del report["runs"][f"quality/{name}"]
    titles, rows = cells(tables.quality_table(report))
    assert titles[0] == "system"
    assert list(rows) == [label for name, label in LABELS.items() if name != "imagebart"]
    assert rows["raster transformer"] == [
        *("3", "0.300 (0.100 to 0.600)", "3.000 (2.000 to 4.000)"),
        *("11 (10 to 13)", "21 (20 to 23)", "31 (30 to 33)", "41 (40 to 43)"),
    ]
    assert rows["multinomial"] == ["1", "1.000", "1.000", "50", "50", "50", "50"]
    direct = rows["VQ-Diffusion, naming x_{t-1}"]
    assert direct[3:] == ["30 (20 to 50)", "50 (50 to 50)", "", ""]
    assert rows["VQ-Diffusion, causal attention"][5] == "80 (70 to 90)"


def test_the_table_of_calls(report):
    for i, calls in enumerate((100, 50, 25, 10, 5)):
        for j, way in enumerate(("plain", "guided")):
            path = ("seen", "drawn", f"{way} {calls}", "share")
            put(report, "quality", "absorbing", path, (0.1 * (i + 1) + 0.05 * j,))
    titles, rows = cells(tables.calls_table(report))
    assert titles[1:] == [f"{way} {n}" for way in ("plain", "guided") for n in (100, 50, 25, 10, 5)]
    plain, guided = ["10", "20", "30", "40", "50"], ["15", "25", "35", "45", "55"]
    assert rows["absorbing (masks only)"] == plain + guided
    left_out = {*VARIANTS, "raster", "imagebart"}
    assert set(rows) == {label for name, label in LABELS.items() if name not in left_out}
    del report["runs"]["quality/absorbing/0"]  # the other seeds have not all calls
    assert "absorbing (masks only)" not in cells(tables.calls_table(report))[1]


def test_the_table_of_costs(report):
    seconds = {"1": 0.01234, "8": 0.5, "32": 12.0}
    report["runs"]["cost/imagebart/64"] = {"operations": 1_234_000_000, "seconds": seconds}
    report["runs"]["cost/imagebart/1024"]["operations"] = 98_760_000_000
    titles, rows = cells(tables.cost_table(report))
    assert list(rows) == list(COSTS)
    assert titles[1:] == [
        *("64 tokens: 10⁹ operations", "64 tokens: s, 1 at once", "64 tokens: s, 8"),
        *("64 tokens: s, 32", "1,024: 10⁹ operations", "1,024: s, 1 at once", "1,024: s, 8"),
        "1,024: s, 32",
    ]
    assert rows["imagebart"] == ["1.23", "0.0123", "0.5", "12", "98.8", "1", "0.5", "0.25"]
    assert rows["raster"] == ["2", "1", "0.5", "0.25"] * 2
    del report["runs"]["cost/imagebart/64"]
    with pytest.raises(KeyError, match="cost/imagebart/64"):
        tables.cost_table(report)


def test_the_table_of_cuda_has_what_was_measured(report):
    for name in list(report["runs"]):
        if name.startswith("cuda-cost/") and name != "cuda-cost/imagebart/1024":
            del report["runs"][name]
    report["runs"]["cuda-cost/imagebart/1024"]["seconds"] = {"1": 0.01234, "8": 2.0, "32": 3.0}
    titles, rows = cells(tables.cuda_table(report))
    assert titles == ["way", "tokens", "s, 1 at once", "s, 8 at once", "s, 32 at once"]
    assert rows == {"imagebart": ["1,024", "0.0123", "2", "3"]}


def test_the_table_of_errors(report):
    put(report, "errors", "absorbing", ("none", "share"), (0.9, 0.9, 0.9))
    put(report, "errors", "absorbing", ("one", "share"), (0.7, 0.8, 0.9))
    put(report, "errors", "absorbing", ("0.1", "share"), (0.4, 0.4, 0.4))
    put(report, "errors", "absorbing", ("0.4", "share"), (0.0, 0.1, 0.2))
    for i, what in enumerate(("lost changed", "replaced", "mended")):
        put(report, "errors", "absorbing", ("0.1", what), ((i + 1) / 100,) * 3)
    titles, rows = cells(tables.errors_table(report))
    assert titles[1:5] == ["none wrong: right, %", "one", "10 %", "40 %"]
    assert titles[5:] == ["10 %: lost changed", "10 %: replaced", "10 %: mended"]
    assert list(rows) == [LABELS[name] for name in SYSTEMS]
    sentences = ["90 (90 to 90)", "80 (70 to 90)", "40 (40 to 40)", "10 (0 to 20)"]
    outcomes = ["1 (1 to 1)", "2 (2 to 2)", "3 (3 to 3)"]
    assert rows["absorbing (masks only)"] == sentences + outcomes
    assert rows["multinomial"][4:] == ["10 (10 to 10)", "50 (50 to 50)", "25 (25 to 25)"]


def test_the_table_of_directions(report):
    sides = ("upper", "lower", "left", "right")
    for i, composition in enumerate(("seen", "held_out")):
        for j, side in enumerate(sides):
            path = (composition, side, "share")
            put(report, "directions", "causal", path, (0.4 * i + 0.1 * j,) * 3)
    for seed in (1, 2):
        del report["runs"][f"directions/causal/{seed}"]
    titles, rows = cells(tables.directions_table(report))
    assert titles[1:] == [*sides, *(f"{side}, never seen" for side in sides)]
    assert rows["VQ-Diffusion, causal attention"] == ["0", "10", "20", "30", "40", "50", "60", "70"]
    assert len(rows) == 7


def test_the_table_of_forcing(report):
    put(report, "forcing", "imagebart", ("raster", "data", "mean"), (0.1, 0.2, 0.3))
    put(report, "forcing", "imagebart", ("vq-diffusion", "own", "mean"), (0.4, 0.5, 0.6))
    for seed in (0, 1, 2):
        del report["runs"][f"forcing/multinomial/{seed}"]
    titles, rows = cells(tables.forcing_table(report))
    assert titles[1:3] == ["raster reads true rows", "rows drawn"]
    assert titles[3:] == ["VQ-Diffusion reads true rows", "rows drawn"]
    assert rows["ImageBART, 2 scales"] == [
        *("0.200 (0.100 to 0.300)", "2.000 (2.000 to 2.000)"),
        *("1.000 (1.000 to 1.000)", "0.500 (0.400 to 0.600)"),
    ]
    assert "multinomial" not in rows


def test_the_table_of_errors_above(report):
    paths = {"share": (0.7, 0.8, 0.9), "lost changed": (0.1, 0.2, 0.3), "mended": (0.4,) * 3}
    for what, values in paths.items():
        put(report, "downstream", "vq-diffusion", ("free", "0.1", what), values)
    titles, rows = cells(tables.downstream_table(report))
    assert titles[1:4] == ["none wrong: right, %", "one", "10 %"]
    assert titles[4:] == ["one: lost changed", "10 %", "one: mended", "10 %"]
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


def test_the_table_of_strange_rows(report):
    report["runs"]["strangeness/raster/0"]["wrong"] = {"rows": 1}
    report["runs"]["strangeness/raster/1"]["right"]["rows"] = 99  # only the first seed is told
    titles, rows = cells(tables.strangeness_table(report))
    assert titles == ["rows", "number", "mean", "standard error", "median"]
    assert rows["raster transformer, drawn, wrong sentence"] == ["1", "", "", ""]
    assert rows["raster transformer, drawn, right sentence"] == ["50", "0.500", "0.100", "0.250"]
    assert len(rows) == 6


def test_the_table_of_captions(report):
    put(report, "captions", "absorbing", ("bits", "mean"), (0.5, 0.6, 0.7))
    put(report, "captions", "absorbing-auxiliary-0", ("bits", "mean"), (0.8,))
    put(report, "captions", "absorbing-auxiliary-0.01", ("bits", "mean"), (0.9,))
    del report["runs"]["captions/uniform-auxiliary-0/0"]
    titles, rows = cells(tables.captions_table(report))
    assert titles[2:] == ["auxiliary weight 0", "auxiliary weight 0.01"]
    assert rows["absorbing"] == ["0.600 (0.500 to 0.700)", "0.800", "0.900"]
    assert rows["uniform"] == ["0.600 (0.600 to 0.600)", "", "0.600"]
    assert rows["raster"] == ["0.600 (0.600 to 0.600)", "", ""]  # it has no auxiliary loss


def test_the_table_of_verdicts(report):
    _, rows = cells(tables.verdict_table(report))
    assert list(rows) == [claim.text for claim in CLAIMS]
    for claim in CLAIMS:
        assert rows[claim.text] == [f"**{claim.verdict(report)}**", claim.reason(report)]
        in_short = cells(tables.claims_table(report))[1][claim.text]
        assert in_short == [f"**{claim.verdict(report)}**", claim.span(report)]
    for name in ("quality/causal", "errors/raster", "directions/raster", "forcing/raster"):
        some = whole_report()
        for seed in (0, 1, 2):
            del some["runs"][f"{name}/{seed}"]
        with pytest.raises(KeyError, match=f"no run {name}/"):
            tables.verdict_table(some)


def test_a_table_in_markdown():
    assert tables.table(("a", "b"), [["1", "2"], ["3", ""]]) == (
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 |  |"
    )
