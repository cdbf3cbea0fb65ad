"""Each claim, the numbers that bear on it, and a verdict by a rule that was fixed for all results.

A difference counts only if the seeds do not overlap: the worst seed of one side must be better than
the best of the other. The rules know no numbers but those of the claims.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vqlearn.face_off.results import Report, Seeds, cost, over_seeds, right

CONFIRMED, REFUTED, DEPENDS, OPEN = "confirmed", "refuted", "depends", "open"
LONG = 1024


@dataclass(frozen=True)
class Verdict:
    """The word, and the numbers behind it in a sentence."""

    word: str
    reason: str


@dataclass(frozen=True)
class Claim:
    """What is said of autoregression and VQ-Diffusion, and how it is judged."""

    text: str
    judge: Callable[[Report], Verdict]


def ten_times_fewer_calls(report: Report) -> Verdict:
    """1,024 tokens against 100 steps, in calls and in operations."""
    diffusion = cost(report, "diffusion 100", LONG, "operations")
    without = cost(report, "raster without cache", LONG, "operations") / diffusion
    cached = cost(report, "raster", LONG, "operations") / diffusion
    reason = (
        f"{LONG / 100:.1f} times the calls; {without:.3g} times the operations without a cache, "
        f"{cached:.2g} times with one"
    )
    return Verdict(_by_sides([without >= 10, cached >= 10]), reason)


def fifteen_times_in_practice(report: Report) -> Verdict:
    """Seconds of 1,024 tokens, with and without a cache, one picture and 32 at once."""
    ratios = {
        (way, count): cost(report, way, LONG, "seconds", count)
        / cost(report, "diffusion 100", LONG, "seconds", count)
        for way in ("raster without cache", "raster")
        for count in ("1", "32")
    }
    without = [ratios["raster without cache", count] for count in ("1", "32")]
    cached = [ratios["raster", count] for count in ("1", "32")]
    reason = (
        f"the raster network takes {without[0]:.3g} times as long without a cache "
        f"({without[1]:.3g} with 32 pictures at once), {cached[0]:.2g} times with one "
        f"({cached[1]:.2g})"
    )
    return Verdict(_by_sides([ratio >= 15 for ratio in ratios.values()]), reason)


def slower_with_resolution(report: Report) -> Verdict:
    """How much longer do 1,024 tokens take than 64, in each way?"""
    ways = ("raster without cache", "raster", "diffusion 100")
    growth = [
        cost(report, way, LONG, "seconds", "1") / cost(report, way, 64, "seconds", "1")
        for way in ways
    ]
    reason = "16 times as many tokens take " + ", ".join(
        f"{times:.3g} times as long ({way})" for times, way in zip(growth, ways, strict=True)
    )
    return Verdict(_by_sides([times > growth[2] for times in growth[:2]]), reason)


def errors_accumulate(report: Report) -> Verdict:
    """One wrong token: how many of the tokens that follow change?"""
    raster, diffusion = (_changed(report, name) for name in ("raster", "vq-diffusion"))
    reason = (
        f"one wrong token changes {_percent(raster)} of the tokens drawn after it in the raster "
        f"network, {_percent(diffusion)} in VQ-Diffusion"
    )
    return Verdict(_compare(raster, diffusion), reason)


def wrong_tokens_are_corrected(report: Report) -> Verdict:
    """Of wrong tokens, one in ten: how many get their true code back?"""
    names = ("vq-diffusion", "vq-diffusion-paper", "multinomial")
    mended = [over_seeds(report, "errors", name, "0.1", "mended") for name in names]
    masks = over_seeds(report, "errors", "absorbing", "0.1", "mended")
    reason = (
        f"mended: {_percent(mended[0])} with the released schedule, {_percent(mended[1])} with "
        f"the paper's, {_percent(mended[2])} by multinomial diffusion, {_percent(masks)} by masks "
        "alone"
    )
    return Verdict(_by_sides([seeds.low > 0.5 for seeds in mended]), reason)


def order_biases(report: Report) -> Verdict:
    """How far apart are the best and the worst direction?"""
    spreads = {
        name: _spread_of_sides(report, name) for name in ("raster", "vq-diffusion", "absorbing")
    }
    reason = "best less worst half: " + ", ".join(
        f"{_percent(spread)} ({name})" for name, spread in spreads.items()
    )
    return Verdict(_compare(spreads["raster"], spreads["vq-diffusion"]), reason)


def no_teacher_forcing(report: Report) -> Verdict:
    """How much stranger than true rows are drawn rows to a second model?"""
    gaps = {name: _gap(report, name) for name in ("raster", "vq-diffusion")}
    reason = (
        f"rows of the raster network cost a second raster network {gaps['raster'].text('.3f')} "
        f"bits a token more than true rows, those of VQ-Diffusion "
        f"{gaps['vq-diffusion'].text('.3f')}"
    )
    return Verdict(_compare(gaps["raster"], gaps["vq-diffusion"]), reason)


def global_context_helps(report: Report) -> Verdict:
    """The same denoiser with causal attention."""
    return _better_bits(report, "vq-diffusion", "causal")


def x_0_is_the_clearer_target(report: Report) -> Verdict:
    """The same denoiser naming x_{t-1}; neither has an auxiliary loss."""
    return _better_bits(report, "no-auxiliary", "direct")


def better_pictures(report: Report) -> Verdict:
    """With one budget: right sentences, guided, pairs seen and pairs never seen."""
    sides, parts = [], []
    for composition in ("seen", "held_out"):
        raster, diffusion = (
            right(report, name, composition) for name in ("raster", "vq-diffusion")
        )
        sides.append(_compare(diffusion, raster))
        parts.append(f"{composition}: {_percent(diffusion)} against {_percent(raster)}")
    word = sides[0] if sides[0] == sides[1] else DEPENDS
    return Verdict(word, "VQ-Diffusion against raster, " + "; ".join(parts))


CLAIMS = (
    Claim("100 steps are 10 times cheaper than 1,024 tokens, by counting", ten_times_fewer_calls),
    Claim("and 15 times faster in practice", fifteen_times_in_practice),
    Claim("autoregression slows down more with resolution", slower_with_resolution),
    Claim("its errors accumulate, those of VQ-Diffusion less", errors_accumulate),
    Claim("VQ-Diffusion corrects wrong tokens", wrong_tokens_are_corrected),
    Claim("the order of reading biases autoregression", order_biases),
    Claim("teacher forcing leads it astray, VQ-Diffusion needs none", no_teacher_forcing),
    Claim("seeing the whole picture helps", global_context_helps),
    Claim("x_0 is a clearer target than x_{t-1}", x_0_is_the_clearer_target),
    Claim("VQ-Diffusion draws better pictures", better_pictures),
)


def _better_bits(report: Report, better: str, worse: str) -> Verdict:
    bits = [over_seeds(report, "quality", n, "seen", "bits", "mean") for n in (better, worse)]
    reason = f"{bits[0].text('.3f')} bits a token, {bits[1].text('.3f')} without"
    return Verdict(_compare(bits[1], bits[0]), reason)


def _changed(report: Report, name: str) -> Seeds:
    return over_seeds(report, "errors", name, "one", "lost changed")


def _spread_of_sides(report: Report, name: str) -> Seeds:
    sides = [
        over_seeds(report, "directions", name, "seen", side, "share").values
        for side in ("upper", "lower", "left", "right")
    ]
    return Seeds(tuple(max(shares) - min(shares) for shares in zip(*sides, strict=True)))


def _gap(report: Report, name: str) -> Seeds:
    data, own = (
        over_seeds(report, "forcing", name, "raster", kind, "mean") for kind in ("data", "own")
    )
    return own.over(data, lambda mine, true: mine - true)


def _compare(larger: Seeds, smaller: Seeds) -> str:
    """Is the first really the larger?"""
    if larger.low > smaller.high:
        return CONFIRMED
    return REFUTED if larger.high < smaller.low else OPEN


def _by_sides(sides: list[bool]) -> str:
    """Confirmed if it holds on every side, refuted if on none."""
    return CONFIRMED if all(sides) else DEPENDS if any(sides) else REFUTED


def _percent(seeds: Seeds) -> str:
    percent = Seeds(tuple(100 * value for value in seeds.values))
    return f"{percent.text('.1f')} %"
