"""The results as tables in Markdown, for the pages and the lesson: nothing is typed by hand."""

from collections import Counter
from collections.abc import Callable, Sequence

from vqlearn.experiments.face_off import letters
from vqlearn.experiments.face_off.costs import BATCHES, COSTS, LENGTHS, CostRun
from vqlearn.experiments.face_off.exposure_bias import BitsByCorrectnessRun, ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import (
    ABOVE,
    FREE,
    KEEPS,
    ONE,
    SIDES,
    DirectionsRun,
    ErrorsRun,
)
from vqlearn.experiments.face_off.quality import CALLS, QualityRun
from vqlearn.experiments.face_off.results import gallery, numbers
from vqlearn.experiments.face_off.results.claims import CLAIMS
from vqlearn.experiments.face_off.results.numbers import COMPOSITIONS, Seeds
from vqlearn.experiments.face_off.system_run import DIFFUSION, RASTER, REFERENCES, SEEDS, run_id
from vqlearn.experiments.pages import table
from vqlearn.experiments.report import Report
from vqlearn.experiments.systems import LABELS

FIRST = SEEDS[0]
FREEDOMS = {KEEPS: "keeps the upper half", FREE: "may change it"}
FROM_ABOVE = ((RASTER, KEEPS), (DIFFUSION, KEEPS), (DIFFUSION, FREE))
"""Who gets the same upper half, and what may happen to it."""


def system_table(
    report: Report,
    measure: numbers.Measure,
    titles: Sequence[str],
    cells: Callable[[Report, str], Sequence[str]],
) -> str:
    """A row for each system that has this measure: its label, then `cells(report, system)`."""
    systems = numbers.measured(report, measure)
    return table(titles, [[LABELS[name], *cells(report, name)] for name in systems])


def verdict_table(report: Report) -> str:
    """Each claim with its verdict and its numbers."""
    rows = [[c.text, f"**{c.verdict(report)}**", c.reason(report)] for c in CLAIMS]
    return table(("claim", "verdict", "measured"), rows)


def claims_table(report: Report) -> str:
    """The same in short: of all numbers of a claim only the lowest and the highest."""
    rows = [[c.text, f"**{c.verdict(report)}**", c.span(report)] for c in CLAIMS]
    return table(("claim", "verdict", "numbers, from lowest to highest"), rows)


def quality_table(report: Report) -> str:
    """Bits and right captions of every system, sampled plainly and guided."""
    titles = ("system", "seeds", "bits, seen", "bits, never seen")
    titles += ("right, seen, %", "never seen", "guided, seen", "never seen")
    return system_table(report, QualityRun, titles, _quality)


def _quality(report: Report, name: str) -> list[str]:
    bits = [numbers.token_bits(report, name, composition) for composition in COMPOSITIONS]
    cells = [str(len(bits[0].values)), *(each.text(".3f") for each in bits)]
    steps = 100 if name == "direct" else 25  # a direct prediction is never guided
    for guided in (False, True):
        for composition in COMPOSITIONS:
            how = {"guided": guided, "steps": steps}
            known = name != "direct" or not guided
            share = numbers.right(report, name, composition, **how) if known else None
            cells.append(_percent(share) if known else "")
    return cells


def calls_table(report: Report) -> str:
    """Right captions of the first seed against the calls of the denoiser, guided and not."""
    rows = []
    for name in numbers.measured(report, QualityRun):
        quality = numbers.results_of(report, QualityRun, name).get(FIRST)
        if quality is not None:
            seen = quality.by_composition["seen"]
            shares = [seen.share(guided=guided, steps=n) for guided in (False, True) for n in CALLS]
            if all(way.steps for way in seen.sampled) and None not in shares:
                rows.append([LABELS[name], *(f"{100 * share:.0f}" for share in shares)])
    ways = [f"{way} {calls}" for way in ("plain", "guided") for calls in CALLS]
    return table(("system", *ways), rows)


