"""The rule of all verdicts, and the numbers of every claim against reports made by hand."""

import pytest
from support.face_off_reports import put, put_right, typed, whole_report

from vqlearn.experiments.face_off.results.claims import CLAIMS, Claim
from vqlearn.experiments.face_off.results.numbers import Seeds
from vqlearn.experiments.report import Report

EMPTY = Report("a command")
KERNELS = ("absorbing", "mask-and-replace", "nearest-neighbour", "uniform")


def seeds(*values):
    return Seeds(dict(enumerate(values)))


def claim_of(numbers, *factors):
    return Claim("a text", "metres", lambda report: numbers, factors, above=1)


def numbers_of(text, report):
    (claim,) = [each for each in CLAIMS if each.text == text]
    return claim.numbers(typed(report))


@pytest.fixture
def report():
    return whole_report()


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ([(1.1, 2.0), (3.0,)], "confirmed"),
        ([(1.0, 0.5), (-3.0,)], "refuted"),  # 1 is not above 1
        ([(1.1, 2.0), (1.0, 0.9)], "depends on the weather"),
        ([(1.1, 0.9), (1.1, 0.9)], "depends on the seed"),
        ([(1.1, 2.0), (1.0, 1.2)], "depends on the weather and the seed"),
        ([(0.9, 1.1)], "depends on the seed"),
    ],
)
def test_one_rule_for_all(numbers, verdict):
    found = {(str(i),): seeds(*values) for i, values in enumerate(numbers)}
    assert claim_of(found, "weather").verdict(EMPTY) == verdict


def test_of_several_factors_the_fewest_that_decide_are_named():
    """Heat and rain: dry is above, wet is below; or only both together tell."""
    keys = [(heat, rain) for heat in ("hot", "cold") for rain in ("wet", "dry")]
    for above, verdict in {
        (False, True, False, True): "depends on the rain",
        (False, False, True, True): "depends on the heat",
        (False, True, True, True): "depends on the heat and the rain",
    }.items():
        found = {key: seeds(2.0 if each else 0.0) for key, each in zip(keys, above, strict=True)}
        assert claim_of(found, "heat", "rain").verdict(EMPTY) == verdict
    found = {(*key, "x"): seeds(2.0, 0.0) for key in keys} | {("hot", "dry", "y"): seeds(0.0, 0.0)}
    wanted = "depends on the wind and the seed"
    assert claim_of(found, "heat", "rain", "wind").verdict(EMPTY) == wanted
    found[("hot", "wet", "y")] = seeds(2.0, 2.0)
    wanted = "depends on the rain, the wind and the seed"
    assert claim_of(found, "heat", "rain", "wind").verdict(EMPTY) == wanted


def test_the_reason_has_all_numbers():
    claim = claim_of({("x", "z"): seeds(1.0, 3.0), ("y", "z"): seeds(0.12345)}, "a", "b")
    assert claim.reason(EMPTY) == "*metres*<br>x, z: 2 (1 to 3)<br>y, z: 0.123"
    assert claim.span(EMPTY) == "0.123 to 3 metres"


def test_every_claim_can_be_judged(report):
    assert len({claim.text for claim in CLAIMS}) == len({claim.numbers for claim in CLAIMS}) == 14
    read = typed(report)
    for claim in CLAIMS:
        assert claim.verdict(read).split()[0] in ("confirmed", "refuted", "depends")
        assert {len(key) for key in claim.numbers(read)} == {len(claim.factors)}


def costs(report, kind, of):
    """Numbers of ways at 16 and at 1,024 tokens; the others do not count."""
    for way, (short, long) in of.items():
        for n, value in ((16, short), (1024, long)):
            result = report[f"cost/{way}/{n}"]["result"]
            if kind == "operations":
                result["operations_per_image"] = value
            else:
                result["seconds_per_image"][kind] = value


