"""Tables of the face-off against reports made by hand."""

import pytest
from support.face_off_reports import put, put_right, typed, whole_report

from vqlearn.experiments.face_off.costs import COSTS
from vqlearn.experiments.face_off.results import equal_cost, tables
from vqlearn.experiments.face_off.results.claims import CLAIMS
from vqlearn.experiments.face_off.study import STUDY
from vqlearn.experiments.systems import LABELS, SYSTEMS


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
    for composition, values in {"seen": (0.1, 0.2, 0.6), "held_out": (2.0, 3.0, 4.0)}.items():
        path = ("by_composition", composition, "bits_per_token", "mean")
        put(report, "quality", "raster", path, values)
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
        "0.300 [0.104, 0.496]<br>0.100, 0.200, 0.600",  # one error of 0.1, whatever the seeds
        "3.000 [2.804, 3.196]<br>2.000, 3.000, 4.000",
        *("11 [9, 13]<br>10, 10, 13", "21 [19, 24]<br>20, 20, 23"),
        *("31 [28, 34]<br>30, 30, 33", "41 [38, 44]<br>40, 40, 43", "100", "100"),
    ]
    half = "50 [40, 60]<br>50"
    assert rows["multinomial"] == ["≤ 1.000 [0.804, 1.196]<br>1.000"] * 2 + [half] * 4 + ["100"] * 2
    direct = rows["VQ-Diffusion, predicting x_{t-1}"]
    assert direct[2:6] == ["30 [27, 33]<br>20, 20, 50", "50 [40, 60]<br>50, 50, 50", "", ""]
    assert rows["VQ-Diffusion, causal attention"][4] == "80 [77, 82]<br>70, 80, 90"


def test_the_short_table_has_the_cost_where_it_was_measured(report):
    report["cost/diffusion 25 guided/64"]["result"]["operations_per_image"] = 7_100_000_000
    put_right(report, "absorbing", "held_out", (True, 25), (0.2, 0.3, 0.4))
    _, rows = cells(tables.short_table(typed(report)))
    assert list(rows) == [LABELS[name] for name in SYSTEMS]
    bits = "1.00 [0.80, 1.20]"
    assert rows["absorbing (masks only)"] == [
        *(f"≤ {bits}", f"≤ {bits}", "50 [40, 60]", "30 [27, 33]", "7.1")
    ]
    assert rows["raster transformer"] == [bits, bits, "50 [40, 60]", "50 [40, 60]", "2"]
    assert rows["ImageBART, 2 scales"][-1] == ""


def test_the_table_of_equal_cost(report):
    for i, steps in enumerate((100, 50, 25, 10, 5)):
        for guided in (False, True):
            value = 0.1 * (i + 1) + 0.05 * guided
            put_right(report, "absorbing", "held_out", (guided, steps), (value,))
    report["cost/diffusion 5 guided/64"]["result"]["operations_per_image"] = 1_234_000_000
    report["cost/diffusion 5 guided/64"]["result"]["seconds_per_image"]["32"] = 0.0125
    titles, rows = cells(equal_cost.equal_cost_table(typed(report), "held_out"))
    assert titles[:5] == ["sampled", "10⁹ operations", "s, one image", "s, 32 at once", "one pass"]
    assert titles[5:] == [LABELS[name] for name in equal_cost.KERNELS]
    steps = [[f"{n} steps, {how}" for n in (100, 50, 25, 10, 5)] for how in ("plain", "guided")]
    ar = ["raster transformer, plain", "ImageBART, 2 scales, plain", "raster transformer, guided"]
    assert list(rows) == [*ar[:2], *steps[0], ar[2], *steps[1]]
    column = titles.index("absorbing (masks only)") - 1
    found = [rows[name][column].split()[0] for name in steps[1]]
    assert found == ["15", "25", "45", "45", "55"]  # of 25 steps the mean of three seeds
    assert rows["5 steps, guided"][:4] == ["1.23", "1", "0.0125", ""]
    assert rows["raster transformer, guided"] == ["2", "1", "0.25", "50 [40, 60]", *[""] * 5]


def test_the_table_of_costs(report):
    seconds = {"1": 0.01234, "8": 0.5, "32": 12.0}
    found = {"operations_per_image": 1_234_000_000, "seconds_per_image": seconds}
    report["cost/imagebart/64"]["result"] = found
    report["cost/imagebart/1024"]["result"]["operations_per_image"] = 98_760_000_000
    titles, rows = cells(equal_cost.cost_table(typed(report)))
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
        equal_cost.cost_table(typed(report))