def cost_table(report: Report) -> str:
    """Operations and seconds of an image of 64 and of 1,024 tokens."""
    rows = []
    for way in COSTS:
        cells = []
        for n in (64, 1024):
            found = numbers.cost(report, way, n)
            cells.append(f"{found.operations_per_image / 1e9:.3g}")
            cells += [f"{found.seconds_per_image[str(count)]:.3g}" for count in BATCHES]
        rows.append([way, *cells])
    units = ("10⁹ operations", "s, 1 at once", "s, 8", "s, 32")
    titles = ("way", *(f"{n}: {unit}" for n in ("64 tokens", "1,024") for unit in units))
    return table(titles, rows)


def cuda_part(report: Report) -> str:
    """Seconds of an image on CUDA, for every way and length that was measured there."""
    rows, machines = [], []
    for n in LENGTHS:
        for way in COSTS:
            record = report.runs.get(CostRun(way, n, "cuda").id)
            if record is not None:
                machines.append(record.machine)
                seconds = record.result.seconds_per_image.values()
                rows.append([way, f"{n:,}", *(f"{each:.3g}" for each in seconds)])
    if not rows:
        return "Nothing was measured on CUDA."
    head = f"On CUDA ({', '.join(dict.fromkeys(machines))}), seconds of the clock."
    titles = ("way", "tokens", *(f"s, {count} at once" for count in BATCHES))
    return f"{head} What is not here was not measured.\n\n{table(titles, rows)}"


def errors_table(report: Report) -> str:
    """What wrong tokens do: to captions, and one in ten of them to the others and to itself."""
    titles = ("system", "none wrong: right, %", "one", "10 %", "40 %")
    titles += ("10 %: lost changed", "10 %: replaced", "10 %: corrected")
    return system_table(report, ErrorsRun, titles, _errors)


def _errors(report: Report, name: str) -> list[str]:
    right = [numbers.right_with(report, name, amount) for amount in (None, ONE, "0.1", "0.4")]
    outcomes = (numbers.changed, numbers.replaced, numbers.corrected)
    return [_percent(share) for share in (*right, *(of(report, name, "0.1") for of in outcomes))]


def downstream_table(report: Report) -> str:
    """Wrong tokens in the upper half: right captions, tokens changed below, tokens corrected."""
    rows = []
    for name, freedom in FROM_ABOVE:
        right = [numbers.right_below(report, name, freedom, each) for each in (None, *ABOVE)]
        changed = [numbers.changed_below(report, name, freedom, each) for each in ABOVE]
        corrected = [numbers.corrected_above(report, name, freedom, each) for each in ABOVE]
        cells = map(_percent, (*right, *changed, *corrected))
        rows.append([f"{LABELS[name]}, {FREEDOMS[freedom]}", *cells])
    titles = ("system", "none wrong: right, %", "one", "10 %", "one: lost changed", "10 %")
    return table((*titles, "one: corrected", "10 %"), rows)


def directions_table(report: Report) -> str:
    """Right captions when one half is given."""
    titles = ("half given", *SIDES, *(f"{side}, never seen" for side in SIDES))
    return system_table(report, DirectionsRun, titles, _directions)


def _directions(report: Report, name: str) -> list[str]:
    given = [(side, composition) for composition in COMPOSITIONS for side in SIDES]
    return [_percent(numbers.right_given(report, name, *each)) for each in given]


def exposure_bias_table(report: Report) -> str:
    """Bits of a token to a reference model: of true sequences, and of those that were sampled."""
    titles = ("who samples", "raster: true sequences", "sampled")
    titles += ("VQ-Diffusion: true sequences", "sampled")
    return system_table(report, ExposureBiasRun, titles, _exposure_bias)


def _exposure_bias(report: Report, name: str) -> list[str]:
    bits = (numbers.reference_bits(report, name, reference) for reference in REFERENCES)
    return [seeds.text(".3f") for both in bits for seeds in both]


