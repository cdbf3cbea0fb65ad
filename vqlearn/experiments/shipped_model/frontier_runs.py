"""The runs of the frontier: every unmasking rule of the shipped model at every number of steps.

    python -m vqlearn.experiments frontier

`vqlearn evaluate --frontier` measures the same of any checkpoint; here each point is stored as soon
as it is measured. Some are measured once more from the plain network, without guidance and
truncation.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from vqlearn.evaluation import Evaluation
from vqlearn.evaluation.frontier import IMAGES, Point, measure, measure_true_scenes
from vqlearn.evaluation.frontier_rules import RULES
from vqlearn.experiments.shipped_model.runs import EvaluatedRun, load_pipeline

PROMPTS = 50  # two images each: 100 images of each kind
EVEN, SLOW_START, TOP = "ancestral, even", "ancestral, slow start", "top purity"
PLAIN = ((EVEN, 10), (SLOW_START, 10), (TOP, 10))
BY_NAME = {rule.name: rule for rule in RULES}


@dataclass(frozen=True)
class FrontierRun(EvaluatedRun):
    """One rule at one number of steps, on the same prompts with the same random streams as all."""

    rule: str

    @property
    def id(self) -> str:
        """Such as "top purity/10", or "top purity/10/plain" without guidance and truncation."""
        steps = self.evaluation.num_inference_steps
        plain = "" if self.evaluation.guidance_scale > 1 else "/plain"
        return f"{self.rule}/{steps}{plain}"

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {"rule": self.rule, "images": IMAGES, **super().settings()}

    def measure(self, data: None) -> dict[str, Point]:
        """Sample, decode, read, compare: by composition."""
        return measure(load_pipeline(), BY_NAME[self.rule], self.evaluation)


@dataclass(frozen=True)
class TrueScenesRun(EvaluatedRun):
    """Two true scenes of every prompt, after a round trip through their tokens."""

    id: ClassVar[str] = "true scenes"

    def settings(self) -> dict[str, Any]:
        """All that decides the result."""
        return {"images": IMAGES, **super().settings()}

    def measure(self, data: None) -> dict[str, Point]:
        """Draw, encode, decode, read, compare: by composition."""
        return measure_true_scenes(load_pipeline(), self.evaluation)


def frontier_runs(prompts: int = PROMPTS) -> tuple[EvaluatedRun, ...]:
    """True scenes, then every line of `RULES`, then the plain ones."""
    return (
        TrueScenesRun(Evaluation(prompts=prompts)),
        *(
            FrontierRun(Evaluation(num_inference_steps=steps, prompts=prompts), rule.name)
            for rule in RULES
            for steps in rule.steps
        ),
        *(FrontierRun(Evaluation(steps, 1.0, 1.0, prompts), rule) for rule, steps in PLAIN),
    )
