"""Distributions over codes as bars, under each bar the patch that its code stands for."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from vqlearn.lessons.plots import GIVEN, HATCHES, KEEP, MASK, WIDTH, finish

OTHERS, MASKED = "other\ncodes", "MASK"


def code_bars(
    panels: Mapping[str, Float[Tensor, " classes"]],
    patches: Float[Tensor, "k 3 p p"],
    caption: str,
    *,
    count: int = 5,
    true_code: int | None = None,
) -> None:
    """Distributions side by side; all show the same codes, in the same order, on the same scale.

    The last class of a distribution over K + 1 classes is MASK. The true code has a green frame.
    """
    codes = likeliest_codes(panels.values(), len(patches), count, true_code)
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 2.9), squeeze=False, sharey=True)
    for ax, (title, p) in zip(axes.flat, panels.items(), strict=True):
        draw_code_bars(ax, p, patches, codes, true_code)
        ax.set_title(title)
    axes[0, 0].set_ylabel("probability")
    finish(figure, caption)


def likeliest_codes(
    distributions: Iterable[Float[Tensor, " classes"]],
    num_codes: int,
    count: int,
    true_code: int | None = None,
) -> list[int]:
    """The codes with the highest probability in any of the distributions, the true one among them.

    They are sorted by that probability.
    """
    highest = torch.stack([p[:num_codes] for p in distributions]).amax(dim=0)  # (K,)
    order = highest.argsort(descending=True, stable=True).tolist()
    codes = order[:count]
    if true_code is not None and true_code not in codes:
        codes[-1] = true_code
    return codes


def draw_code_bars(
    ax: Axes,
    p: Float[Tensor, " classes"],
    patches: Float[Tensor, "k 3 p p"],
    codes: Sequence[int],
    true_code: int | None = None,
) -> None:
    """One bar for each of `codes`, one for all other codes, and one for MASK if p has it."""
    num_codes = len(patches)
    shown = [float(p[code]) for code in codes]
    heights = [*shown, max(0.0, float(p[:num_codes].sum()) - sum(shown))]
    looks = [KEEP] * len(codes) + ["white"]
    labels = ["true" if code == true_code else "" for code in codes] + [OTHERS]
    if len(p) > num_codes:
        heights, looks, labels = [*heights, float(p[-1])], [*looks, MASK], [*labels, MASKED]
    hatches = [HATCHES.get(look, "") for look in looks]
    bars = ax.bar(range(len(heights)), heights, color=looks, edgecolor="black", linewidth=0.6)
    for bar, hatch in zip(bars, hatches, strict=True):
        bar.set_hatch(hatch)
    for i, code in enumerate(codes):
        # In units of the bars along x, and of the panel's height along y.
        inset = ax.inset_axes((i - 0.36, -0.24, 0.72, 0.2), transform=ax.get_xaxis_transform())
        inset.imshow(patches[code].permute(1, 2, 0).numpy(), aspect="auto")
        inset.set(xticks=[], yticks=[])
        for spine in inset.spines.values():
            frame = (GIVEN, 2.5) if code == true_code else ("black", 0.6)
            spine.set(visible=True, color=frame[0], linewidth=frame[1])
    ax.set(ylim=(0, 1.05), xlim=(-0.6, len(heights) - 0.4))
    ax.set_xticks(range(len(heights)), labels)
    ax.tick_params(axis="x", length=0, pad=3)
    for tick, label in zip(ax.get_xticklabels(), labels, strict=True):
        tick.set_y(-0.24 if label == "true" else 0.0)