def test_growth_is_a_ratio_of_ratios(report):
    for kind, factor in (("operations", 1), ("1", 10)):
        costs(
            report,
            kind,
            {
                "raster without cache": (2, 200 * factor),
                "raster, prefix only": (10, 80),
                "raster": (5, 50),
                "diffusion 100": (10, 40),
                "diffusion 25": (1, 9),
            },
        )
    found = {
        name: each.values
        for name, each in numbers_of(
            "autoregression slows down more as images grow", report
        ).items()
    }
    assert found == {
        ("operations", "without a cache"): (25.0,),
        ("operations", "without one, prefix only"): (2.0,),
        ("operations", "with a cache"): (2.5,),
        ("seconds", "without a cache"): (250.0,),
        ("seconds", "without one, prefix only"): (2.0,),
        ("seconds", "with a cache"): (2.5,),
    }


def test_ten_and_fifteen_times(report):
    ways = {"raster without cache": (1, 900), "raster, prefix only": (1, 450), "raster": (1, 3)}
    costs(report, "operations", {**ways, "diffusion 100": (1, 60)})
    found = {
        name: each.mean
        for name, each in numbers_of("diffusion is 10 times cheaper by counting", report).items()
    }
    assert found == {
        ("calls",): 10.24,
        ("operations without a cache",): 15.0,
        ("operations without one, prefix only",): 7.5,
        ("operations with a cache",): 0.05,
    }
    ways = {"raster without cache": (1, 90), "raster, prefix only": (1, 45), "raster": (1, 6)}
    costs(report, "1", {**ways, "diffusion 100": (1, 30), "diffusion 25": (1, 7.5)})
    costs(report, "32", {**ways, "diffusion 100": (1, 3), "diffusion 25": (1, 0.75)})
    found = {
        name: each.mean
        for name, each in numbers_of("diffusion is 15 times faster in practice", report).items()
    }
    assert found == {
        ("100 calls", "without a cache", "1 at once"): 3.0,
        ("100 calls", "without a cache", "32 at once"): 30.0,
        ("100 calls", "without one, prefix only", "1 at once"): 1.5,
        ("100 calls", "without one, prefix only", "32 at once"): 15.0,
        ("100 calls", "with a cache", "1 at once"): 0.2,
        ("100 calls", "with a cache", "32 at once"): 2.0,
        ("25 calls", "without a cache", "1 at once"): 12.0,
        ("25 calls", "without a cache", "32 at once"): 120.0,
        ("25 calls", "without one, prefix only", "1 at once"): 6.0,
        ("25 calls", "without one, prefix only", "32 at once"): 60.0,
        ("25 calls", "with a cache", "1 at once"): 0.8,
        ("25 calls", "with a cache", "32 at once"): 8.0,
    }


def assert_near(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].values == pytest.approx(values, abs=1e-9), name


def test_errors_that_add_up(report):
    put(report, "errors", "raster", ("by_amount", "one", "changed_share"), (0.5, 0.6, 0.7))
    put(report, "errors", "vq-diffusion", ("by_amount", "one", "changed_share"), (0.1, 0.4, 0.2))
    put(report, "errors", "vq-diffusion", ("by_amount", "0.4", "changed_share"), (0.3, 0.2, 0.1))
    put(
        report,
        "downstream",
        "raster",
        ("keeps", "by_amount", "0.1", "changed_share"),
        (0.5, 0.6, 0.7),
    )
    put(
        report,
        "downstream",
        "vq-diffusion",
        ("keeps", "by_amount", "0.1", "changed_share"),
        (0.4, 0.4, 0.4),
    )
    put(
        report,
        "downstream",
        "vq-diffusion",
        ("free", "by_amount", "0.1", "changed_share"),
        (0.1, 0.2, 0.3),
    )
    own, keeps, free = (
        "own half lost",
        "lower half lost, VQ-Diffusion keeps the upper",
        "lower half lost, VQ-Diffusion may change the upper",
    )
    nothing = dict.fromkeys([(own, f"{share} % wrong") for share in (5, 10, 20)], (0.0,) * 3)
    nothing |= dict.fromkeys([(keeps, "one wrong"), (free, "one wrong")], (0.0,) * 3)
    assert_near(
        numbers_of("errors add up in autoregression", report),
        {
            **nothing,
            (own, "one wrong"): (40, 20, 50),
            (own, "40 % wrong"): (-20, -10, 0),
            (keeps, "10 % wrong"): (10, 20, 30),
            (free, "10 % wrong"): (40, 40, 40),
        },
    )


