"""The five findings that open the page, and what was not equal: sentences with their numbers."""

from vqlearn.experiments.face_off import costs
from vqlearn.experiments.face_off.quality import USUAL_CALLS
from vqlearn.experiments.face_off.results import effects, measures
from vqlearn.experiments.face_off.results.effects import Effect, effect
from vqlearn.experiments.face_off.results.equal_cost import (
    AUTOREGRESSIVE,
    TOKENS,
    Setting,
    best_within,
)
from vqlearn.experiments.face_off.training import DIFFUSION, RASTER
from vqlearn.experiments.report import Report
from vqlearn.experiments.sequences import count_weights
from vqlearn.experiments.systems import DENOISER_SIZE, RASTER_SIZE
from vqlearn.training import NUM_TIMESTEPS

MASKS, PAPER = "absorbing", "vq-diffusion-paper"
MORE = 3
"""How many times the operations of AR a diffusion may take in the first finding."""
GUIDED = {RASTER: Setting(RASTER, True), MASKS: Setting(MASKS, True, USUAL_CALLS)}


def difference(report: Report, one: Setting, other: Setting, composition: str) -> Effect:
    """How many more of 100 images show their caption, on these pairs."""
    shares = (
        effects.accuracy(
            report, each.system, composition, guided=each.guided, steps=each.steps or 0
        )
        for each in (one, other)
    )
    return effect(*shares).times(100)


def on_seen_pairs(report: Report) -> str:
    """AR against the best diffusion at equal cost."""
    ar, leads = AUTOREGRESSIVE, []
    for factor, at_once in ((MORE, None), (1, 1)):
        best = best_within(report, "seen", factor * ar.cost(report, at_once), at_once)
        lead = with_seeds(difference(report, ar, best, "seen"), ".1f", "points")
        leads.append((lead, best.cost(report, at_once) / ar.cost(report, at_once), best.text))
    (operations, more, first), (seconds, less, second) = leads
    return (
        "**On pairs seen in training, AR with a KV cache is more accurate with fewer operations**: "
        f"{ar.accuracy(report, 'seen').text('.0f')} % right for {ar.cost(report) / 1e9:.2g} · 10⁹ "
        f"operations, {operations} above the best diffusion with {more:.1f} × as many "
        f"({first}). In seconds (one image, {ar.cost(report, 1):.2g} s) its lead is not certain: "
        f"{seconds} above the best diffusion that is as fast ({second}; {less:.2f} ×)."
    )


def on_new_pairs(report: Report) -> str:
    """Masks only against AR."""
    bits = with_seeds(
        measures.more_bits(RASTER, MASKS, "held_out", report), ".2f", "bits per token"
    )
    ways = (GUIDED[MASKS], GUIDED[RASTER])
    points = with_seeds(difference(report, *ways, "held_out"), ".1f", "points")
    operations, seconds = (ways[0].cost(report, n) / ways[1].cost(report, n) for n in (None, 1))
    return (
        "**On pairs never seen, masks only, the best of the diffusions, generalise better than "
        f"AR**: at least {bits} fewer, and {points} more accurate (guided, 25 "
        f"steps). Cost: {operations:.0f} × the operations and {seconds:.1f} × the seconds of "
        "AR for one image."
    )


def on_suffixes(report: Report) -> str:
    """The lower half given."""
    shares = (effects.accuracy_given(report, name, "lower") for name in (DIFFUSION, RASTER))
    points = with_seeds(effect(*shares).times(100), ".1f", "points")
    ratio = Setting(DIFFUSION, True, USUAL_CALLS).cost(report) / GUIDED[RASTER].cost(report)
    return (
        "**Diffusion can be conditioned on a suffix, AR in reading order cannot**: with the lower "
        f"half of an image given, VQ-Diffusion is {points} more accurate (pairs seen, "
        f"guided). Cost: {ratio:.0f} × the operations of AR for a whole image."
    )


