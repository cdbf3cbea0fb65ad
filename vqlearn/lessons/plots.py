"""How the plots of all lessons look: one style, one colour and one hatch for each kind of token.

Every function draws one figure, with a caption, and shows it.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import torch
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

KEEP, REPLACE, MASK, GIVEN = "#0072B2", "#D55E00", "#999999", "#009E73"
"""The same four colours in all lessons; they differ for colour-blind readers, too."""
HATCHES = {KEEP: "", REPLACE: "xx", MASK: "//", GIVEN: ".."}
OTHER = ("#332288", "#CC6677", "#DDCC77", "#88CCEE")
"""For lines and bars that are no kind of token: they differ for colour-blind readers, too."""
LINES = ("-", "--", "-.", ":")
WIDTH, PANEL = 9.0, 2.3  # inches: of a figure, of one image at most
CHARACTERS = 12  # of a title, in an inch


def use_style() -> None:
    """Set Matplotlib's defaults for a lesson: sharp, readable, nothing by colour alone."""
    cycle = plt.cycler(color=[KEEP, REPLACE, GIVEN, "black"], linestyle=LINES)
    plt.rcParams.update(
        {
            "figure.dpi": 144,
            "figure.constrained_layout.use": True,
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycle,
            "hatch.linewidth": 0.6,
            "image.cmap": "Blues",
        }
    )


def finish(figure: plt.Figure, caption: str) -> None:
    """Write the caption under the figure and show it."""
    characters = int(figure.get_figwidth() * 16)
    figure.supxlabel(fill(caption, characters), fontsize=8, style="italic")
    plt.show()


def images(panels: Mapping[str, Float[Tensor, "3 h w"]], caption: str, rows: int = 1) -> None:
    """Images (RGB in 0 to 1) side by side, each under its title."""
    columns = -(-len(panels) // rows)
    side = min(PANEL, WIDTH / columns)
    size = (columns * side, rows * (side + 0.35) + 0.3)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, (title, image) in zip(axes.flat, panels.items(), strict=False):
        ax.imshow(image.permute(1, 2, 0).numpy())
        ax.set_title(fill(title, int(CHARACTERS * side)))
    finish(figure, caption)


def token_grids(
    panels: Mapping[str, Int[Tensor, " n"]],
    patches: Float[Tensor, "k 3 p p"],
    caption: str,
    *,
    clean: Int[Tensor, " n"] | None = None,
    framed: str = "replaced",
    given: Bool[Tensor, " n"] | None = None,
) -> None:
    """Square grids of tokens, each token as the patch of its code: equal tokens look equal.

    MASK (the number K) is grey and hatched. Where `clean` is handed in, tokens that differ from it
    get the frame of a replaced token, which the legend names `framed`; positions that are `given`
    get the frame of a given one. The legend names what occurs.
    """
    side = min(PANEL, WIDTH / len(panels))
    size = (max(4, len(panels) * side), side + 0.8)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False)
    kinds = {}
    for ax, (title, tokens) in zip(axes.flat, panels.items(), strict=True):
        draw_grid(ax, tokens, patches)
        masked = tokens == len(patches)
        differs = (tokens != clean) & ~masked if clean is not None else torch.zeros_like(masked)
        _frame(ax, differs, REPLACE, "-")
        kinds |= {MASK: "masked"} if masked.any() else {}
        kinds |= {REPLACE: framed} if differs.any() else {}
        if given is not None:
            _frame(ax, given, GIVEN, "--")
            kinds[GIVEN] = "given"
        ax.set_title(title)
    if kinds:
        looks = [_look(colour, name) for colour, name in kinds.items()]
        figure.legend(handles=looks, loc="outside upper right", ncols=len(looks), frameon=False)
    finish(figure, caption)


def _look(colour: str, name: str) -> Patch:
    if colour == MASK:
        return Patch(fc=MASK, ec="white", hatch=HATCHES[MASK], label=name)
    line = "--" if colour == GIVEN else "-"
    return Patch(fc="none", ec=colour, lw=1.6, ls=line, label=name)


def draw_grid(ax: Axes, tokens: Int[Tensor, " n"], patches: Float[Tensor, "k 3 p p"]) -> None:
    """A square grid of tokens as the patches of their codes; MASK is grey and hatched."""
    side = round(len(tokens) ** 0.5)
    for position, token in enumerate(tokens.tolist()):
        row, column = divmod(position, side)
        corners = (column, column + 1, row + 1, row)
        if token == len(patches):
            ax.add_patch(Rectangle((column, row), 1, 1, fc=MASK, ec="white", hatch=HATCHES[MASK]))
        else:
            ax.imshow(patches[token].permute(1, 2, 0).numpy(), extent=corners)
    ax.spines[:].set_visible(True)
    ax.set(xlim=(0, side), ylim=(side, 0), xticks=[], yticks=[], aspect="equal")


def _frame(ax: Axes, where: Bool[Tensor, " n"], colour: str, line: str) -> None:
    side = round(len(where) ** 0.5)
    for position in where.nonzero().flatten().tolist():
        corner = (position % side + 0.08, position // side + 0.08)
        ax.add_patch(Rectangle(corner, 0.84, 0.84, fc="none", ec=colour, ls=line, lw=1.6))


def heat_maps(
    panels: Mapping[str, Sequence[Sequence[float]]],
    caption: str,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    axes_names: tuple[str, str] = ("from", "to"),
) -> None:
    """Matrices of probabilities on one scale from 0 to 1, the number in every cell.

    The numbers may be fractions: then they are printed as such.
    """
    width = min(WIDTH, (0.62 * len(columns) + 0.9) * len(panels))
    size = (width, 0.42 * len(rows) + 1.1)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False)
    for ax, (title, matrix) in zip(axes.flat, panels.items(), strict=True):
        values = torch.tensor([[float(value) for value in row] for row in matrix])
        ax.imshow(values.numpy(), vmin=0, vmax=1, aspect="auto")
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                colour = "white" if float(value) > 0.6 else "black"
                ax.text(j, i, _number(value), ha="center", va="center", color=colour, fontsize=8)
        ax.set(title=title, xlabel=axes_names[1])
        ax.set_xticks(range(len(columns)), columns)
        ax.set_yticks(range(len(rows)), rows)
    axes[0, 0].set_ylabel(axes_names[0])
    finish(figure, caption)


def _number(value: float) -> str:
    return f"{float(value):.2f}" if isinstance(value, float | Tensor) else str(value)


def bars(
    distributions: Mapping[str, Sequence[float]],
    classes: Sequence[str],
    caption: str,
    *,
    ylabel: str = "probability",
    colours: Sequence[str] = (KEEP, REPLACE, GIVEN, MASK),
) -> None:
    """Distributions over the same classes, side by side: one group of bars a class.

    `colours` are `OTHER` where the bars are no kinds of token.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 2.6))
    width = 0.8 / len(distributions)
    hatches = [HATCHES[colour] for colour in (KEEP, REPLACE, GIVEN, MASK)]
    for i, (name, values) in enumerate(distributions.items()):
        where = [k + width * (i - (len(distributions) - 1) / 2) for k in range(len(classes))]
        look = {"color": colours[i % len(colours)], "hatch": hatches[i % 4], "edgecolor": "white"}
        ax.bar(where, [float(value) for value in values], width, label=name, **look)
    ax.set_xticks(range(len(classes)), classes)
    ax.set_ylabel(ylabel)
    ax.legend(frameon=False)
    finish(figure, caption)
