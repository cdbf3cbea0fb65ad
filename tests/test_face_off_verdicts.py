"""Every claim against reports made by hand: confirmed, refuted, and neither."""

import pytest
from face_off_reports import put, whole_report

from vqlearn.face_off import verdicts
from vqlearn.face_off.verdicts import CLAIMS, CONFIRMED, DEPENDS, OPEN, REFUTED

HIGH, LOW, BETWEEN = (0.5, 0.6, 0.7), (0.1, 0.2, 0.3), (0.25, 0.4, 0.55)
TOUCHING = (0.3, 0.4, 0.5)  # its worst is the best of LOW, its best the worst of HIGH
PAIRS = pytest.mark.parametrize(
    ("larger", "smaller", "word"),
    [
        (HIGH, LOW, CONFIRMED),
        (LOW, HIGH, REFUTED),
        (BETWEEN, LOW, OPEN),
        (HIGH, BETWEEN, OPEN),
        (LOW, BETWEEN, OPEN),
        (TOUCHING, LOW, OPEN),
        (TOUCHING, HIGH, OPEN),
        (LOW, LOW, OPEN),
    ],
)


@pytest.fixture
def report():
    return whole_report()


def percent(values):
    low, mean, high = min(values), sum(values) / len(values), max(values)
    return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f}) %"


def test_every_rule_belongs_to_one_claim():
    assert len({claim.text for claim in CLAIMS}) == len({claim.judge for claim in CLAIMS}) == 10


def operations(report, **of):
    for way, count in of.items():
        report["runs"][f"cost/{way.replace('_', ' ')}/1024"]["operations"] = count


@pytest.mark.parametrize(
    ("without", "cached", "word"),
    [
        (1000, 1000, CONFIRMED),
        (1000, 999, DEPENDS),
        (999, 1000, DEPENDS),
        (999, 999, REFUTED),
    ],
)
def test_ten_times_fewer_calls(report, without, cached, word):
    ways = {"raster_without_cache": without, "raster": cached, "diffusion_100": 100}
    operations(report, **ways)
    report["runs"]["cost/raster/64"]["operations"] = 7  # other lengths and ways do not count
    operations(report, diffusion_25=1, raster_guided=1)
    assert verdicts.ten_times_fewer_calls(report).word == word


def test_the_numbers_of_ten_times_fewer_calls(report):
    operations(report, raster_without_cache=12345, raster=432, diffusion_100=100)
    reason = "10.2 times the calls; 123 times the operations without a cache, 4.3 times with one"
    assert verdicts.ten_times_fewer_calls(report).reason == reason


def seconds(report, way, n, one, many):
    report["runs"][f"cost/{way}/{n}"]["seconds"] |= {"1": one, "32": many}


@pytest.mark.parametrize(
    ("without", "cached", "word"),
    [
        ((30, 15), (30, 15), CONFIRMED),
        ((30, 15), (30, 14.9), DEPENDS),
        ((29.9, 15), (30, 15), DEPENDS),
        ((29.9, 14.9), (29.9, 15), DEPENDS),
        ((29.9, 14.9), (29.9, 14.9), REFUTED),
    ],
)
def test_fifteen_times_in_practice(report, without, cached, word):
    """A diffusion takes 2 seconds alone and 1 with others."""
    seconds(report, "diffusion 100", 1024, 2.0, 1.0)
    seconds(report, "raster without cache", 1024, *without)
    seconds(report, "raster", 1024, *cached)
    assert verdicts.fifteen_times_in_practice(report).word == word


def test_the_numbers_of_fifteen_times(report):
    seconds(report, "diffusion 100", 1024, 2.0, 1.0)
    seconds(report, "raster without cache", 1024, 246.8, 35.0)
    seconds(report, "raster", 1024, 2.4, 0.7)
    assert verdicts.fifteen_times_in_practice(report).reason == (
        "the raster network takes 123 times as long without a cache "
        "(35 with 32 pictures at once), 1.2 times with one (0.7)"
    )


@pytest.mark.parametrize(
    ("without", "cached", "word"),
    [(200, 21, CONFIRMED), (200, 19, DEPENDS), (19, 21, DEPENDS), (20, 20, REFUTED)],
)
def test_slower_with_resolution(report, without, cached, word):
    """A diffusion takes 20 times as long for 16 times as many tokens."""
    for way, times in (
        *(("raster without cache", without), ("raster", cached)),
        *(("diffusion 100", 20), ("diffusion 25", 1)),
    ):
        seconds(report, way, 64, 0.5, 9.0)
        seconds(report, way, 1024, 0.5 * times, 9.0)
    verdict = verdicts.slower_with_resolution(report)
    assert verdict.word == word
    assert verdict.reason == (
        f"16 times as many tokens take {without} times as long (raster without cache), "
        f"{cached} times as long (raster), 20 times as long (diffusion 100)"
    )


@PAIRS
def test_errors_accumulate(report, larger, smaller, word):
    put(report, "errors", "raster", ("one", "lost changed"), larger)
    put(report, "errors", "vq-diffusion", ("one", "lost changed"), smaller)
    verdict = verdicts.errors_accumulate(report)
    assert verdict.word == word
    assert f"{percent(larger)} of the tokens drawn after it in the raster" in verdict.reason
    assert f"{percent(smaller)} in VQ-Diffusion" in verdict.reason