def test_the_table_of_cuda_has_what_was_measured(report):
    for id in list(report):
        if id.startswith("cuda-cost/") and id != "cuda-cost/imagebart/1024":
            del report[id]
    seconds = {"1": 0.01234, "8": 2.0, "32": 3.0}
    report["cuda-cost/imagebart/1024"]["result"]["seconds_per_image"] = seconds
    head, _, text = equal_cost.cuda_part(typed(report)).split("\n", maxsplit=2)
    titles, rows = cells(text)
    assert head.startswith("On CUDA (a GPU), ")
    assert titles == ["way", "tokens", "s, 1 at once", "s, 8 at once", "s, 32 at once"]
    assert rows == {"imagebart": ["1,024", "0.0123", "2", "3"]}
    del report["cuda-cost/imagebart/1024"]
    assert equal_cost.cuda_part(typed(report)) == "Nothing was measured on CUDA."


def test_the_table_of_errors(report):
    put(report, "errors", "absorbing", ("untouched", "share"), (0.9, 0.9, 0.9))
    put(report, "errors", "absorbing", ("by_amount", "one", "accuracy", "share"), (0.7, 0.8, 0.9))
    put(report, "errors", "absorbing", ("by_amount", "0.1", "accuracy", "share"), (0.4, 0.4, 0.4))
    put(report, "errors", "absorbing", ("by_amount", "0.4", "accuracy", "share"), (0.0, 0.1, 0.2))
    for i, what in enumerate(("changed_share", "replaced_share", "corrected_share")):
        put(report, "errors", "absorbing", ("by_amount", "0.1", what), ((i + 1) / 100,) * 3)
    titles, rows = cells(tables.errors_table(typed(report)))
    assert titles[1:5] == ["none corrupted: right, %", "one", "10 %", "40 %"]
    assert titles[5:] == ["10 %: masked changed", "10 %: replaced", "10 %: corrected"]
    assert list(rows) == [LABELS[name] for name in SYSTEMS]
    captions = ["90 [88, 92]", "80 [77, 82]", "40 [37, 43]", "10 [9, 12]"]
    outcomes = ["1 [1, 2]", "2 [1, 3]", "3 [2, 4]"]  # of as many trials as images: 1,000
    assert rows["absorbing (masks only)"] == captions + outcomes
    assert rows["multinomial"][4:] == ["10 [6, 17]", "50 [40, 60]", "25 [18, 34]"]


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
    found = [cell.split()[0] for cell in rows["VQ-Diffusion, causal attention"]]
    assert found == ["0", "10", "20", "30", "40", "50", "60", "70"]
    assert rows["VQ-Diffusion, causal attention"][1] == "10 [8, 12]"
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
    assert titles[1:] == ["raster: data", "samples", "VQ-Diffusion: data", "samples"]
    assert rows["ImageBART, 2 scales"] == [
        *("0.200 [0.004, 0.396]", "2.000 [1.804, 2.196]"),
        *("1.000 [0.804, 1.196]", "0.500 [0.304, 0.696]"),
    ]
    assert "multinomial" not in rows


def test_the_table_of_errors_above(report):
    paths = {("accuracy", "share"): (0.7, 0.8, 0.9), ("changed_share",): (0.1, 0.2, 0.3)}
    paths[("corrected_share",)] = (0.4,) * 3
    for what, values in paths.items():
        path = ("free", "by_amount", "0.1", *what)
        put(report, "downstream", "vq-diffusion", path, values)
    titles, rows = cells(tables.downstream_table(typed(report)))
    assert titles[1:4] == ["none corrupted: right, %", "one", "10 %"]
    assert titles[4:] == ["one: masked changed", "10 %", "one: corrected", "10 %"]
    ways = ("keeps the upper half", "may resample it")
    assert list(rows) == [
        f"raster transformer, {ways[0]}",
        *(f"VQ-Diffusion, released schedule, {way}" for way in ways),
    ]
    half, tenth, quarter = ("50 [40, 60]", "10 [6, 17]", "25 [18, 34]")
    same = [half, half, half, tenth, tenth, quarter, quarter]
    *others, free = rows.values()
    assert others == [same, same]
    assert free[2::2] == ["80 [77, 82]", "20 [18, 23]", "40 [37, 43]"]
    assert free[:2] + free[3:6:2] == [half, half, tenth, quarter]


