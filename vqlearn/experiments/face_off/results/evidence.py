"""The numbers that bear on each claim, out of the report.

Every number is made so that the larger it is, the more it speaks for the claim.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

from vqlearn.experiments.face_off import inpainting
from vqlearn.experiments.face_off.costs import Cost
from vqlearn.experiments.face_off.inpainting import FREE, KEEPS
from vqlearn.experiments.face_off.letters import KERNELS, OTHER_WEIGHTS, with_weight
from vqlearn.experiments.face_off.results import numbers
from vqlearn.experiments.face_off.results.numbers import Seeds
from vqlearn.experiments.face_off.system_run import DIFFUSION, RASTER
from vqlearn.experiments.report import Report
from vqlearn.experiments.sequences import DEFAULT_AUXILIARY_WEIGHT

LONG, SHORT = 1024, 16
READERS = {
    "without a cache": "raster without cache",
    "without one, prefix only": "raster, prefix only",
    "with a cache": "raster",
}
PUBLISHED = ("raster", "absorbing", "nearest-neighbour", "uniform")
REFERENCES = {"to a raster network": RASTER, "to a diffusion": DIFFUSION}
PAIRS = {"seen": "pairs seen", "held_out": "pairs never seen"}
SIDES = (("upper", "lower"), ("left", "right"))

Numbers = Mapping[tuple[str, ...], Seeds]
"""Each by a value of every factor."""


def operations(cost: Cost) -> float:
    """For one image."""
    return cost.operations_per_image


def seconds_at_once(count: int) -> Callable[[Cost], float]:
    """Seconds of one image where so many are sampled at once."""
    return lambda cost: cost.seconds_per_image[str(count)]


def slower_growth(report: Report) -> Numbers:
    """From 16 to 1,024 tokens: how many times more does a raster network grow than 100 calls?"""
    found = {}
    for kind, of in (("operations", operations), ("seconds", seconds_at_once(1))):
        for reader, way in READERS.items():
            short, long = (_against(report, way, 100, n, of) for n in (SHORT, LONG))
            found[kind, reader] = Seeds({0: long / short})
    return found


def ten_times(report: Report) -> Numbers:
    """1,024 tokens against 100 calls: how many times less, in calls and in operations?"""
    found = {("calls",): Seeds({0: LONG / 100})}
    for reader, way in READERS.items():
        factor = _against(report, way, 100, LONG, operations)
        found[(f"operations {reader}",)] = Seeds({0: factor})
    return found


def fifteen_times(report: Report) -> Numbers:
    """1,024 tokens: how many times fewer seconds does diffusion take?"""
    found = {}
    for calls in (100, 25):
        for reader, way in READERS.items():
            for count in (1, 32):
                factor = _against(report, way, calls, LONG, seconds_at_once(count))
                key = (f"{calls} calls", reader, f"{count} at once")
                found[key] = Seeds({0: factor})
    return found


def errors_add_up(report: Report) -> Numbers:
    """Wrong tokens: how many more of the lost ones change than in VQ-Diffusion?

    Each has lost its own half, or both the lower half.
    """
    found = {}
    for amount in inpainting.AMOUNTS:
        raster, diffusion = (numbers.changed(report, name, amount) for name in (RASTER, DIFFUSION))
        found["own half lost", wrong(amount)] = raster.minus(diffusion).percent()
    for way, freedom in (("keeps the upper", KEEPS), ("may change the upper", FREE)):
        for amount in inpainting.ABOVE:
            raster = numbers.changed_below(report, RASTER, KEEPS, amount)
            diffusion = numbers.changed_below(report, DIFFUSION, freedom, amount)
            key = (f"lower half lost, VQ-Diffusion {way}", wrong(amount))
            found[key] = raster.minus(diffusion).percent()
    return found


def corrects(report: Report) -> Numbers:
    """Of wrong tokens: which share gets the true code back?"""
    schedules = {"released schedule": DIFFUSION, "paper's schedule": "vq-diffusion-paper"}
    return {
        (schedule, wrong(amount)): numbers.corrected(report, name, amount).percent()
        for schedule, name in schedules.items()
        for amount in inpainting.AMOUNTS
    }


def order(report: Report) -> Numbers:
    """Right captions if the half that is read first is given, less those if the last one is."""
    own, more = {}, {}
    for first, last in SIDES:
        raster, diffusion = (
            numbers.right_given(report, name, first)
            .minus(numbers.right_given(report, name, last))
            .percent()
            for name in (RASTER, DIFFUSION)
        )
        own["raster", f"{first} less {last}"] = raster
        more["that less VQ-Diffusion's", f"{first} less {last}"] = raster.minus(diffusion)
    return {**own, **more}


def exposure_bias(report: Report) -> Numbers:
    """How many bits more do sampled sequences of a raster network need than true ones?

    And than VQ-Diffusion's; and do they grow from the upper half to the lower?
    """
    own, more = {}, {}
    for reader, reference in REFERENCES.items():
        raster, diffusion = (numbers.gap(report, name, reference) for name in (RASTER, DIFFUSION))
        own["than true sequences", reader] = raster
        more["than VQ-Diffusion's", reader] = raster.minus(diffusion)
    reader, *_ = REFERENCES
    return {
        **own,
        **more,
        ("in the lower half than in the upper", reader): numbers.growth(report, RASTER),
    }


def global_context_bits(report: Report) -> Numbers:
    """Bits that the same denoiser needs more if a token attends only to those before it."""
    return _more_bits(report, "causal", DIFFUSION)


def global_context_images(report: Report) -> Numbers:
    """Captions that come out right less often if a token attends only to those before it."""
    return _fewer_right(report, "causal", DIFFUSION, guided=True, steps=25)


def clearer_target_bits(report: Report) -> Numbers:
    """Bits that the same denoiser needs more if it predicts x_{t-1}; no auxiliary loss in both."""
    return _more_bits(report, "direct", "no-auxiliary")


def clearer_target_images(report: Report) -> Numbers:
    """Captions that come out right less often if a denoiser predicts x_{t-1}."""
    return _fewer_right(report, "direct", "no-auxiliary", guided=False, steps=100)


def better_images(report: Report) -> Numbers:
    """With one budget: how many more captions come out right than in a raster network?"""
    return _fewer_right(report, RASTER, DIFFUSION, guided=True, steps=25)


def published_order(report: Report) -> Numbers:
    """Bits of a letter: each system of the published order less the one before it."""
    return {
        (f"{worse} less {better}", f"weight {weight:g}"): bits_with(report, worse, weight).minus(
            bits_with(report, better, weight)
        )
        for weight in sorted((DEFAULT_AUXILIARY_WEIGHT, *OTHER_WEIGHTS))
        for better, worse in pairwise(PUBLISHED)
    }


def auxiliary_loss(report: Report) -> Numbers:
    """How many bits more does the same kernel need without it, on letters and on tokens?"""
    letters = {
        (f"letters, {kernel}", f"weight {weight:g}"): bits_with(report, kernel, 0).minus(
            bits_with(report, kernel, weight)
        )
        for weight in (DEFAULT_AUXILIARY_WEIGHT, max(OTHER_WEIGHTS))
        for kernel in KERNELS
    }
    weight = f"weight {DEFAULT_AUXILIARY_WEIGHT:g}"
    tokens = {
        (f"tokens, {pairs}", weight): seeds
        for (pairs,), seeds in _more_bits(report, "no-auxiliary", DIFFUSION).items()
    }
    return {**letters, **tokens}


def wrong(amount: str) -> str:
    """In words."""
    return "one wrong" if amount == inpainting.ONE else f"{100 * float(amount):g} % wrong"


def bits_with(report: Report, system: str, auxiliary_weight: float) -> Seeds:
    """Bits of a letter; only kernels have an auxiliary loss."""
    name = with_weight(system, auxiliary_weight) if system in KERNELS else system
    return numbers.letter_bits(report, name)


def _against(report: Report, way: str, calls: int, n: int, of: Callable[[Cost], float]) -> float:
    """How many times more does this way cost than so many calls of a denoiser?"""
    return of(numbers.cost(report, way, n)) / of(numbers.cost(report, f"diffusion {calls}", n))


def _more_bits(report: Report, system: str, than: str) -> Numbers:
    found = {}
    for pairs, text in PAIRS.items():
        one, other = (numbers.token_bits(report, name, pairs) for name in (system, than))
        found[(text,)] = one.minus(other)
    return found


def _fewer_right(report: Report, system: str, than: str, **way: int) -> Numbers:
    found = {}
    for pairs, text in PAIRS.items():
        more, fewer = (numbers.right(report, name, pairs, **way) for name in (than, system))
        found[(text,)] = more.minus(fewer).percent()
    return found