MOST, FEW = (0.51, 0.7, 0.9), (0.1, 0.2, 0.49)


@pytest.mark.parametrize(
    ("mended", "word"),
    [
        ((MOST, MOST, MOST), CONFIRMED),
        ((FEW, FEW, FEW), REFUTED),
        ((FEW, MOST, MOST), DEPENDS),
        ((MOST, FEW, FEW), DEPENDS),
    ],
)
def test_wrong_tokens_are_corrected(report, mended, word):
    names = ("vq-diffusion", "vq-diffusion-paper", "multinomial")
    for name, values in zip(names, mended, strict=True):
        put(report, "errors", name, ("0.1", "mended"), values)
    put(report, "errors", "absorbing", ("0.1", "mended"), (0.0, 0.0, 0.0))
    verdict = verdicts.wrong_tokens_are_corrected(report)
    assert verdict.word == word
    assert verdict.reason == (
        f"mended: {percent(mended[0])} with the released schedule, {percent(mended[1])} with the "
        f"paper's, {percent(mended[2])} by multinomial diffusion, 0.0 (0.0 to 0.0) % by masks alone"
    )


@PAIRS
def test_order_biases(report, larger, smaller, word):
    """Each spread is that of one seed: a best side that changes from seed to seed counts."""
    for name, spreads in (("raster", larger), ("vq-diffusion", smaller), ("absorbing", LOW)):
        for seed, spread in enumerate(spreads):
            run = report["runs"][f"directions/{name}/{seed}"]["seen"]
            sides = ("upper", "lower", "left", "right")
            for place, side in enumerate(sides[seed:] + sides[:seed]):
                run[side]["share"] = 0.25 + (0, 0.3, 0.7, 1)[place] * spread
    verdict = verdicts.order_biases(report)
    if word != OPEN or BETWEEN in (larger, smaller):  # exact ties are lost to rounding
        assert verdict.word == word
    assert verdict.reason == (
        f"best less worst half: {percent(larger)} (raster), {percent(smaller)} (vq-diffusion), "
        f"{percent(LOW)} (absorbing)"
    )


@PAIRS
def test_no_teacher_forcing(report, larger, smaller, word):
    """Gaps count, not bits: true rows cost each second model something else."""
    true = (1.0, 4.0, 2.0)
    for name, gaps in (("raster", larger), ("vq-diffusion", smaller)):
        put(report, "forcing", name, ("raster", "data", "mean"), true)
        own = [bits + gap for bits, gap in zip(true, gaps, strict=True)]
        put(report, "forcing", name, ("raster", "own", "mean"), own)
    verdict = verdicts.no_teacher_forcing(report)
    if word != OPEN or BETWEEN in (larger, smaller):
        assert verdict.word == word
    means = [sum(gaps) / 3 for gaps in (larger, smaller)]
    for gaps, mean in zip((larger, smaller), means, strict=True):
        assert f"{mean:.3f} ({min(gaps):.3f} to {max(gaps):.3f})" in verdict.reason


@pytest.mark.parametrize(
    ("rule", "better", "worse"),
    [
        (verdicts.global_context_helps, "vq-diffusion", "causal"),
        (verdicts.x_0_is_the_clearer_target, "no-auxiliary", "direct"),
    ],
)
@PAIRS
def test_fewer_bits_are_better(report, rule, better, worse, larger, smaller, word):
    put(report, "quality", better, ("seen", "bits", "mean"), smaller)
    put(report, "quality", worse, ("seen", "bits", "mean"), larger)
    verdict = rule(report)
    assert verdict.word == word
    low, high = (f"{sum(v) / 3:.3f} ({min(v):.3f} to {max(v):.3f})" for v in (smaller, larger))
    assert verdict.reason.startswith(f"{low} bits a token, {high}")


@pytest.mark.parametrize(
    ("seen", "held_out", "word"),
    [
        ((HIGH, LOW), (HIGH, LOW), CONFIRMED),
        ((LOW, HIGH), (LOW, HIGH), REFUTED),
        ((LOW, LOW), (BETWEEN, HIGH), OPEN),
        ((HIGH, LOW), (LOW, HIGH), DEPENDS),
        ((LOW, HIGH), (HIGH, LOW), DEPENDS),
    ],
)
def test_better_pictures(report, seen, held_out, word):
    for composition, (diffusion, raster) in (("seen", seen), ("held_out", held_out)):
        drawn = (composition, "drawn")
        put(report, "quality", "vq-diffusion", (*drawn, "guided 25", "share"), diffusion)
        put(report, "quality", "raster", (*drawn, "guided", "share"), raster)
    verdict = verdicts.better_pictures(report)
    assert verdict.word == word
    assert verdict.reason == (
        f"VQ-Diffusion against raster, seen: {percent(seen[0])} against {percent(seen[1])}; "
        f"held_out: {percent(held_out[0])} against {percent(held_out[1])}"
    )