def test_corrected_tokens_of_both_schedules(report):
    put(report, "errors", "vq-diffusion", ("by_amount", "0.1", "corrected_share"), (0.7, 0.8, 0.9))
    put(
        report,
        "errors",
        "vq-diffusion-paper",
        ("by_amount", "one", "corrected_share"),
        (0.1, 0.2, 0.3),
    )
    shares = ("one wrong", "5 % wrong", "10 % wrong", "20 % wrong", "40 % wrong")
    both = ("released schedule", "paper's schedule")
    wanted = {(schedule, share): (25, 25, 25) for schedule in both for share in shares}
    wanted |= {("released schedule", "10 % wrong"): (70, 80, 90)}
    wanted |= {("paper's schedule", "one wrong"): (10, 20, 30)}
    assert_near(numbers_of("VQ-Diffusion corrects wrong tokens", report), wanted)


def test_the_bias_of_an_order(report):
    for name, sides in {
        "raster": {"upper": 0.9, "lower": 0.3, "left": 0.8, "right": 0.5},
        "vq-diffusion": {"upper": 0.7, "lower": 0.6, "left": 0.4, "right": 0.8},
    }.items():
        for side, share in sides.items():
            put(
                report,
                "directions",
                name,
                ("seen", side, "accuracy", "share"),
                (share,) * 3,
            )
    assert_near(
        numbers_of("the order of reading biases autoregression", report),
        {
            ("raster", "upper less lower"): (60,) * 3,
            ("raster", "left less right"): (30,) * 3,
            ("that less VQ-Diffusion's", "upper less lower"): (50,) * 3,
            ("that less VQ-Diffusion's", "left less right"): (70,) * 3,
        },
    )


def test_gaps_count_and_not_bits(report):
    """True rows cost each second model something else."""
    for judge, gaps in (("raster", (0.1, 0.2, 0.3)), ("vq-diffusion", (0.4, 0.4, 0.1))):
        for name, extra in (("raster", gaps), ("vq-diffusion", (0.1, 0.1, 0.1))):
            true = (1.0, 4.0, 2.0)
            put(report, "forcing", name, (judge, "data", "mean"), true)
            own = [bits + gap for bits, gap in zip(true, extra, strict=True)]
            put(report, "forcing", name, (judge, "own", "mean"), own)
    data, own = (
        ([1, 5, 5, 2], [1, 0, 1, 1], [0, 0, 0, 0]),
        ([2, 8, 5, 6], [2, 0, 0, 0], [1, 0, 0, 1]),
    )
    put(report, "forcing", "raster", ("raster", "data_by_row"), data)
    put(report, "forcing", "raster", ("raster", "own_by_row"), own)
    expected = {
        ("than true sequences", "to a raster network"): (0.1, 0.2, 0.3),
        ("than true sequences", "to a diffusion"): (0.4, 0.4, 0.1),
        ("than VQ-Diffusion's", "to a raster network"): (0.0, 0.1, 0.2),
        ("than VQ-Diffusion's", "to a diffusion"): (0.3, 0.3, 0.0),
        ("in the lower half than in the upper", "to a raster network"): (0.0, -1.5, 0.0),
    }
    found = numbers_of("teacher forcing leads to exposure bias", report)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].values == pytest.approx(values, abs=1e-9)


