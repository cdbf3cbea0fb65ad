"""The rule of all verdicts, and the numbers of every claim against reports made by hand."""

import pytest
from face_off_reports import put, whole_report

from vqlearn.face_off import verdicts
from vqlearn.face_off.results import Seeds
from vqlearn.face_off.verdicts import CLAIMS, Claim

KERNELS = ("absorbing", "mask-and-replace", "nearest-neighbour", "uniform")
WEIGHTS = ("0.0005", "0.01")


def seeds(*values):
    return Seeds(dict(enumerate(values)))


@pytest.fixture
def report():
    return whole_report()


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ([(1.1, 2.0), (3.0,)], "confirmed"),
        ([(1.0, 0.5), (-3.0,)], "refuted"),  # 1 is not above 1
        ([(1.1, 2.0), (1.0, 0.9)], "depends on the weather"),
        ([(1.1, 2.0), (1.0, 1.2)], "depends on the seed"),
        ([(0.9, 1.1)], "depends on the seed"),
    ],
)
def test_one_rule_for_all(numbers, verdict):
    found = {str(i): seeds(*values) for i, values in enumerate(numbers)}
    claim = Claim("a text", lambda report: found, 1, "weather")
    assert claim.verdict({}) == verdict


def test_the_reason_has_all_numbers():
    claim = Claim("a text", lambda report: {"x": seeds(1.0, 3.0), "y": seeds(0.12345)}, 1, "z")
    assert claim.reason({}) == "x: 2 (1 to 3); y: 0.123"


def test_every_claim_can_be_judged(report):
    assert len({claim.text for claim in CLAIMS}) == len({claim.numbers for claim in CLAIMS}) == 12
    for claim in CLAIMS:
        assert claim.verdict(report).split()[0] in ("confirmed", "refuted", "depends")


def costs(report, kind, **of):
    """Numbers of ways at 16 and at 1,024 tokens; the others do not count."""
    for way, (short, long) in of.items():
        for n, value in ((16, short), (1024, long)):
            run = report["runs"][f"cost/{way.replace('_', ' ')}/{n}"]
            if kind == "operations":
                run["operations"] = value
            else:
                run["seconds"][kind] = value


def test_growth_is_a_ratio_of_ratios(report):
    for kind, factor in (("operations", 1), ("1", 10)):
        costs(
            report,
            kind,
            raster_without_cache=(2, 200 * factor),
            raster=(5, 50),
            diffusion_100=(10, 40),
            diffusion_25=(1, 9),
        )
    found = {name: each.values for name, each in verdicts.slower_growth(report).items()}
    assert found == {
        "operations without a cache": (25.0,),
        "operations with a cache": (2.5,),
        "seconds without a cache": (250.0,),
        "seconds with a cache": (2.5,),
    }


def test_ten_and_fifteen_times(report):
    costs(report, "operations", raster_without_cache=(1, 900), raster=(1, 3), diffusion_100=(1, 60))
    found = {name: each.mean for name, each in verdicts.ten_times(report).items()}
    assert found == {
        "calls": 10.24,
        "operations without a cache": 15.0,
        "operations with a cache": 0.05,
    }
    ways = {"raster_without_cache": (1, 90), "raster": (1, 6)}
    costs(report, "1", **ways, diffusion_100=(1, 30), diffusion_25=(1, 7.5))
    costs(report, "32", **ways, diffusion_100=(1, 3), diffusion_25=(1, 0.75))
    found = {name: each.mean for name, each in verdicts.fifteen_times(report).items()}
    assert found == {
        "100 calls, without a cache, 1 at once": 3.0,
        "100 calls, without a cache, 32 at once": 30.0,
        "100 calls, with a cache, 1 at once": 0.2,
        "100 calls, with a cache, 32 at once": 2.0,
        "25 calls, without a cache, 1 at once": 12.0,
        "25 calls, without a cache, 32 at once": 120.0,
        "25 calls, with a cache, 1 at once": 0.8,
        "25 calls, with a cache, 32 at once": 8.0,
    }


def assert_near(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].values == pytest.approx(values), name


def test_errors_that_add_up(report):
    put(report, "errors", "raster", ("one", "lost changed"), (0.5, 0.6, 0.7))
    put(report, "errors", "vq-diffusion", ("one", "lost changed"), (0.1, 0.4, 0.2))
    put(report, "errors", "raster", ("0.1", "lost changed"), (0.1, 0.1, 0.1))
    put(report, "errors", "vq-diffusion", ("0.1", "lost changed"), (0.3, 0.2, 0.1))
    data, own = (
        ([1, 5, 5, 2], [1, 0, 1, 1], [0, 0, 0, 0]),
        ([2, 8, 5, 6], [2, 0, 0, 0], [1, 0, 0, 1]),
    )
    put(report, "forcing", "raster", ("raster", "data by row"), data)
    put(report, "forcing", "raster", ("raster", "own by row"), own)
    assert_near(
        verdicts.errors_add_up(report),
        {
            "lost tokens that change more, one wrong": (0.4, 0.2, 0.5),
            "lost tokens that change more, 0.1 wrong": (-0.2, -0.1, 0.0),
            "bits more in the lower half than in the upper": (0.0, -1.5, 0.0),
        },
    )


