"""Each kernel learns the same data once, small: how many bits does it need, and what does it draw?

    python -m vqlearn.experiments.kernels.runs
    python -m vqlearn.experiments.kernels.runs --only captions/absorbing

Captions come letter by letter, and the entropy of their grammar is known exactly: no model can
need fewer bits. Digits are grey values, or black and white; their floor nobody knows. What a
model needs that only counts stands beside both.

The Gaussian kernel is for digits only: it needs codes in an order, and letters have none. Theirs
is the nearest-neighbour kernel. In one world every kernel has the same budget; each has a schedule
of its own, so a level of one is not as noisy as the same level of another. A run is written
as soon as it is measured: a command that was stopped goes on with the runs that are missing or
were made with other settings.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import torch
from einops import repeat
from jaxtyping import Float64, Int
from torch import Tensor, nn

from vqlearn.data.characters import caption_rows, is_real
from vqlearn.diffusion import kernels, schedule
from vqlearn.diffusion.objective import prior_term, variational_bound
from vqlearn.diffusion.process import MaskAndReplace, Process
from vqlearn.diffusion.sampler import Denoise, levels_to_visit, sample
from vqlearn.diffusion.schedule import build_schedule
from vqlearn.experiments.identity import Named
from vqlearn.experiments.kernels import plots as family_pictures
from vqlearn.experiments.kernels.data import BUDGETS, COMPOSITION, WORLDS, Budget, World
from vqlearn.experiments.runner import Experiment, with_budgets
from vqlearn.probability.estimates import bits_per_token
from vqlearn.probability.random import random_stream, sample_categorical
from vqlearn.training.sequences import InBfloat16, OrdinalDenoiser, denoise_with, train_sequences
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser

COMMAND = "python -m vqlearn.experiments.kernels.runs"
FOLDER = Path("figures")
NAME = "family.json"
ROWS_OF_LETTERS = 2000


def uniform(num_codes: int, num_timesteps: int) -> Process:
    """Multinomial diffusion with the cosine schedule."""
    return kernels.uniform(num_codes, num_timesteps)


def absorbing(num_codes: int, num_timesteps: int) -> Process:
    """Masks only, as many new ones at every level."""
    return MaskAndReplace(build_schedule(schedule.absorbing(num_codes, num_timesteps)))


def mask_and_replace(num_codes: int, num_timesteps: int) -> Process:
    """The schedule of the VQ-Diffusion paper: nine masks for one replacement."""
    return MaskAndReplace(build_schedule(schedule.paper(num_codes, num_timesteps)))


def letter_neighbours(num_codes: int, num_timesteps: int, *, num_neighbours: int) -> Process:
    """A letter becomes one that stands between the same letters: see `letter_embeddings`."""
    rows = caption_rows(
        ROWS_OF_LETTERS, generator=random_stream("family", "letters"), composition=COMPOSITION
    )
    embeddings = letter_embeddings(rows, num_codes)
    return kernels.nearest_neighbour(embeddings, num_timesteps, num_neighbours=num_neighbours)


def letter_embeddings(rows: Int[Tensor, "b n"], num_codes: int) -> Float64[Tensor, "k d"]:
    r"""Which letters are alike? Those with the same letters before and behind them.

    Row k holds $\sqrt{p(\text{next} \mid k)}$ and $\sqrt{p(\text{previous} \mid k)}$, counted;
    so the squared distance of two rows is, up to a factor, the sum of two squared Hellinger
    distances. Padding is not counted: nothing comes after END.
    """
    pairs = torch.zeros(num_codes, num_codes, dtype=torch.float64)
    counted = is_real(rows)[:, 1:]
    first, second = rows[:, :-1][counted], rows[:, 1:][counted]
    pairs.index_put_((first, second), torch.ones(len(first)).double(), accumulate=True)
    following = pairs / pairs.sum(dim=1, keepdim=True).clamp(min=1)
    before = (pairs / pairs.sum(dim=0, keepdim=True).clamp(min=1)).T
    return torch.cat([following, before], dim=1).sqrt()


def gaussian(num_codes: int, num_timesteps: int, *, betas: tuple[float, float]) -> Process:
    """A grey value becomes one nearby."""
    return kernels.discretised_gaussian(num_codes, num_timesteps, betas=betas)


def binomial(num_codes: int, num_timesteps: int) -> Process:
    """Flip bits."""
    return kernels.binomial(num_timesteps)


DENOISER = Named("SequenceDenoiser", SequenceDenoiser)


@dataclass(frozen=True)
class Run:
    """A kernel with its options, and the network that learns its way back."""

    kernel: Named
    options: dict[str, Any] = field(default_factory=dict)
    network: Named = DENOISER

    def settings(self, budget: Budget) -> dict[str, Any]:
        """All that decides the result, as JSON gives it back."""
        names = {"kernel": self.kernel.id, "network": self.network.id}
        told = {**names, "options": self.options, **budget.settings()}
        return json.loads(json.dumps(told))


BETAS = {"betas": (3e-4, 0.015)}  # the first step moves 1 % of the pixels; at T nothing is left
UNIFORM = Named("uniform", uniform)
ABSORBING = Named("absorbing", absorbing)
MASK_AND_REPLACE = Named("mask_and_replace", mask_and_replace)
LETTER_NEIGHBOURS = Named("letter_neighbours", letter_neighbours)
GAUSSIAN = Named("gaussian", gaussian)
BINOMIAL = Named("binomial", binomial)
RUNS = {
    "captions/uniform": Run(UNIFORM),
    "captions/absorbing": Run(ABSORBING),
    "captions/mask-and-replace": Run(MASK_AND_REPLACE),
    "captions/nearest-neighbour": Run(LETTER_NEIGHBOURS, {"num_neighbours": 4}),
    "digits/uniform": Run(UNIFORM),
    "digits/absorbing": Run(ABSORBING),
    "digits/mask-and-replace": Run(MASK_AND_REPLACE),
    "digits/gaussian": Run(GAUSSIAN, BETAS),
    "digits/gaussian-logistic": Run(GAUSSIAN, BETAS, Named("OrdinalDenoiser", OrdinalDenoiser)),
    "binary/binomial": Run(BINOMIAL),
    "binary/absorbing": Run(ABSORBING),
}


def trained(
    run: Run, world: World, process: Process, budget: Budget, auxiliary_weight: float
) -> nn.Module:
    """The network of a run, after its training."""
    config = SequenceConfig(
        num_codes=world.num_codes,
        num_classes=process.num_classes,
        num_positions=world.test.shape[1],
        num_timesteps=budget.num_timesteps,
        width=budget.width,
        num_layers=budget.num_layers,
        num_heads=budget.num_heads,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(budget.recipe.seed)
        network = run.network(config)
    return train_sequences(
        InBfloat16(network), process, world.rows, budget.recipe, auxiliary_weight=auxiliary_weight
    ).network


def draw_rows(
    process: Process, denoise: Denoise, shape: tuple[int, int], *, generator: torch.Generator
) -> Int[Tensor, "b n"]:
    """Rows of the model: from a draw of the prior through every level to the data."""
    prior = repeat(process.log_prior(), "k -> b n k", b=shape[0], n=shape[1])
    levels = levels_to_visit(process.num_timesteps, process.num_timesteps)
    x_t = sample_categorical(prior, generator=generator)
    *_, (_, rows) = sample(process, denoise, x_t, levels, generator=generator)
    return rows


def measure(name: str, world: World, budget: Budget) -> dict[str, Any]:
    """Train one run; then its bound on the test rows, and rows that it draws."""
    return measure_run(RUNS[name], name, world, budget)


def measure_run(
    run: Run, name: str, world: World, budget: Budget, auxiliary_weight: float = 5e-4
) -> dict[str, Any]:
    """The same for any run; `name` and the seed decide the chance of the measurement."""
    seed = budget.recipe.seed
    process = run.kernel(world.num_codes, budget.num_timesteps, **run.options)
    network = trained(run, world, process, budget, auxiliary_weight)
    denoise = denoise_with(network)
    generator = random_stream("family", "bound", name, seed)
    nats = variational_bound(process, denoise, world.test, generator=generator)
    prior = bits_per_token(prior_term(process, world.test).sum(dim=1), world.test.shape[1])
    shape = (world.num_samples, world.test.shape[1])
    generator = random_stream("family", "samples", name, seed)
    return {
        "settings": run.settings(budget),
        "weights": sum(weight.numel() for weight in network.parameters()),
        **world.bits(nats),
        "prior_bits_per_position": round(prior.mean, 6),
        "samples": world.samples(draw_rows(process, denoise, shape, generator=generator)),
    }


def experiment(budgets: Mapping[str, Budget]) -> Experiment:
    """All runs, each with the budget of its world."""
    return with_budgets(COMMAND, RUNS, WORLDS, budgets, lambda *run: measure(*run))


def main(
    folder: Path = FOLDER,
    names: Sequence[str] = tuple(RUNS),
    budgets: Mapping[str, Budget] = BUDGETS,
) -> None:
    """Measure the runs that are missing, one by one; draw the images once none is."""
    matplotlib.use("Agg")
    family = experiment(budgets)
    report = family.go_on(folder / NAME, names)
    if not family.missing(report):
        family_pictures.draw_bits(report, folder / "family_bits.png")
        family_pictures.draw_samples(report, folder / "family_samples.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=RUNS, default=tuple(RUNS), metavar="RUN")
    main(names=parser.parse_args().only)