def correctness_table(report: Report) -> str:
    """Bits of a token to a reference: of sequences that show the caption, and of others."""
    rows = []
    for name in numbers.measured(report, BitsByCorrectnessRun):
        found = numbers.results_of(report, BitsByCorrectnessRun, name)[FIRST]
        for title, part in {
            "true sequences": found.true,
            "sampled, right caption": found.right,
            "sampled, wrong caption": found.wrong,
        }.items():
            bits = (*(part.bits_per_token or (None, None)), part.median_bits_per_token)
            cells = ["" if each is None else f"{each:.3f}" for each in bits]
            rows.append([f"{LABELS[name]}, {title}", str(part.sequences), *cells])
    return table(("sequences", "number", "mean", "standard error", "median"), rows)


def letters_table(report: Report) -> str:
    """Bits of a letter: the mean of the seeds, and with other weights of the auxiliary loss."""
    rows = []
    for system in letters.SYSTEMS:
        cells = [numbers.letter_bits(report, system).text(".3f")]
        for weight in letters.OTHER_WEIGHTS:
            name = letters.with_weight(system, weight)
            known = run_id(letters.LetterRun.measure_id, name, FIRST) in report.runs
            cells.append(numbers.letter_bits(report, name).text(".3f") if known else "")
        rows.append([system, *cells])
    weights = (f"auxiliary weight {weight:g}" for weight in letters.OTHER_WEIGHTS)
    return table(("system", "bits of a letter", *weights), rows)


def machines_sentence(report: Report) -> str:
    """Where systems learnt and were measured, each machine with its number of runs."""
    counts = Counter(
        record.machine
        for record in report.runs.values()
        if record.machine and "way" not in record.settings  # a cost is no training
    )
    named = [f"{name} ({n} of {counts.total()} runs)" for name, n in counts.most_common()]
    return f"Systems learnt and were measured on {', '.join(named)}."


def seconds_sentence(report: Report) -> str:
    """On which CPU, and how far the seconds of one call lie apart."""
    (cpu,) = {report.runs[CostRun(way, n).id].machine for way in COSTS for n in LENGTHS}
    fastest, *_, slowest = sorted(milliseconds_of_a_call(report))
    return (
        f"The CPU was {cpu}. Read seconds with care: of the same denoiser with 64 tokens, a call "
        f"took from {fastest:.1f} to {slowest:.1f} milliseconds."
    )


def milliseconds_of_a_call(report: Report) -> list[float]:
    """One call of the denoiser for 64 tokens, one image, as each number of calls has it."""
    seconds = {n: numbers.cost(report, f"diffusion {n}", 64).seconds_per_image["1"] for n in CALLS}
    return [1000 * each / calls for calls, each in seconds.items()]


def floor_sentence(report: Report) -> str:
    """What the test captions need under their own distribution."""
    floor = report.data[letters.DATA].floor_on_test
    return f"The test captions hold {floor:.3f} bits a letter: no model can need less on average."


def _percent(share: Seeds) -> str:
    return share.percent().text(".0f")


TABLES: dict[str, Callable[[Report], str]] = {
    "machines": machines_sentence,
    "verdicts": verdict_table,
    "claims": claims_table,
    "quality": quality_table,
    "calls": calls_table,
    "prompts": lambda report: gallery.prompts(),
    "seconds": seconds_sentence,
    "cost": cost_table,
    "cuda": cuda_part,
    "errors": errors_table,
    "downstream": downstream_table,
    "directions": directions_table,
    "exposure-bias": exposure_bias_table,
    "correctness": correctness_table,
    "floor": floor_sentence,
    "letters": letters_table,
}


def all_tables(report: Report) -> dict[str, str]:
    """Everything that stands between marks on a page."""
    return {f"face-off-{name}": make(report) for name, make in TABLES.items()}