@pytest.mark.parametrize(
    ("what", "worse", "better", "way"),
    [
        ("global context", *("causal", "vq-diffusion", (True, 25))),
        ("x_0 as the target", *("direct", "no-auxiliary", (False, 100))),
    ],
)
def test_a_variant_against_its_twin(report, what, worse, better, way):
    for pairs in ("seen", "held_out"):
        put(
            report,
            "quality",
            better,
            ("by_composition", pairs, "bits_per_token", "mean"),
            (1.0, 1.5, 1.5),
        )
        put_right(report, better, pairs, way, (0.5, 0.1, 0.3))
    put(
        report,
        "quality",
        worse,
        ("by_composition", "seen", "bits_per_token", "mean"),
        (3.0, 2.0, 1.0),
    )
    put_right(report, worse, "held_out", way, (0.1, 0.2, 0.3))
    wanted = {("pairs seen",): (2.0, 0.5, -0.5), ("pairs never seen",): (0.0, -0.5, -0.5)}
    assert_near(numbers_of(f"{what} saves bits", report), wanted)
    wanted = {("pairs seen",): (0, -40, -20), ("pairs never seen",): (40, -10, 0)}
    assert_near(numbers_of(f"{what} samples better", report), wanted)


def test_better_images_seen_and_not(report):
    put_right(report, "raster", "seen", (True, None), (0.9, 0.9, 0.9))
    put_right(report, "raster", "held_out", (True, None), (0.1, 0.1, 0.1))
    for composition in ("seen", "held_out"):
        put_right(report, "vq-diffusion", composition, (True, 25), (0.7, 0.8, 0.9))
    assert_near(
        numbers_of("VQ-Diffusion samples better images", report),
        {
            ("pairs seen",): (-20, -10, 0),
            ("pairs never seen",): (60, 70, 80),
        },
    )


def test_the_published_order_goes_pair_by_pair(report):
    for name, bits in {
        "raster": (0.4, 0.5),
        "absorbing": (0.9, 0.7),
        "nearest-neighbour": (1.0, 0.6),
        "uniform": (1.0, 1.6),
        "absorbing-auxiliary-0": (0.3,),
        "uniform-auxiliary-0.01": (0.7,),
    }.items():
        put(report, "captions", name, ("bits", "mean"), bits)
        report.pop(f"captions/{name}/2", None)
    pairs = ("absorbing less raster", "nearest-neighbour less absorbing")
    pairs += ("uniform less nearest-neighbour",)
    usual = {pairs[0]: (0.5, 0.2), pairs[1]: (0.1, -0.1), pairs[2]: (0.0, 1.0)}
    none = {pairs[0]: (-0.1,), pairs[1]: (0.3,), pairs[2]: (0.0,)}
    large = {pairs[0]: (0.2,), pairs[1]: (0.0,), pairs[2]: (0.1,)}
    weights = {"weight 0": none, "weight 0.0005": usual, "weight 0.01": large}
    wanted = {(p, name): bits for name, of in weights.items() for p, bits in of.items()}
    assert_near(numbers_of("letters cost the kernels bits in the published order", report), wanted)


def test_the_auxiliary_loss_against_none_of_the_same_seed(report):
    put(report, "captions", "absorbing", ("bits", "mean"), (0.7, 9.0, 9.0))
    put(report, "captions", "absorbing-auxiliary-0", ("bits", "mean"), (0.9,))
    put(report, "captions", "absorbing-auxiliary-0.01", ("bits", "mean"), (1.0,))
    put(
        report,
        "quality",
        "no-auxiliary",
        ("by_composition", "held_out", "bits_per_token", "mean"),
        (1.5, 1.0, 0.5),
    )
    weights = ("weight 0.0005", "weight 0.01")
    wanted = {(f"letters, {each}", weight): (0.0,) for each in KERNELS for weight in weights}
    wanted |= {
        ("letters, absorbing", weights[0]): (0.2,),
        ("letters, absorbing", weights[1]): (-0.1,),
    }
    wanted |= {("tokens, pairs seen", weights[0]): (0.0,) * 3}
    wanted |= {("tokens, pairs never seen", weights[0]): (0.5, 0.0, -0.5)}
    assert_near(numbers_of("the auxiliary loss saves bits", report), wanted)
