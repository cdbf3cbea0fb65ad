"""The results as tables in Markdown, for the pages and the lesson: nothing is typed by hand."""

from collections import Counter
from collections.abc import Callable, Iterable

from vqlearn.data.scenes import SceneBatch
from vqlearn.evaluation import Evaluation, evaluated_scenes
from vqlearn.experiments.face_off import inpainting, letters, training
from vqlearn.experiments.face_off.costs import BATCHES, COSTS, LENGTHS, CostRun
from vqlearn.experiments.face_off.exposure_bias import BitsByCorrectnessRun, ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import ABOVE, FREE, KEEPS, ONE, SIDES
from vqlearn.experiments.face_off.quality import CALLS, SHOWN, QualityRun
from vqlearn.experiments.face_off.results import numbers
from vqlearn.experiments.face_off.results.claims import CLAIMS, Claim
from vqlearn.experiments.face_off.results.numbers import Seeds, measured, results_of
from vqlearn.experiments.face_off.training import DIFFUSION, RASTER, SEEDS
from vqlearn.experiments.pages import COMPOSITIONS, table
from vqlearn.experiments.report import Report
from vqlearn.experiments.sequences import DEFAULT_AUXILIARY_WEIGHT
from vqlearn.experiments.systems import LABELS

FIRST = SEEDS[0]
FREEDOMS = {KEEPS: "keeps the upper half", FREE: "may change it"}
FROM_ABOVE = ((RASTER, KEEPS), (DIFFUSION, KEEPS), (DIFFUSION, FREE))
"""Who gets the same upper half, and what may happen to it."""


def verdict_table(report: Report) -> str:
    """Each claim with its verdict and its numbers."""
    return _claims(report, "measured", Claim.reason)


def claims_table(report: Report) -> str:
    """The same in short: of all numbers of a claim only the lowest and the highest."""
    return _claims(report, "numbers, from lowest to highest", Claim.span)


def _claims(report: Report, title: str, cell: Callable[[Claim, Report], str]) -> str:
    rows = [[each.text, f"**{each.verdict(report)}**", cell(each, report)] for each in CLAIMS]
    return table(("claim", "verdict", title), rows)


def quality_table(report: Report) -> str:
    """Bits and right captions of every system, sampled plainly and guided."""
    rows = []
    for name in measured(report, QualityRun):
        bits = [numbers.token_bits(report, name, composition) for composition in COMPOSITIONS]
        steps, ways = (100, (False,)) if name == "direct" else (25, (False, True))
        shares = [
            numbers.right(report, name, composition, guided=guided, steps=steps)
            for guided in ways
            for composition in COMPOSITIONS
        ]
        blank = [""] * (4 - len(shares))  # a direct prediction is never guided
        cells = [str(len(bits[0].values)), *_bits(bits), *_percents(shares), *blank]
        rows.append([LABELS[name], *cells])
    titles = ("system", "seeds", "bits, seen", "bits, never seen")
    titles += ("right, seen, %", "never seen", "guided, seen", "never seen")
    return table(titles, rows)


def calls_table(report: Report) -> str:
    """Right captions of the first seed against the calls of the denoiser, guided and not."""
    rows = []
    for name in measured(report, QualityRun):
        quality = results_of(report, QualityRun, name).get(FIRST)
        seen = quality and quality.by_composition["seen"]
        if seen and {way.steps for way in seen.sampled} == set(CALLS):
            shares = [seen.share(guided=guided, steps=n) for guided in (False, True) for n in CALLS]
            rows.append([LABELS[name], *(f"{100 * share:.0f}" for share in shares)])
    ways = [f"{way} {calls}" for way in ("plain", "guided") for calls in CALLS]
    return table(("system", *ways), rows)


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


def errors_table(report: Report) -> str:
    """What wrong tokens do: to captions, and one in ten of them to the others and to itself."""
    rows = []
    for name in measured(report, inpainting.ErrorsRun):
        right = [numbers.right_below(report, name, None, n) for n in (None, ONE, "0.1", "0.4")]
        outcomes = (numbers.changed, numbers.replaced, numbers.corrected)
        others = [number(report, name, "0.1") for number in outcomes]
        rows.append([LABELS[name], *_percents(right + others)])
    titles = ("system", "none wrong: right, %", "one", "10 %", "40 %")
    return table((*titles, "10 %: lost changed", "10 %: replaced", "10 %: corrected"), rows)