def test_mended_tokens_of_both_schedules(report):
    put(report, "errors", "vq-diffusion", ("0.1", "mended"), (0.7, 0.8, 0.9))
    put(report, "errors", "vq-diffusion-paper", ("0.1", "mended"), (0.1, 0.2, 0.3))
    found = verdicts.mends(report)
    assert_near(found, {"released schedule": (0.7, 0.8, 0.9), "paper's": (0.1, 0.2, 0.3)})


def test_the_bias_of_an_order(report):
    for name, sides in {
        "raster": {"upper": 0.9, "lower": 0.3, "left": 0.8, "right": 0.5},
        "vq-diffusion": {"upper": 0.7, "lower": 0.6, "left": 0.4, "right": 0.8},
    }.items():
        for side, share in sides.items():
            put(report, "directions", name, ("seen", side, "share"), (share,) * 3)
    assert_near(
        verdicts.order(report),
        {
            "raster, upper less lower": (0.6,) * 3,
            "raster, left less right": (0.3,) * 3,
            "that less VQ-Diffusion's, upper less lower": (0.5,) * 3,
            "that less VQ-Diffusion's, left less right": (0.7,) * 3,
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
    expected = {"bits more to a raster network": (0.0, 0.1, 0.2)}
    expected["bits more to a diffusion"] = (0.3, 0.3, 0.0)
    for name, values in expected.items():
        assert verdicts.astray(report)[name].values == pytest.approx(values, abs=1e-9)


@pytest.mark.parametrize(
    ("numbers", "worse", "better", "way"),
    [
        (verdicts.global_context, "causal", "vq-diffusion", "guided 25"),
        (verdicts.clearer_target, "direct", "no-auxiliary", "plain 100"),
    ],
)
def test_a_variant_against_its_twin(report, numbers, worse, better, way):
    put(report, "quality", worse, ("seen", "bits", "mean"), (3.0, 2.0, 1.0))
    put(report, "quality", better, ("seen", "bits", "mean"), (1.0, 1.5, 1.5))
    put(report, "quality", worse, ("seen", "drawn", way, "share"), (0.1, 0.2, 0.3))
    put(report, "quality", better, ("seen", "drawn", way, "share"), (0.5, 0.1, 0.3))
    expected = {"bits more": (2.0, 0.5, -0.5), "right less": (0.4, -0.1, 0.0)}
    assert_near(numbers(report), expected)


def test_better_pictures_seen_and_not(report):
    put(report, "quality", "raster", ("seen", "drawn", "guided", "share"), (0.9, 0.9, 0.9))
    put(report, "quality", "raster", ("held_out", "drawn", "guided", "share"), (0.1, 0.1, 0.1))
    for composition in ("seen", "held_out"):
        path = (composition, "drawn", "guided 25", "share")
        put(report, "quality", "vq-diffusion", path, (0.7, 0.8, 0.9))
    assert_near(
        verdicts.better_pictures(report),
        {
            "right more, pairs seen": (-0.2, -0.1, 0.0),
            "right more, pairs never seen": (0.6, 0.7, 0.8),
        },
    )


def test_the_published_order_goes_pair_by_pair(report):
    for name, bits in {
        "raster": (0.4, 0.5),
        "absorbing": (0.9, 0.7),
        "nearest-neighbour": (1.0, 0.6),
        "uniform": (1.0, 1.6),
    }.items():
        put(report, "captions", name, ("bits", "mean"), bits)
        del report["runs"][f"captions/{name}/2"]
    assert_near(
        verdicts.published_order(report),
        {
            "absorbing less raster": (0.5, 0.2),
            "nearest-neighbour less absorbing": (0.1, -0.1),
            "uniform less nearest-neighbour": (0.0, 1.0),
        },
    )


def test_the_auxiliary_loss_against_none_of_the_same_seed(report):
    put(report, "captions", "absorbing", ("bits", "mean"), (0.7, 9.0, 9.0))
    put(report, "captions", "absorbing-auxiliary-0", ("bits", "mean"), (0.9,))
    put(report, "captions", "absorbing-auxiliary-0.01", ("bits", "mean"), (1.0,))
    put(report, "quality", "no-auxiliary", ("seen", "bits", "mean"), (1.5, 1.0, 0.5))
    found = verdicts.auxiliary_loss(report)
    expected = {f"{kernel}, weight {weight}": (0.0,) for kernel in KERNELS for weight in WEIGHTS}
    expected |= {"absorbing, weight 0.0005": (0.2,), "absorbing, weight 0.01": (-0.1,)}
    assert_near(found, {**expected, "tokens, weight 0.0005": (0.5, 0.0, -0.5)})
