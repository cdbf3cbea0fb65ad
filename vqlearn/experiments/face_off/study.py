"""The command: every system learns the same tokens once; then each claim about them is measured.

Weights go to runs/face-off, results to figures/face_off.json. As soon as every first seed is there,
figures/comparison.md shows all results, with plots. With a CUDA device systems learn and are
measured there, and its costs are measured as well.
"""

from vqlearn.experiments.data import Budget as LetterBudget
from vqlearn.experiments.data import Captions
from vqlearn.experiments.face_off import letters, training
from vqlearn.experiments.face_off.costs import COSTS, LENGTHS, CostRun
from vqlearn.experiments.face_off.exposure_bias import BitsByCorrectnessRun, ExposureBiasRun
from vqlearn.experiments.face_off.inpainting import DirectionsRun, DownstreamRun, ErrorsRun
from vqlearn.experiments.face_off.quality import QualityRun
from vqlearn.experiments.face_off.results import plots, tables
from vqlearn.experiments.face_off.training import DIFFUSION, RASTER, SEEDS, SystemRun
from vqlearn.experiments.report import Run
from vqlearn.experiments.runner import Study, best_device
from vqlearn.experiments.sequences import DEFAULT_SIZE, DenoiserSize
from vqlearn.experiments.systems import SYSTEMS, VARIANTS
from vqlearn.experiments.tokens import EvaluatedTokens

MEASURES: dict[type[SystemRun], tuple[str, ...]] = {
    QualityRun: (*SYSTEMS, *VARIANTS),
    ErrorsRun: tuple(SYSTEMS),
    DirectionsRun: (*(name for name in SYSTEMS if name != "nearest-neighbour"), "causal"),
    ExposureBiasRun: tuple(SYSTEMS),
    BitsByCorrectnessRun: (RASTER, DIFFUSION),
    DownstreamRun: (RASTER, DIFFUSION),
}
"""Not every system can do everything: noise of the nearest-neighbour kernel is near to the true
token, so half an image with nothing in its other half is no state that it knows."""


def face_off_study(
    budget: training.Budget = training.BUDGET,
    letter_budget: LetterBudget = letters.BUDGET,
    size: DenoiserSize = DEFAULT_SIZE,
) -> Study:
    """All runs: every measure of one seed, then those of the next; letters; costs."""
    of_systems = [
        measure(system, seed, budget)
        for seed in SEEDS
        for measure, systems in MEASURES.items()
        for system in systems
    ]
    of_costs = [CostRun(way, n, each) for each in ("cpu", "cuda") for n in LENGTHS for way in COSTS]
    runs = (*of_systems, *letters.letter_runs(letter_budget, size), *of_costs)
    return Study(
        name="face-off",
        runs=runs,
        data={
            "tokens": lambda budget: EvaluatedTokens(budget.rows, best_device()),
            letters.DATA: lambda budget: Captions(budget.with_seed(0)),
        },
        plot=plots.plot_all,
        tables=tables.all_tables,
        needed=frozenset(run.id for run in runs if is_needed(run)),
    )


def is_needed(run: Run) -> bool:
    """Does the page wait for this run? For all on the CPU that need no second seed.

    Of what a system sampled on its own, only that of the references bears on a claim.
    """
    if isinstance(run, CostRun):
        return run.device == "cpu"
    if isinstance(run, ExposureBiasRun) and run.system not in (RASTER, DIFFUSION):
        return False
    return run.seed == SEEDS[0]


STUDY = face_off_study()