def downstream_table(report: Report) -> str:
    """Wrong tokens in the upper half: right captions, tokens changed below, tokens corrected."""
    rows = []
    for name, freedom in FROM_ABOVE:
        right = [numbers.right_below(report, name, freedom, each) for each in (None, *ABOVE)]
        changed = [numbers.changed(report, name, each, freedom) for each in ABOVE]
        corrected = [numbers.corrected(report, name, each, freedom) for each in ABOVE]
        cells = _percents(right + changed + corrected)
        rows.append([f"{LABELS[name]}, {FREEDOMS[freedom]}", *cells])
    titles = ("system", "none wrong: right, %", "one", "10 %", "one: lost changed", "10 %")
    return table((*titles, "one: corrected", "10 %"), rows)


def directions_table(report: Report) -> str:
    """Right captions when one half is given."""
    given = [(side, composition) for composition in COMPOSITIONS for side in SIDES]
    rows = [
        [LABELS[name], *_percents(numbers.right_given(report, name, *each) for each in given)]
        for name in measured(report, inpainting.DirectionsRun)
    ]
    return table(("half given", *SIDES, *(f"{side}, never seen" for side in SIDES)), rows)


def exposure_bias_table(report: Report) -> str:
    """Bits of a token to a reference model: of true sequences, and of those that were sampled."""
    read = [(reference, whose) for reference in training.REFERENCES for whose in ("data", "own")]
    rows = [
        [LABELS[name], *_bits(numbers.reference_bits(report, name, *each) for each in read)]
        for name in measured(report, ExposureBiasRun)
    ]
    titles = ("who samples", "raster: true sequences", "sampled")
    return table((*titles, "VQ-Diffusion: true sequences", "sampled"), rows)


def correctness_table(report: Report) -> str:
    """Bits of a token to a reference: of sequences that show the caption, and of others."""
    rows = []
    for name in measured(report, BitsByCorrectnessRun):
        found = results_of(report, BitsByCorrectnessRun, name)[FIRST]
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
        cells = []
        for weight in (DEFAULT_AUXILIARY_WEIGHT, *letters.OTHER_WEIGHTS):
            name = letters.with_weight(system, weight)
            known = training.run_id(letters.LetterRun.measure_id, name, FIRST) in report.runs
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
    calls = [1000 * numbers.cost_of(report, f"diffusion {n}", 64, 1) / n for n in CALLS]
    return (
        f"The CPU was {cpu}. Read seconds with care: of the same denoiser with 64 tokens, a call "
        f"took from {min(calls):.1f} to {max(calls):.1f} milliseconds."
    )


def floor_sentence(report: Report) -> str:
    """What the test captions need under their own distribution."""
    floor = report.data[letters.DATA].floor_on_test
    return f"The test captions hold {floor:.3f} bits a letter: no model can need less on average."


def shown_scenes(composition: str) -> SceneBatch:
    """All scenes that were measured; the first `SHOWN` are in the plot."""
    return evaluated_scenes(composition, Evaluation(prompts=training.BUDGET.rows))


def prompts_shown(report: Report) -> str:
    """The captions of the plot as Markdown, from left to right."""
    lines = []
    for composition, title in COMPOSITIONS.items():
        captions = shown_scenes(composition).captions[:SHOWN]
        lines.append(f"{title.capitalize()}: {', '.join(f'*{each}*' for each in captions)}.")
    return "\n\n".join(lines)


def _bits(found: Iterable[Seeds]) -> list[str]:
    return [bits.text(".3f") for bits in found]


def _percents(shares: Iterable[Seeds]) -> list[str]:
    return [share.percent().text(".0f") for share in shares]


TABLES: dict[str, Callable[[Report], str]] = {
    "machines": machines_sentence,
    "verdicts": verdict_table,
    "claims": claims_table,
    "quality": quality_table,
    "calls": calls_table,
    "prompts": prompts_shown,
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
