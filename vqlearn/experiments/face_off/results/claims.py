"""Published claims, each as one measure: an effect with its intervals, its source, a reading.

Every effect is made so that above a threshold it speaks for the claim. It reads "supported" if all
that is known of it lies above: the interval over test items, that over seeds where three or more
were run, and each seed. Otherwise it reads "not supported", which is no proof of the opposite; but
if the whole interval lies below, it says so. What no run measures reads "not tested here".
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from vqlearn.experiments.face_off.inpainting import FREE, KEEPS
from vqlearn.experiments.face_off.results import measures
from vqlearn.experiments.face_off.results.effects import Effect
from vqlearn.experiments.face_off.training import DIFFUSION, RASTER
from vqlearn.experiments.report import Report

GU = "[Gu et al. 2022](https://arxiv.org/abs/2111.14822)"
D3PM = "[Austin et al. 2021](https://arxiv.org/abs/2107.03006)"
RANZATO = "[Ranzato et al. 2016](https://arxiv.org/abs/1511.06732)"
PAIRS = {"pairs seen": "seen", "pairs never seen": "held_out"}
POINTS, BITS, TIMES = "points", "bits", "×"
FORMS = {POINTS: ".1f", BITS: ".3f", TIMES: ".3g"}
"""How numbers of each unit are written: of 100 images or tokens, bits of a token, factors."""
SUPPORTED, NOT_SUPPORTED, NOT_TESTED = "supported", "not supported", "not tested here"
BELOW = f"{NOT_SUPPORTED} (interval below)"


@dataclass(frozen=True)
class Claim:
    """What is claimed, who says so, the one measure that bears on it, its unit, the threshold.

    What is `counted` or timed has no seeds: operations are exact, and the interval of seconds is
    the spread of the clock.
    """

    text: str
    source: str
    measure: str
    unit: str = POINTS
    effect: Callable[[Report], Effect] | None = None
    above: float = 0
    counted: bool = False

    def reading(self, report: Report) -> str:
        """By the rule above."""
        if self.effect is None:
            return NOT_TESTED
        found = self.effect(report)
        known = [*found.seeds.values, found.estimate.low]
        known += [found.over_seeds.low] if found.over_seeds else []
        if min(known) > self.above:
            return SUPPORTED
        return BELOW if found.estimate.high < self.above else NOT_SUPPORTED

    def effect_text(self, report: Report) -> str:
        """The effect and its interval over test items."""
        if self.effect is None:
            return ""
        found, form = self.effect(report), FORMS[self.unit]
        exact = found.estimate.low == found.estimate.high
        number = f"{found.estimate.value:{form}}" if exact else found.text(form)
        return f"{number} {self.unit}"

    def seeds_text(self, report: Report) -> str:
        """What each seed gives, and the interval over seeds where there is one."""
        if self.effect is None or self.counted:
            return ""
        return self.effect(report).seeds_text(FORMS[self.unit])


def on_pairs(text: str, source: str, measure: str, unit: str, of: Callable[..., Effect]) -> tuple:
    """A claim on pairs seen in training, and the same on pairs never seen."""
    return tuple(
        Claim(f"{text}: {words}", source, measure, unit, partial(of, pairs))
        for words, pairs in PAIRS.items()
    )


COST = (
    Claim(
        "with more tokens, AR with a KV cache becomes more expensive, compared with diffusion",
        f"{GU}, abstract",
        "operations: growth from 64 to 1,024 tokens over that of 100 steps; above 1",
        TIMES,
        partial(measures.growth, None),
        above=1,
        counted=True,
    ),
    Claim(
        "with more tokens, AR with a KV cache becomes slower, compared with diffusion",
        f"{GU}, abstract",
        "seconds, one image: the same",
        TIMES,
        partial(measures.growth, 1),
        above=1,
        counted=True,
    ),
    *(
        Claim(
            f"diffusion is fifteen times faster than AR {words}",
            f"{GU}, abstract",
            "seconds, one image of 1,024 tokens: AR over 25 steps; above 15",
            TIMES,
            partial(measures.times_seconds, way, "diffusion 25"),
            above=15,
            counted=True,
        )
        for words, way in {
            "without a KV cache": "raster without cache",
            "without a KV cache that leaves out empty positions": "raster, prefix only",
            "with a KV cache": RASTER,
        }.items()
    ),
)
CONDITIONING = (
    Claim(
        "conditioning on a suffix: AR loses more than VQ-Diffusion",
        f"{GU}, introduction (unidirectional bias)",
        "accuracy with the upper half given minus that with the lower: AR minus VQ-Diffusion",
        POINTS,
        measures.suffix,
    ),
    Claim(
        "a fixed order biases what AR samples from nothing but the prompt",
        f"{GU}, introduction (unidirectional bias)",
        "needs AR in a reversed and in any order",
    ),
    Claim(
        "VQ-Diffusion corrects most of the uniformly random codes (released schedule)",
        f"{GU}, introduction (a predicted token cannot be corrected)",
        "one corrupted token an image: of 100, those that get the true code; above 50",
        POINTS,
        partial(measures.corrected, DIFFUSION),
        above=50,
    ),
    Claim(
        "VQ-Diffusion corrects most of the uniformly random codes (paper's schedule)",
        f"{GU}, introduction (a predicted token cannot be corrected)",
        "the same",
        POINTS,
        partial(measures.corrected, "vq-diffusion-paper"),
        above=50,
    ),
    Claim(
        "VQ-Diffusion corrects its own errors",
        f"{GU}, introduction (a predicted token cannot be corrected)",
        "needs errors that it sampled: these are plausible, random codes are not",
    ),
    Claim(
        "with random codes in a given upper half, VQ-Diffusion that may resample it beats AR",
        f"{GU}, abstract (accumulation of errors)",
        "10 % of the half corrupted: accuracy, VQ-Diffusion minus AR",
        POINTS,
        partial(measures.robust, FREE),
    ),
    Claim(
        "the same, if VQ-Diffusion has to keep the half",
        f"{GU}, abstract (accumulation of errors)",
        "the same",
        POINTS,
        partial(measures.robust, KEEPS),
    ),
    Claim(
        "random codes above change more tokens below in AR",
        f"{GU}, abstract (accumulation of errors)",
        "the same: change rate of the lower half, AR minus VQ-Diffusion that may resample",
        POINTS,
        measures.more_change,
    ),
)
EXPOSURE = (
    Claim(
        "samples of AR are less likely than data to a second AR model",
        f"{RANZATO} (exposure bias)",
        "bits per token of samples minus those of data",
        BITS,
        measures.own_less_data,
    ),
    Claim(
        "samples of AR cost more bits, compared with data, than samples of VQ-Diffusion",
        f"{GU}, introduction (teacher forcing)",
        "that of AR minus that of VQ-Diffusion",
        BITS,
        measures.own_less_data_than_diffusion,
    ),
    Claim(
        "exposure bias itself",
        f"{RANZATO} (exposure bias)",
        "needs the divergence after own prefixes minus that after true ones",
    ),
)
ABLATIONS = (
    *on_pairs(
        "inside diffusion, full attention saves bits",
        f"{GU}, introduction (context from any part of the image)",
        "bits per token, causal attention minus full attention",
        BITS,
        partial(measures.more_bits, "causal", DIFFUSION),
    ),
    *on_pairs(
        "inside diffusion, full attention raises accuracy",
        f"{GU}, introduction (context from any part of the image)",
        "guided, 25 steps: full attention minus causal attention",
        POINTS,
        partial(measures.more_accurate, DIFFUSION, "causal"),
    ),
    *on_pairs(
        "predicting x_0 saves bits",
        GU,
        "bits per token, predicting x_{t-1} minus predicting x_0 (neither with auxiliary loss)",
        BITS,
        partial(measures.more_bits, "direct", "no-auxiliary"),
    ),
    *on_pairs(
        "predicting x_0 raises accuracy",
        GU,
        "plain, 100 steps: predicting x_0 minus predicting x_{t-1}",
        POINTS,
        partial(measures.more_accurate, "no-auxiliary", "direct", guided=False, steps=100),
    ),
    *on_pairs(
        "the auxiliary loss saves bits on tokens",
        f"{D3PM}, abstract",
        "bits per token without it minus those with weight 0.0005",
        BITS,
        partial(measures.more_bits, "no-auxiliary", DIFFUSION),
    ),
)
CLAIMS = (
    *on_pairs(
        "VQ-Diffusion follows prompts better than AR with as many weights",
        f"{GU}, abstract (better results)",
        "guided accuracy, 25 steps (released schedule) minus AR",
        POINTS,
        partial(measures.more_accurate, DIFFUSION, RASTER),
    ),
    *COST,
    *CONDITIONING,
    *EXPOSURE,
    *ABLATIONS,
    *(
        Claim(
            f"on characters, {better} needs fewer bits than {worse}",
            f"{D3PM}, experiments on text8",
            "bits per character of captions above their entropy, at weight 0.0005",
            BITS,
            partial(measures.more_character_bits, worse, better),
        )
        for better, worse in pairwise(("raster", "absorbing", "nearest-neighbour", "uniform"))
    ),
)
