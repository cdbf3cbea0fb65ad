"""Distributions over three codes as points of a triangle: what guidance and top-p do to them.

Each corner is a code that has the probability 1; the middle of the triangle is (1/3, 1/3, 1/3).
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float64
from torch import Tensor

from vqlearn.lessons.plots import GIVEN, KEEP, MASK, REPLACE, finish
from vqlearn.probability import guide, top_p

CODES = ("A", "B", "C")
CORNERS = torch.tensor([[0, 0], [1, 0], [0.5, 3**0.5 / 2]], dtype=torch.float64)
MAX_SCALE = 5.0
CAPTION = (
    "Each corner: all probability on one code. The line runs through the guided distributions of "
    "the scales 0 to 5: from u (the prompt is ignored) through c (scale 1) and beyond."
)


def guided(
    conditional: Sequence[float], unconditional: Sequence[float], scale: float
) -> Float64[Tensor, " 3"]:
    """Classifier-free guidance between two distributions over three codes: `filters.guide`."""
    log_c, log_u = (
        torch.tensor(p, dtype=torch.float64).log() for p in (conditional, unconditional)
    )
    return guide(log_c, log_u, scale).exp()


def guided_and_truncated(
    conditional: Sequence[float], unconditional: Sequence[float], scale: float, mass: float
) -> Float64[Tensor, " 3"]:
    """First guidance, then nucleus (top-p) sampling, as a `DiffusionModel` does."""
    return top_p(guided(conditional, unconditional, scale).log(), mass).exp()


def draw_simplex(
    conditional: Sequence[float], unconditional: Sequence[float], scale: float, mass: float
) -> None:
    """The triangle with u, c, the guided distribution, and what top-p leaves of it."""
    figure, ax = plt.subplots(figsize=(6, 3.8))
    ax.add_patch(plt.Polygon(CORNERS.numpy(), closed=True, fc="none", ec="black"))
    for name, (x, y) in zip(CODES, CORNERS.tolist(), strict=True):
        ax.annotate(name, (x, y), (10 * (2 * x - 1), 4 if y else -4), fontweight="bold",
                    textcoords="offset points", ha="center", va="center")  # fmt: skip
    scales = torch.linspace(0, MAX_SCALE, 101).tolist()
    line = torch.stack([guided(conditional, unconditional, s) for s in scales]) @ CORNERS
    ax.plot(*line.T.numpy(), color=MASK, linestyle="-", zorder=1)
    result = guided_and_truncated(conditional, unconditional, scale, mass)
    points = {
        "u: unconditional": (torch.tensor(unconditional), "s", MASK),
        "c: conditional": (torch.tensor(conditional), "o", KEEP),
        f"guided, scale {scale:.1f}": (guided(conditional, unconditional, scale), "D", REPLACE),
        f"then top-p, mass {mass:.2f}": (result, "*", GIVEN),
    }
    for size, (name, (p, marker, colour)) in zip((60, 60, 60, 150), points.items(), strict=True):
        x, y = (p.double() @ CORNERS).tolist()
        ax.scatter(
            x, y, size, colour, marker=marker, label=name, edgecolors="black", linewidths=0.6
        )
    ax.legend(loc="upper left", bbox_to_anchor=(0.72, 1.0), frameon=False)
    ax.set(aspect="equal", xlim=(-0.15, 1.5), ylim=(-0.1, 1.0))
    ax.axis("off")
    parts = [f"{name} {p:.2f}" for name, p in zip(CODES, result.tolist(), strict=True)]
    ax.set_title("after both: " + ", ".join(parts))
    finish(figure, CAPTION)