def on_correction(report: Report) -> str:
    """Uniformly random codes, one an image."""
    systems = (DIFFUSION, PAPER, MASKS)
    released, paper, masks = (measures.corrected(each, report).text(".0f") for each in systems)
    bits = [measures.more_bits(each, MASKS, "seen", report).text(".3f") for each in systems[:2]]
    return (
        "**Only forward processes with replacement correct uniformly random codes**: one in each "
        f"image gets its true code back in {released} of 100 images by VQ-Diffusion (paper's "
        f"schedule: {paper}), in {masks} by masks only and by AR, which never change a token. "
        f"Cost: {bits[0]} bits per token more than masks only (paper's schedule: {bits[1]}) on "
        "pairs seen."
    )


def on_caches(report: Report) -> str:
    """Which of the two is faster at 1,024 tokens?"""
    ways = ("raster without cache", RASTER)
    without, cached = (measures.times_seconds(way, report).text(".1f") for way in ways)
    operations = [measures.times_cost(report, way, "diffusion 25", measures.LONG) for way in ways]
    return (
        "**A KV cache decides which of the two is faster**: one image of 1,024 tokens takes AR "
        f"without it {without} times the seconds of 25 steps of diffusion, with it {cached} times "
        "(taken once; in brackets the spread of the clock). In operations, which are exact: "
        f"{operations[0]:.0f} times and {operations[1]:.2f} times."
    )


def with_seeds(effect: Effect, form: str, unit: str) -> str:
    """The effect, its interval over test items, and what each seed gives."""
    seeds = ", ".join(f"{value:{form}}" for value in effect.seeds.values)
    one = len(effect.seeds.values) == 1
    return f"{effect.text(form)} {unit} ({'one seed' if one else f'seeds {seeds}'})"


FINDINGS = (on_seen_pairs, on_new_pairs, on_suffixes, on_correction, on_caches)


def findings_list(report: Report) -> str:
    """All five, numbered."""
    return "\n".join(f"{i}. {finding(report)}" for i, finding in enumerate(FINDINGS, start=1))


def adaptive_share() -> tuple[int, int]:
    """Weights of the denoiser that only tell it the timestep (AdaLN), and all its weights."""
    network = costs.fresh("denoiser", TOKENS, "cpu")
    told = [
        weight.numel()
        for name, weight in network.named_parameters()
        if "timestep_embedding" in name or "to_scale_shift" in name
    ]
    return sum(told), count_weights(network)


def unequal_list(report: Report) -> str:
    """What was not equal, with its numbers."""
    ar, step = AUTOREGRESSIVE.cost(report), Setting(DIFFUSION, False, 5).cost(report) / 5
    told, weights = adaptive_share()
    idle = (1 - 1 / NUM_TIMESTEPS) ** TOKENS
    return "\n".join(
        (
            f"- **Training operations**: one forward pass takes AR {ar / 1e9:.3f} · 10⁹, the "
            f"denoiser {step / 1e9:.3f} · 10⁹. With equal weights and batches, AR got "
            f"{ar / step:.2f} × the training operations, and a loss on all {TOKENS} tokens of each "
            "sequence, where diffusion sees one timestep of it.",
            f"- **What the weights do**: {told:,} of the denoiser's {weights:,} weights "
            f"({100 * told / weights:.0f} %) only tell it the timestep (AdaLN), so its layers are "
            f"{DENOISER_SIZE.width} wide, those of AR {RASTER_SIZE.width}. Masks only need no "
            "timestep ([Ou et al. 2024](https://arxiv.org/abs/2406.03736)), and got these weights "
            "all the same.",
            f"- **Idle steps**: with masks only, a step of {NUM_TIMESTEPS} reveals none of "
            f"{TOKENS} tokens with probability {idle:.2f}; a network without timestep could skip "
            "it. Here it is counted as a step.",
            "- **Tuning**: one learning rate, one guidance (1.5) and one truncation (0.9) for all; "
            "none was tuned for any system.",
        )
    )
