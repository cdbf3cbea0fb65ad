"""The five findings that open the page, and what was not equal: sentences with their numbers."""

import math
from dataclasses import replace

from vqlearn.experiments.face_off import costs
from vqlearn.experiments.face_off.quality import USUAL_CALLS
from vqlearn.experiments.face_off.results import effects, measures
from vqlearn.experiments.face_off.results.claims import PAIRS
from vqlearn.experiments.face_off.results.effects import Effect, effect
from vqlearn.experiments.face_off.results.equal_cost import (
    AUTOREGRESSIVE,
    KERNELS,
    TOKENS,
    Setting,
    best_within,
)
from vqlearn.experiments.face_off.training import DIFFUSION, RASTER
from vqlearn.experiments.report import Report
from vqlearn.experiments.sequences import count_weights
from vqlearn.experiments.systems import DENOISER_SIZE, LABELS, RASTER_SIZE
from vqlearn.training import NUM_TIMESTEPS

MASKS, PAPER = "absorbing", "vq-diffusion-paper"
MORE = 3
"""How many times the operations of AR a diffusion may take in the first finding."""
GUIDED = {RASTER: Setting(RASTER, True), MASKS: Setting(MASKS, True, USUAL_CALLS)}
STEPS = f"diffusion {USUAL_CALLS}"


def on_seen_pairs(report: Report) -> str:
    """AR against the best diffusion at equal cost, and at any."""
    ar, spread = AUTOREGRESSIVE, measures.clock_spread(report)
    limits = (
        (f"with up to {MORE} × the operations", MORE, None),
        ("with any number of operations", math.inf, None),
        ("in as many seconds, one image", 1, 1),
        ("in as many seconds (within the spread of the clock), 32 images at once", spread, 32),
    )
    lines = [
        "**On pairs seen in training, AR with a KV cache is more accurate than diffusion at few "
        f"operations**: {ar.accuracy(report, 'seen').text('.0f')} % right (mean of its seeds) for "
        f"{ar.cost(report) / 1e9:.2g} · 10⁹ operations. Its lead over the best diffusion, with "
        "the seeds that both have:"
    ]
    for words, factor, at_once in limits:
        best = best_within(report, "seen", factor * ar.cost(report, at_once), at_once)
        times = best.cost(report, at_once) / ar.cost(report, at_once)
        lead = ar.lead(best, report, "seen")
        certain = "" if lead.estimate.low > 0 else ", not certain"
        points = with_seeds(lead, ".1f", " points")
        lines.append(f"{words}: {points}{certain} ({best.text}; {times:.3g} ×)")
    return "\n   - ".join(lines)


def on_new_pairs(report: Report) -> str:
    """The masks-only model against AR, and against the second of the kernels."""
    masks, ar = GUIDED[MASKS], GUIDED[RASTER]
    bits = with_seeds(measures.more_bits(RASTER, MASKS, "held_out", report), ".2f")
    others = (replace(masks, system=name) for name in KERNELS if name != MASKS)
    second = max(others, key=lambda each: each.accuracy(report, "held_out").estimate.value)
    points, over_second = (
        with_seeds(masks.lead(each, report, "held_out"), ".1f", " points") for each in (ar, second)
    )
    operations = measures.times_cost(report, masks.way, ar.way, TOKENS)
    one, many = (
        measures.times_seconds(masks.way, ar.way, report, n=TOKENS, at_once=n).text(".1f")
        for n in (1, 32)
    )
    return (
        "**On pairs never seen, the masks-only model generalises better than AR**: it needs fewer "
        f"bits per token, by at least {bits}, and guided, with {USUAL_CALLS} steps, it is more "
        f"accurate, by {points}. Of the five kernels it is the best here; its lead over the "
        f"second, {LABELS[second.system]}, is not certain: {over_second}. Cost: {operations:.0f} × "
        f"the operations of AR, {one} × its seconds for one image, {many} × for 32 at once."
    )


