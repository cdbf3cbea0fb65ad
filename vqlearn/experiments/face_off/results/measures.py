"""What is measured for each claim, as an effect: larger speaks for the claim."""

from vqlearn.experiments.face_off.inpainting import FREE, KEEPS, ONE
from vqlearn.experiments.face_off.quality import CALLS, USUAL_CALLS
from vqlearn.experiments.face_off.results import effects, numbers
from vqlearn.experiments.face_off.results.effects import Effect, combined, effect
from vqlearn.experiments.face_off.results.numbers import Seeds
from vqlearn.experiments.face_off.training import DIFFUSION, RASTER
from vqlearn.experiments.report import Report
from vqlearn.probability import Estimate

SHORT, LONG = 64, 1024  # tokens of an image


def times_cost(report: Report, more: str, less: str, n: int, at_once: int | None = None) -> float:
    """How many times more one way to sample n tokens costs than another, in operations or seconds.

    Seconds if so many images are sampled at once.
    """
    costs = [numbers.cost_of(report, way, n, at_once) for way in (more, less)]
    return costs[0] / costs[1]


def counted(value: float) -> Effect:
    """A number that is exact, such as a count of operations."""
    return Effect(Estimate(value, value, value), Seeds({0: value}))


def timed(value: float, report: Report, ratios: int = 1) -> Effect:
    """A product of ratios of seconds: for each of them one clock spread below and above."""
    spread = clock_spread(report) ** ratios
    return Effect(Estimate(value, value / spread, value * spread), Seeds({0: value}))


def clock_spread(report: Report) -> float:
    """How far seconds of the same work lie apart: the slowest step over the fastest.

    Of one denoiser with 64 tokens, for plain or for guided steps, whichever is more.
    """
    return max(high / low for low, high in seconds_per_step(report).values())


def seconds_per_step(report: Report) -> dict[str, tuple[float, float]]:
    """The lowest and the highest mean seconds of a plain and of a guided step, with 64 tokens."""
    found = {}
    for kind, end in {"plain": "", "guided": " guided"}.items():
        steps = [numbers.cost_of(report, f"diffusion {n}{end}", SHORT, 1) / n for n in CALLS]
        found[kind] = min(steps), max(steps)
    return found


def growth(at_once: int | None, report: Report) -> Effect:
    """How many times more the cost of AR with a KV cache grows than that of 100 steps."""
    short, long = (times_cost(report, RASTER, "diffusion 100", n, at_once) for n in (SHORT, LONG))
    return timed(long / short, report, ratios=2) if at_once else counted(long / short)


def times_seconds(
    more: str, less: str, report: Report, *, n: int = LONG, at_once: int = 1
) -> Effect:
    """How many times longer one way to sample n tokens takes than another."""
    return timed(times_cost(report, more, less, n, at_once), report)


def more_accurate(
    more: str,
    less: str,
    pairs: str,
    report: Report,
    *,
    guided: bool = True,
    steps: int = USUAL_CALLS,
) -> Effect:
    """Of 100 images, how many more show their caption."""
    how = {"guided": guided, "steps": steps}
    both = (effects.accuracy(report, system, pairs, **how) for system in (more, less))
    return effect(*both).times(100)


def more_bits(more: str, less: str, pairs: str, report: Report) -> Effect:
    """Bits of a token."""
    return effect(*(effects.token_bits(report, system, pairs) for system in (more, less)))


def suffix(report: Report) -> Effect:
    """What a given upper half helps more than a lower one, AR minus VQ-Diffusion."""
    signs = [(1, RASTER, "upper"), (-1, RASTER, "lower")]
    signs += [(-1, DIFFUSION, "upper"), (1, DIFFUSION, "lower")]
    terms = [(c, effects.accuracy_given(report, name, side)) for c, name, side in signs]
    return combined(terms).times(100)


def robust(freedom: str, report: Report) -> Effect:
    """Accuracy where 10 % of a given upper half are corrupted, VQ-Diffusion minus AR."""
    ways = ((DIFFUSION, freedom), (RASTER, KEEPS))
    return effect(*(effects.accuracy_with_errors(report, *way, "0.1") for way in ways)).times(100)


def more_change(report: Report) -> Effect:
    """Change rate below a corrupted upper half, AR minus VQ-Diffusion that may resample it."""
    ways = ((RASTER, KEEPS), (DIFFUSION, FREE))
    shares = (effects.token_share("changed", report, name, "0.1", how) for name, how in ways)
    return effect(*shares).times(100)


def corrected(system: str, report: Report) -> Effect:
    """Of corrupted tokens, one an image, how many in 100 get the true code."""
    return effect(effects.token_share("corrected", report, system, ONE)).times(100)


def own_less_data(report: Report) -> Effect:
    """Bits that samples of AR cost a second AR model more than data."""
    return effect(
        *(effects.reference_bits(report, RASTER, RASTER, whose) for whose in ("own", "data"))
    )


def own_less_data_than_diffusion(report: Report) -> Effect:
    """The same minus that of samples of VQ-Diffusion."""
    signs = [(1, RASTER, "own"), (-1, RASTER, "data")]
    signs += [(-1, DIFFUSION, "own"), (1, DIFFUSION, "data")]
    return combined(
        [(c, effects.reference_bits(report, name, RASTER, whose)) for c, name, whose in signs]
    )


def more_character_bits(more: str, less: str, report: Report) -> Effect:
    """Bits of a character."""
    return effect(*(effects.character_bits(report, system) for system in (more, less)))
