"""The results as tables in Markdown, for the pages and the lesson: nothing is typed by hand."""

from collections import Counter

from vqlearn.experiments.face_off.costs import BATCHES, COSTS, LENGTHS, CostRun
from vqlearn.experiments.face_off.downstream import ABOVE, FREE, KEEPS, DownstreamRun
from vqlearn.experiments.face_off.exposure_bias import (
    BitsByCorrectness,
    BitsByCorrectnessRun,
    ExposureBiasRun,
    SequenceBits,
)
from vqlearn.experiments.face_off.inpainting import ONE, SIDES, DirectionsRun, ErrorsRun
from vqlearn.experiments.face_off.letters import OTHER_WEIGHTS, LetterRun, with_weight
from vqlearn.experiments.face_off.letters import SYSTEMS as LETTER_SYSTEMS
from vqlearn.experiments.face_off.quality import CALLS, QualityRun
from vqlearn.experiments.face_off.results import evidence, gallery
from vqlearn.experiments.face_off.results.claims import CLAIMS
from vqlearn.experiments.face_off.results.numbers import (
    COMPOSITIONS,
    Seeds,
    cost,
    letter_bits,
    measured,
    over_seeds,
    results_of,
    right,
    token_bits,
)
from vqlearn.experiments.face_off.system_run import DIFFUSION, RASTER, REFERENCES, SEEDS, run_id
from vqlearn.experiments.pages import table
from vqlearn.experiments.report import Report
from vqlearn.experiments.systems import LABELS

FIRST = SEEDS[0]
FREEDOMS = {KEEPS: "keeps the upper half", FREE: "may change it"}
FROM_ABOVE = ((RASTER, KEEPS), (DIFFUSION, KEEPS), (DIFFUSION, FREE))
"""Who gets the same upper half, and what may happen to it."""
WRONG = (ONE, "0.1", "0.4")


def all_tables(report: Report) -> dict[str, str]:
    """Everything between marks on a page."""
    return {
        "face-off-machines": machines_sentence(report),
        "face-off-verdicts": verdict_table(report),
        "face-off-claims": claims_table(report),
        "face-off-quality": quality_table(report),
        "face-off-calls": calls_table(report),
        "face-off-prompts": gallery.prompts(),
        "face-off-seconds": seconds_sentence(report),
        "face-off-cost": cost_table(report),
        "face-off-cuda": cuda_part(report),
        "face-off-errors": errors_table(report),
        "face-off-downstream": downstream_table(report),
        "face-off-directions": directions_table(report),
        "face-off-exposure-bias": exposure_bias_table(report),
        "face-off-correctness": correctness_table(report),
        "face-off-floor": floor_sentence(report),
        "face-off-letters": letters_table(report),
    }


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
    rows = []
    for name in measured(report, QualityRun):
        bits = [token_bits(report, name, composition) for composition in COMPOSITIONS]
        shares = [
            _right_percent(report, name, composition, guided=guided)
            for guided in (False, True)
            for composition in COMPOSITIONS
        ]
        cells = [str(len(bits[0].values)), *(each.text(".3f") for each in bits), *shares]
        rows.append([LABELS[name], *cells])
    titles = ("system", "seeds", "bits, seen", "bits, never seen")
    titles += ("right, seen, %", "never seen", "guided, seen", "never seen")
    return table(titles, rows)


def calls_table(report: Report) -> str:
    """Right captions of the first seed against the calls of the denoiser, guided and not."""
    rows = []
    for name in measured(report, QualityRun):
        quality = results_of(report, QualityRun, name).get(FIRST)
        if quality is None:
            continue
        seen = quality.by_composition["seen"]
        shares = [seen.share(guided=guided, steps=n) for guided in (False, True) for n in CALLS]
        if all(each.steps is not None for each in seen.sampled) and None not in shares:
            rows.append([LABELS[name], *(f"{100 * share:.0f}" for share in shares)])
    ways = [f"{way} {calls}" for way in ("plain", "guided") for calls in CALLS]
    return table(("system", *ways), rows)


def cost_table(report: Report) -> str:
    """Operations and seconds of an image of 64 and of 1,024 tokens."""
    rows = []
    for way in COSTS:
        cells = []
        for n in (64, 1024):
            found = cost(report, way, n)
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
    rows = []
    for name in measured(report, ErrorsRun):
        untouched = over_seeds(report, ErrorsRun, name, lambda found: found.untouched.share)
        shares = [untouched, *(evidence.right_with(report, name, amount) for amount in WRONG)]
        shares += [
            evidence.changed(report, name, "0.1"),
            over_seeds(
                report, ErrorsRun, name, lambda found: found.by_amount["0.1"].replaced_share
            ),
            evidence.corrected(report, name, "0.1"),
        ]
        rows.append([LABELS[name], *map(_percent, shares)])
    titles = ("system", "none wrong: right, %", "one", "10 %", "40 %")
    return table((*titles, "10 %: lost changed", "10 %: replaced", "10 %: mended"), rows)