def test_the_table_of_bits_by_correctness(report):
    report["strangeness/raster/0"]["result"]["wrong"] = {"sequences": 1}
    report["strangeness/raster/1"]["result"]["right"]["sequences"] = (
        99  # only the first seed is told
    )
    titles, rows = cells(tables.correctness_table(typed(report)))
    assert titles == ["sequences", "number", "mean", "median"]
    assert rows["raster transformer, samples, wrong"] == ["1", "", ""]
    assert rows["raster transformer, samples, right"] == ["50", "0.500 [0.304, 0.696]", "0.250"]
    assert len(rows) == 6


def test_the_table_of_characters(report):
    put(report, "captions", "absorbing", ("bits_above_floor", "mean"), (0.5, 0.6, 0.7))
    put(report, "captions", "absorbing-auxiliary-0", ("bits_above_floor", "mean"), (0.8,))
    put(report, "captions", "absorbing-auxiliary-0.01", ("bits_above_floor", "mean"), (0.9,))
    put(report, "captions", "absorbing", ("samples", "parsed", "right"), (2, 4, 12))
    del report["captions/uniform-auxiliary-0/0"]
    for seed in (0, 1, 2):
        del report[f"captions/uniform/{seed}"]["result"]["steps_kept"]
    titles, rows = cells(tables.letters_table(typed(report)))
    assert titles[2:4] == ["auxiliary weight 0", "auxiliary weight 0.01"]
    ends = [(0.58, 0.62), (0.78, 0.82), (0.88, 0.92)]
    bits = [f"≤ {(a + b) / 2:.3f} [{a:.3f}, {b:.3f}]" for a, b in ends]
    assert rows["absorbing"][:3] == bits
    assert rows["absorbing"][3].split("<br>")[1] == "1, 2, 6"
    assert rows["absorbing"][4] == "3,000, 3,000, 3,000"
    assert rows["uniform"][1] == rows["uniform"][4] == ""
    assert rows["raster"][:3] == ["0.100 [0.080, 0.120]", "", ""]  # exact, no auxiliary loss


def test_the_table_of_claims(report):
    read = typed(report)
    titles, rows = cells(tables.claims_table(read))
    assert titles == ["claim", "source", "measure", "effect [95 %]", "seeds [95 %]", "reading"]
    assert list(rows) == [claim.text for claim in CLAIMS]
    for claim in CLAIMS:
        assert rows[claim.text][2:4] == [claim.effect_text(read), claim.seeds_text(read)]
        assert rows[claim.text][4] == f"**{claim.reading(read)}**"
    for name in ("quality/causal", "errors/vq-diffusion", "directions/raster", "forcing/raster"):
        some = whole_report()
        for seed in (0, 1, 2):
            del some[f"{name}/{seed}"]
        with pytest.raises(KeyError, match=f"none of the runs {name}/"):
            tables.claims_table(typed(some))


def test_the_sentences_of_the_page(report):
    for calls, seconds in ((100, 0.5), (50, 0.3), (25, 0.1), (10, 0.07), (5, 0.03)):
        report[f"cost/diffusion {calls}/64"]["result"]["seconds_per_image"]["1"] = seconds
    report["quality/raster/0"]["machine"] = "a GPU"
    read = typed(report)
    assert "The CPU was one core." in equal_cost.seconds_sentence(read)
    assert "took 4.0 to 7.0 for a plain step and 10.0 to 200.0" in equal_cost.seconds_sentence(read)
    assert "a CPU (104 of 105 runs), a GPU (1 of 105 runs)" in tables.machines_sentence(read)
    assert "is 0.500 bits" in tables.floor_sentence(read)


def test_the_page_can_be_made_of_what_it_waits_for(report):
    least = {id: run for id, run in report.items() if id in STUDY.needed}
    assert 80 < len(least) < len(report) / 2
    assert all(tables.all_tables(typed(least)).values())
    needed = ("quality/direct/0", "errors/imagebart/0", "forcing/raster/0", "cost/diffusion 5/16")
    assert {*needed, "captions/uniform-auxiliary-0.01/0"} <= STUDY.needed
    assert not {"quality/raster/1", "forcing/absorbing/0", "cuda-cost/raster/64"} & STUDY.needed
