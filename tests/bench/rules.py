"""What an unmasking rule adds to a step of the released size: network, then tokens."""

from dataclasses import replace
from functools import cache
from statistics import median

import torch
from bench.case import Case, Setting
from bench.pairs import Comparison, alone, compare
from support.denoisers import RELEASED, random_inputs

from vqlearn.diffusion import reveal, sampler
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.unmasking import unmasking_step
from vqlearn.diffusion.schedule import build_schedule, released
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.random import random_stream
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig

LEVEL = 50
RULES = {
    "fixed count": reveal.fixed_count(10),
    "purity, r = 0": reveal.purity(10),
    "purity, r = 1": reveal.purity(10, 1.0),
    "top purity": reveal.top_purity(10),
    "confidence": reveal.confidence(10),
    "Halton": reveal.halton(10, 32, 32),
    "entropy bound": reveal.entropy_bound(1.0),
}


def a_step(
    rule: reveal.UnmaskingRule, setting: Setting, config: DenoiserConfig = RELEASED
) -> Comparison:
    """A plain step beside one with the rule; both with the same seconds of the network added."""
    process = MaskAndReplace(build_schedule(released(config.num_codes, 100)))
    generator = random_stream("bench", "rules")
    shape = (1, config.num_positions)
    x_0 = torch.randint(config.num_codes, shape, generator=generator)
    x_t = process.corrupt(x_0, LEVEL, generator=generator).to(setting.device)
    scores = torch.randn(*shape, config.num_codes, generator=generator)
    log_p_x0 = log_normalise(scores.to(setting.device))
    found = compare(
        lambda: sampler.step(process, log_p_x0, x_t, (LEVEL, LEVEL - 1)),
        lambda: unmasking_step(process, lambda *_: log_p_x0, x_t, rule, 0),
        setting.pairs,
    )
    network = seconds_of_network(config, setting)
    sides = (tuple(network + each for each in side) for side in (found.theirs, found.ours))
    return Comparison(*sides)


@cache
@torch.no_grad()
def seconds_of_network(config: DenoiserConfig, setting: Setting) -> float:
    """One call for one image: that of a network of one block, times the number of blocks."""
    network = Denoiser(replace(config, num_layers=1)).to(setting.device).eval()
    x_t, _, text = random_inputs(config, batch=1, length=77)
    x_t, text = x_t.to(setting.device), text.to(setting.device, torch.float32)
    called = alone(lambda: network(x_t, LEVEL, text), setting.pairs)
    return config.num_layers * median(called.ours)


def _case(name: str, rule: reveal.UnmaskingRule) -> Case:
    what = f"a step of the released size with {name}"
    return Case(what, "a plain step", lambda setting: a_step(rule, setting))


CASES = {
    f"rules/{name.lower().replace(', r = ', '-').replace(' ', '-')}": _case(name, rule)
    for name, rule in RULES.items()
}