def downstream_table(report: Report) -> str:
    """Wrong tokens in the upper half: right captions, tokens changed below, tokens corrected."""
    rows = []
    for name, freedom in FROM_ABOVE:
        found = {
            seed: each.by_freedom[freedom]
            for seed, each in results_of(report, DownstreamRun, name).items()
        }
        rights = [Seeds({seed: each.untouched.share for seed, each in found.items()})]
        changed, corrected = [], []
        for amount in ABOVE:
            damage = {seed: each.by_amount[amount] for seed, each in found.items()}
            rights.append(Seeds({seed: each.accuracy.share for seed, each in damage.items()}))
            changed.append(Seeds({seed: each.changed_share for seed, each in damage.items()}))
            corrected.append(Seeds({seed: each.corrected_share for seed, each in damage.items()}))
        cells = map(_percent, (*rights, *changed, *corrected))
        rows.append([f"{LABELS[name]}, {FREEDOMS[freedom]}", *cells])
    titles = ("system", "none wrong: right, %", "one", "10 %", "one: lost changed", "10 %")
    return table((*titles, "one: mended", "10 %"), rows)


def directions_table(report: Report) -> str:
    """Right captions when one half is given."""
    rows = []
    for name in measured(report, DirectionsRun):
        shares = [
            evidence.right_given(report, name, side, composition)
            for composition in COMPOSITIONS
            for side in SIDES
        ]
        rows.append([LABELS[name], *map(_percent, shares)])
    return table(("half given", *SIDES, *(f"{side}, never seen" for side in SIDES)), rows)


def exposure_bias_table(report: Report) -> str:
    """Bits of a token to a reference model: of true sequences, and of those that were sampled."""
    rows = []
    for name in measured(report, ExposureBiasRun):
        found, cells = results_of(report, ExposureBiasRun, name), []
        for reference in REFERENCES:
            parts = {seed: each.by_reference[reference] for seed, each in found.items()}
            data = Seeds({seed: part.data.mean for seed, part in parts.items()})
            own = Seeds({seed: part.own.mean for seed, part in parts.items()})
            cells += [data.text(".3f"), own.text(".3f")]
        rows.append([LABELS[name], *cells])
    titles = ("who draws", "raster reads true rows", "rows drawn")
    return table((*titles, "VQ-Diffusion reads true rows", "rows drawn"), rows)


def correctness_table(report: Report) -> str:
    """Bits of a token to a reference: of sequences that show the caption, and of others."""
    rows = []
    for name in measured(report, BitsByCorrectnessRun):
        found: BitsByCorrectness = results_of(report, BitsByCorrectnessRun, name)[FIRST]
        for title, bits in {
            "true rows": found.true,
            "drawn, right sentence": found.right,
            "drawn, wrong sentence": found.wrong,
        }.items():
            rows.append([f"{LABELS[name]}, {title}", *_cells_of(bits)])
    return table(("rows", "number", "mean", "standard error", "median"), rows)


def letters_table(report: Report) -> str:
    """Bits of a letter: the mean of the seeds, and with other weights of the auxiliary loss."""
    rows = []
    for system in LETTER_SYSTEMS:
        cells = [letter_bits(report, system).text(".3f")]
        for weight in OTHER_WEIGHTS:
            name = with_weight(system, weight)
            known = run_id(LetterRun.measure_id, name, FIRST) in report.runs
            cells.append(letter_bits(report, name).text(".3f") if known else "")
        rows.append([system, *cells])
    weights = (f"auxiliary weight {weight:g}" for weight in OTHER_WEIGHTS)
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
    seconds = {n: cost(report, f"diffusion {n}", 64).seconds_per_image["1"] for n in CALLS}
    return [1000 * each / calls for calls, each in seconds.items()]


def floor_sentence(report: Report) -> str:
    """What the test captions need under their own distribution."""
    floor = report.data[LetterRun.data].floor_on_test
    return f"The test captions hold {floor:.3f} bits a letter: no model can need less on average."


def _percent(share: Seeds) -> str:
    return share.percent().text(".0f")


def _right_percent(report: Report, name: str, composition: str, *, guided: bool) -> str:
    """A direct prediction is sampled with 100 calls, and never guided."""
    if name == "direct" and guided:
        return ""
    steps = 100 if name == "direct" else 25
    return _percent(right(report, name, composition, guided=guided, steps=steps))


def _cells_of(bits: SequenceBits) -> list[str]:
    numbers = (*(bits.bits_per_token or (None, None)), bits.median_bits_per_token)
    return [str(bits.sequences), *("" if each is None else f"{each:.3f}" for each in numbers)]