def on_suffixes(report: Report) -> str:
    """The lower half given."""
    shares = [effects.accuracy_given(report, name, "lower") for name in (DIFFUSION, RASTER)]
    diffusion, ar = (effect(each).times(100).text(".0f") for each in shares)
    points = with_seeds(effect(*shares).times(100), ".1f", " points")
    ratio = measures.times_cost(report, f"{STEPS} guided", f"{RASTER} guided", TOKENS)
    return (
        "**Diffusion can be conditioned on a suffix; AR that samples once, in reading order, "
        f"cannot**: with the lower half of an image given, {diffusion} of 100 images are right by "
        f"VQ-Diffusion and {ar} by AR, {points} more (pairs seen, guided). Cost: {ratio:.0f} × the "
        "operations of AR for a whole image."
    )


def on_correction(report: Report) -> str:
    """Uniformly random codes, one an image."""
    released, paper = (
        with_seeds(measures.corrected(each, report), ".0f") for each in (DIFFUSION, PAPER)
    )
    costs_released, costs_paper = (
        " and ".join(
            f"{measures.more_bits(each, MASKS, pairs, report).text('.3f')} on {words}"
            for words, pairs in PAIRS.items()
        )
        for each in (DIFFUSION, PAPER)
    )
    return (
        "**Forward processes with replacement correct uniformly random codes; a masks-only "
        "model and AR never change a token**: of 100 images with one such code, VQ-Diffusion gives "
        f"{released} the true code back; with the paper's schedule {paper}. A model's own errors "
        "were not tested. Cost: more bits per token (bounds) than the masks-only model, "
        f"{costs_released}; with the paper's schedule {costs_paper}."
    )


def on_caches(report: Report) -> str:
    """How much slower is AR at 1,024 tokens, with a KV cache and without?"""
    ways = ("raster without cache", "raster, prefix only", RASTER)
    without, prefix, cached = (
        measures.times_seconds(way, STEPS, report).text(".1f") for way in ways
    )
    many = measures.times_seconds(RASTER, STEPS, report, at_once=32).text(".2f")
    counts = [measures.times_cost(report, way, STEPS, measures.LONG) for way in ways]
    return (
        "**Without a KV cache AR is far slower than diffusion, with one it is not**: an image of "
        f"1,024 tokens takes AR without it {without} times the seconds of {USUAL_CALLS} steps "
        f"({prefix} if it leaves out empty positions); with it {cached} times, and {many} times if "
        "32 are sampled at once. In brackets the spread of the clock. In operations, which are "
        f"exact: {counts[0]:.0f}, {counts[1]:.0f} and {counts[2]:.2f} times. These networks are "
        f"untrained: whether {USUAL_CALLS} steps are enough for so many tokens is not known."
    )


def with_seeds(found: Effect, form: str, unit: str = "") -> str:
    """The effect, its interval over test items, and what each seed gives."""
    return f"{found.text(form)}{unit} ({each_seed(found, form)})"


def each_seed(found: Effect, form: str) -> str:
    """What each seed gives, in words."""
    values = found.seeds.values
    return "one seed" if len(values) == 1 else f"seeds {', '.join(f'{x:{form}}' for x in values)}"


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
            f"{DENOISER_SIZE.width} wide, those of AR {RASTER_SIZE.width}. The masks-only "
            "model needs no timestep ([Ou et al. 2024](https://arxiv.org/abs/2406.03736)), and got "
            "these weights all the same.",
            f"- **Idle steps**: with masks only, a step of {NUM_TIMESTEPS} reveals none of "
            f"{TOKENS} tokens with probability {idle:.2f}; a network without timestep could skip "
            "it. Here it is counted as a step.",
            "- **Tuning**: one learning rate, one guidance (1.5) and one truncation (0.9) for all; "
            "none was tuned for any system.",
        )
    )
