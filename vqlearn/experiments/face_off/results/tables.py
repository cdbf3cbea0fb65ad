"""The results as tables in Markdown, for the pages and the lesson: nothing is typed by hand.

Brackets hold 95 % intervals over test items.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from vqlearn.data.scenes import SceneBatch
from vqlearn.evaluation import Evaluation, evaluated_scenes
from vqlearn.experiments.face_off import inpainting, letters, training
from vqlearn.experiments.face_off.exposure_bias import BitsByCorrectnessRun, ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import ABOVE, FREE, KEEPS, ONE, SIDES
from vqlearn.experiments.face_off.quality import SHOWN, USUAL_CALLS, QualityRun
from vqlearn.experiments.face_off.results import effects, equal_cost, findings, numbers
from vqlearn.experiments.face_off.results.claims import CLAIMS
from vqlearn.experiments.face_off.results.effects import Measured, effect
from vqlearn.experiments.face_off.results.equal_cost import Setting
from vqlearn.experiments.face_off.results.numbers import measured, results_of
from vqlearn.experiments.face_off.training import DIFFUSION, RASTER, SEEDS
from vqlearn.experiments.pages import COMPOSITIONS, table
from vqlearn.experiments.report import Report
from vqlearn.experiments.sequences import DEFAULT_AUXILIARY_WEIGHT
from vqlearn.experiments.systems import LABELS, SYSTEMS

FIRST = SEEDS[0]
FREEDOMS = {KEEPS: "keeps the upper half", FREE: "may resample it"}
FROM_ABOVE = ((RASTER, KEEPS), (DIFFUSION, KEEPS), (DIFFUSION, FREE))
"""Who gets the same upper half, and what may happen to it."""
ONE_PASS = (RASTER, "imagebart")


def claims_table(report: Report) -> str:
    """Each claim with its source, its one measure, the effect, every seed, and the reading."""
    rows = [
        [
            each.text,
            each.source,
            each.measure,
            each.effect_text(report),
            each.seeds_text(report),
            f"**{each.reading(report)}**",
        ]
        for each in CLAIMS
    ]
    titles = ("claim", "source", "measure", "effect [95 %]", "seeds [95 %]", "reading")
    return table(titles, rows)


def quality_table(report: Report) -> str:
    """Bits and accuracy of every system, sampled plainly and guided, every seed in a second line.

    Then the share of guided images that can be read (of a direct prediction: of plain ones).
    """
    rows = []
    for name in measured(report, QualityRun):
        only_plain = name == "direct"
        how = {"steps": 100 if only_plain else USUAL_CALLS}
        bits = [effects.token_bits(report, name, each) for each in COMPOSITIONS]
        cells = [_two_lines(each, ".3f", _bound(name)) for each in bits]
        for guided in (False,) if only_plain else (False, True):
            shares = (
                effects.accuracy(report, name, each, guided=guided, **how) for each in COMPOSITIONS
            )
            cells += [_two_lines(share, ".0f", factor=100) for share in shares]
        cells += [""] * (6 - len(cells))
        for each in COMPOSITIONS:
            found = numbers.readable(report, name, each, guided=not only_plain, **how)
            cells.append(f"{found.percent().mean:.0f}")
        rows.append([LABELS[name], *cells])
    titles = ("system", "bits, seen", "bits, never seen", "plain, seen, %", "never seen")
    return table(
        (*titles, "guided, seen, %", "never seen", "readable, seen, %", "never seen"), rows
    )


def short_table(report: Report) -> str:
    """The same of the systems alone, guided, with the operations of an image."""
    rows = []
    for name in SYSTEMS:
        how = Setting(name, True, None if name in ONE_PASS else USUAL_CALLS)
        bits = (effects.token_bits(report, name, each) for each in COMPOSITIONS)
        shares = (effects.accuracy(report, name, each) for each in COMPOSITIONS)
        known = how in equal_cost.SETTINGS
        cost = f"{how.cost(report) / 1e9:.2g}" if known else ""
        cells = [_bound(name) + effect(each).text(".2f") for each in bits]
        rows.append([LABELS[name], *cells, *_percents(shares), cost])
    titles = ("system", "bits, seen", "bits, never seen", "right, seen, %", "never seen")
    return table((*titles, "10⁹ operations"), rows)


def errors_table(report: Report) -> str:
    """What corrupted tokens do to accuracy, and one in ten of them to the others and to itself."""
    rows = []
    for name in measured(report, inpainting.ErrorsRun):
        amounts = (None, ONE, "0.1", "0.4")
        right = [effects.accuracy_with_errors(report, name, None, each) for each in amounts]
        outcomes = ("changed", "replaced", "corrected")
        others = [effects.token_share(each, report, name, "0.1") for each in outcomes]
        rows.append([LABELS[name], *_percents(right + others)])
    titles = ("system", "none corrupted: right, %", "one", "10 %", "40 %")
    return table((*titles, "10 %: masked changed", "10 %: replaced", "10 %: corrected"), rows)


def downstream_table(report: Report) -> str:
    """Corrupted tokens in the upper half: accuracy, tokens changed below, tokens corrected."""
    rows = []
    for name, freedom in FROM_ABOVE:
        right = [
            effects.accuracy_with_errors(report, name, freedom, each) for each in (None, *ABOVE)
        ]
        shares = [
            effects.token_share(what, report, name, each, freedom)
            for what in ("changed", "corrected")
            for each in ABOVE
        ]
        rows.append([f"{LABELS[name]}, {FREEDOMS[freedom]}", *_percents(right + shares)])
    titles = ("system", "none corrupted: right, %", "one", "10 %", "one: masked changed", "10 %")
    return table((*titles, "one: corrected", "10 %"), rows)


def directions_table(report: Report) -> str:
    """Accuracy when one half is given."""
    given = [(side, composition) for composition in COMPOSITIONS for side in SIDES]
    rows = [
        [LABELS[name], *_percents(effects.accuracy_given(report, name, *each) for each in given)]
        for name in measured(report, inpainting.DirectionsRun)
    ]
    return table(("half given", *SIDES, *(f"{side}, never seen" for side in SIDES)), rows)


def exposure_bias_table(report: Report) -> str:
    """Bits of a token to a reference model: of data, and of samples."""
    read = [(reference, whose) for reference in training.REFERENCES for whose in ("data", "own")]
    rows = []
    for name in measured(report, ExposureBiasRun):
        bits = (effects.reference_bits(report, name, *each) for each in read)
        rows.append([LABELS[name], *(effect(each).text(".3f") for each in bits)])
    titles = ("who samples", "raster: data", "samples", "VQ-Diffusion: data", "samples")
    return table(titles, rows)


def correctness_table(report: Report) -> str:
    """Bits of a token to a reference: of samples that show the caption, and of others."""
    rows = []
    for name in measured(report, BitsByCorrectnessRun):
        found = results_of(report, BitsByCorrectnessRun, name)[FIRST]
        for title, part in {
            "data": found.true,
            "samples, right": found.right,
            "samples, wrong": found.wrong,
        }.items():
            median, bits = part.median_bits_per_token, part.bits_per_token
            mean = "" if bits is None else effects.interval_text(effects.of_bits(bits), ".3f")
            cells = [mean, "" if median is None else f"{median:.3f}"]
            rows.append([f"{LABELS[name]}, {title}", str(part.sequences), *cells])
    return table(("sequences", "number", "mean", "median"), rows)


def letters_table(report: Report) -> str:
    """Bits of a character, other weights of the auxiliary loss, samples that parse, steps kept."""
    rows = []
    for system in letters.SYSTEMS:
        cells = []
        for weight in (DEFAULT_AUXILIARY_WEIGHT, *letters.OTHER_WEIGHTS):
            name = letters.with_weight(system, weight)
            known = training.run_id(letters.LetterRun.measure_id, name, FIRST) in report.runs
            above = known and effect(effects.character_bits(report, name))
            cells.append(f"{_bound(system)}{above.text('.3f')}" if above else "")
        cells.append(_two_lines(effects.parsed(report, system), ".0f", factor=100))
        kept = numbers.over_seeds(report, letters.LetterRun, system, "steps_kept").values
        cells.append(", ".join(f"{each:,}" for each in kept if each is not None))
        rows.append([system, *cells])
    weights = (f"auxiliary weight {weight:g}" for weight in letters.OTHER_WEIGHTS)
    titles = ("system", "bits above the entropy", *weights, "samples that parse, %", "step kept")
    return table(titles, rows)


def machines_sentence(report: Report) -> str:
    """Where systems were trained and measured, each machine with its number of runs."""
    counts = Counter(
        record.machine
        for record in report.runs.values()
        if record.machine and "way" not in record.settings  # a cost is no training
    )
    named = [f"{name} ({n} of {counts.total()} runs)" for name, n in counts.most_common()]
    return f"Systems were trained and measured on {', '.join(named)}."


def floor_sentence(report: Report) -> str:
    """What the test captions need under their own distribution."""
    floor = report.data[letters.DATA].floor_on_test
    return f"The entropy of the test captions is {floor:.3f} bits per character, a lower bound."


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


def _bound(system: str) -> str:
    """Only the likelihood of the raster transformer is exact."""
    return "" if system == RASTER else "≤ "


def _two_lines(measure: Measured, form: str, before: str = "", factor: float = 1) -> str:
    found = effect(measure).times(factor)
    return f"{before}{found.text(form)}<br>{', '.join(f'{x:{form}}' for x in found.seeds.values)}"


def _percents(shares: Iterable[Measured]) -> list[str]:
    return [effect(share).times(100).text(".0f") for share in shares]


TABLES: dict[str, Callable[[Report], str]] = {
    "machines": machines_sentence,
    "findings": findings.findings_list,
    "cost-seen": partial(equal_cost.equal_cost_table, composition="seen"),
    "cost-never-seen": partial(equal_cost.equal_cost_table, composition="held_out"),
    "unequal": findings.unequal_list,
    "claims": claims_table,
    "short": short_table,
    "quality": quality_table,
    "prompts": prompts_shown,
    "seconds": equal_cost.seconds_sentence,
    "cost": equal_cost.cost_table,
    "cuda": equal_cost.cuda_part,
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
    return {f"comparison-{name}": make(report) for name, make in TABLES.items()}
