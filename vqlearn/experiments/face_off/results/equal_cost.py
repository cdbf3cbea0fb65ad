"""Quality at equal cost: every way to sample, with what it costs and how accurate it is."""

from collections.abc import Iterator
from dataclasses import dataclass

from vqlearn.experiments.face_off.costs import BATCHES, COSTS, LENGTHS, CostRun
from vqlearn.experiments.face_off.quality import CALLS
from vqlearn.experiments.face_off.results import effects, measures, numbers
from vqlearn.experiments.face_off.results.effects import Effect, Measured, effect
from vqlearn.experiments.face_off.training import RASTER
from vqlearn.experiments.pages import table
from vqlearn.experiments.report import Report
from vqlearn.experiments.systems import LABELS, SYSTEMS

TOKENS = measures.SHORT
KERNELS = tuple(name for name in SYSTEMS if name not in (RASTER, "imagebart"))
"""The systems that take sampling steps: all cost the same."""
UNITS = {"10⁹ operations": None, "s, one image": 1, "s, 32 at once": 32}
"""What cost is told in, by how many images are sampled at once."""


@dataclass(frozen=True)
class Setting:
    """A system and how it is sampled; None steps: one token after the other, with a KV cache."""

    system: str
    guided: bool
    steps: int | None = None

    @property
    def way(self) -> str:
        """What its cost is stored as."""
        kind = self.system if self.steps is None else f"diffusion {self.steps}"
        return f"{kind} guided" if self.guided else kind

    @property
    def text(self) -> str:
        """In words."""
        how = "guided" if self.guided else "plain"
        steps = "" if self.steps is None else f", {self.steps} steps"
        return f"{LABELS[self.system]}, {how}{steps}"

    def shares(self, report: Report, composition: str) -> Measured:
        """The share of images that show their caption, by seed."""
        steps = self.steps or 0  # one pass: no steps to choose
        return effects.accuracy(report, self.system, composition, guided=self.guided, steps=steps)

    def accuracy(self, report: Report, composition: str) -> Effect:
        """Of 100 images, how many show their caption."""
        return effect(self.shares(report, composition)).times(100)

    def lead(self, other: "Setting", report: Report, composition: str) -> Effect:
        """How many more of 100 images show their caption."""
        both = (each.shares(report, composition) for each in (self, other))
        return effect(*both).times(100)

    def cost(self, report: Report, at_once: int | None = None) -> float:
        """Operations for one image, or seconds if so many are sampled at once."""
        return numbers.cost_of(report, self.way, TOKENS, at_once)


SETTINGS = (
    Setting(RASTER, False),
    Setting(RASTER, True),
    Setting("imagebart", False),
    *(Setting(name, guided, n) for name in KERNELS for guided in (False, True) for n in CALLS),
)
"""All whose cost and accuracy were measured."""
AUTOREGRESSIVE = Setting(RASTER, False)


def best_within(report: Report, composition: str, limit: float, at_once: int | None) -> Setting:
    """The most accurate diffusion that costs no more than this; the first of equals."""
    affordable = (each for each in SETTINGS if each.steps and each.cost(report, at_once) <= limit)
    return max(affordable, key=lambda each: each.accuracy(report, composition).estimate.value)


def equal_cost_table(report: Report, composition: str) -> str:
    """Accuracy beside cost: AR and ImageBART first, then a line for each number of steps."""
    rows = []
    for guided in (False, True):
        for each in (way for way in SETTINGS if way.steps is None and way.guided == guided):
            accuracy = each.accuracy(report, composition).text(".0f")
            rows.append([each.text, *_costs(report, each), accuracy, *[""] * len(KERNELS)])
        for n in CALLS:
            ways = [Setting(name, guided, n) for name in KERNELS]
            cells = [way.accuracy(report, composition).text(".0f") for way in ways]
            name = f"{n} steps, {'guided' if guided else 'plain'}"
            rows.append([name, *_costs(report, ways[0]), "", *cells])
    return table(("sampled", *UNITS, "one pass", *(LABELS[name] for name in KERNELS)), rows)


def _costs(report: Report, way: Setting) -> Iterator[str]:
    for at_once in UNITS.values():
        cost = way.cost(report, at_once)
        yield f"{cost / 1e9 if at_once is None else cost:.3g}"


def cost_table(report: Report) -> str:
    """Operations and seconds of an image of 64 and of 1,024 tokens."""
    rows = []
    for way in COSTS:
        cells = []
        for n in (64, 1024):
            cost = numbers.cost(report, way, n)
            cells += [cost.operations_per_image / 1e9, *cost.seconds_per_image.values()]
        rows.append([way, *(f"{cell:.3g}" for cell in cells)])
    units = ("10⁹ operations", "s, 1 at once", "s, 8", "s, 32")
    titles = (f"{n}: {unit}" for n in ("64 tokens", "1,024") for unit in units)
    return table(("way", *titles), rows)


def cuda_part(report: Report) -> str:
    """Seconds of an image on CUDA, for every way and length that was measured there."""
    runs = [CostRun(way, n, "cuda") for n in LENGTHS for way in COSTS]
    records = {run: report.runs[run.id] for run in runs if run.id in report.runs}
    if not records:
        return "Nothing was measured on CUDA."
    rows = []
    for run, record in records.items():
        seconds = record.result.seconds_per_image.values()
        rows.append([run.way, f"{run.num_tokens:,}", *(f"{each:.3g}" for each in seconds)])
    machines = ", ".join(dict.fromkeys(record.machine for record in records.values()))
    head = f"On CUDA ({machines}), seconds of the clock. What is not here was not measured."
    titles = ("way", "tokens", *(f"s, {count} at once" for count in BATCHES))
    return f"{head}\n\n{table(titles, rows)}"


def seconds_sentence(report: Report) -> str:
    """On which CPU, and how far the seconds of a step lie apart."""
    (cpu,) = {report.runs[CostRun(way, n).id].machine for way in COSTS for n in LENGTHS}
    found = measures.seconds_per_step(report)
    steps = (f"{1000 * a:.1f} to {1000 * b:.1f} for a {k} step" for k, (a, b) in found.items())
    return (
        f"The CPU was {cpu}. Read seconds with care: the same denoiser with 64 tokens took "
        f"{' and '.join(steps)}, in milliseconds."
    )
