"""Figures that can be moved: a token stepper, the matrix of mask-and-replace, a simplex.

Each has `show()`, the figure as it is now, which is what a lesson stores, and `interactive()`, the
same figure with sliders: only for a notebook that is open in Jupyter with a kernel running.
"""

import math
from collections.abc import Callable, Sequence

import ipywidgets
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from vqlearn.lessons.plots import heat_maps
from vqlearn.lessons.simplex import MAX_SCALE, draw_simplex
from vqlearn.lessons.stepper import TokenStepper
from vqlearn.pipeline import VQDiffusionPipeline
from vqlearn.probability import PLAIN, Sampling

BUTTON, MARGIN = 38, 4  # of a position's button, in pixels; Jupyter leaves the margin between two


class Movable:
    """`draw(**values)` draws a figure; a slider stands for each of the values.

    A button of `buttons`, by its text, does something and may move the sliders.
    """

    def __init__(
        self,
        draw: Callable[..., None],
        sliders: dict[str, ipywidgets.ValueWidget],
        buttons: dict[str, Callable[[], None]] | None = None,
    ) -> None:
        self.draw, self.sliders = draw, sliders
        self.buttons = {
            text: ipywidgets.Button(description=text, layout={"width": "auto"})
            for text in buttons or {}
        }
        for text, action in (buttons or {}).items():
            self.buttons[text].on_click(lambda _, action=action: action())

    @property
    def values(self) -> dict[str, float]:
        """Where the sliders stand."""
        return {name: slider.value for name, slider in self.sliders.items()}

    def show(self) -> None:
        """Draw the figure as it is now, without sliders."""
        self.draw(**self.values)

    def interactive(self) -> ipywidgets.VBox:
        """The sliders, the buttons and the figure under them, which follows."""
        figure = ipywidgets.interactive_output(self.draw, self.sliders)
        return ipywidgets.VBox([*self.sliders.values(), *self.buttons.values(), figure])


def token_stepper(
    pipe: VQDiffusionPipeline,
    prompt: str,
    tokens: Int[Tensor, "1 n"],
    patches: Float[Tensor, "k 3 p p"],
    *,
    sampling: Sampling = PLAIN,
    seed: int = 0,
) -> Movable:
    """Noise with the slider t, click on a position, take reverse steps by button.

    `tokens` are those of a clean image that the prompt describes; `patches` are the squares that
    the codes stand for.
    """
    condition = pipe.conditioning([prompt], guided=sampling.is_guided)
    denoise = pipe.model.denoiser(condition, sampling)
    return stepper_widget(TokenStepper(pipe.process, denoise, tokens, patches, seed=seed))


def stepper_widget(stepper: TokenStepper) -> Movable:
    """The sliders and the button of a `TokenStepper`."""

    def draw(t: int, position: int) -> None:
        if t != stepper.t:  # the slider was moved, not the button pressed
            stepper.corrupt(t)
        stepper.position = position
        stepper.draw()

    def take_step() -> None:
        stepper.step()
        widget.sliders["t"].value = stepper.t  # draws

    sliders = {
        "t": ipywidgets.IntSlider(
            stepper.t,
            min=0,
            max=stepper.process.num_timesteps,
            description="timestep t",
            continuous_update=False,
        ),
        "position": _grid_of_positions(stepper.x_0.shape[-1], stepper.position),
    }
    widget = Movable(draw, sliders, {"take one reverse step, t to s": take_step})
    return widget


def transition_matrix(
    num_codes: int = 3, alpha_bar: float = 0.5, gamma_bar: float = 0.3
) -> Movable:
    r"""The matrix $\bar Q_t$ of mask-and-replace: what is neither kept nor masked is replaced.

    A slider for $\bar\alpha_t$, one for $\bar\gamma_t$; together they are 1 at most.
    """
    keep = _probability(alpha_bar, "alpha_bar")
    mask = _probability(gamma_bar, "gamma_bar")

    def limit(change: object) -> None:
        mask.max = round(1 - keep.value, 2)

    keep.observe(limit, "value")
    limit(None)

    def draw(alpha_bar: float, gamma_bar: float) -> None:
        draw_transition_matrix(num_codes, alpha_bar, gamma_bar)

    return Movable(draw, {"alpha_bar": keep, "gamma_bar": mask})


def cumulative_matrix(
    num_codes: int, alpha_bar: float, gamma_bar: float
) -> Float64[Tensor, "classes classes"]:
    r"""$\bar Q_t$: from each class (row) at level 0 to each class (column) at level t; last: MASK.

    Raises `ValueError` if the two probabilities are together above 1.
    """
    beta_bar = (1 - alpha_bar - gamma_bar) / num_codes
    if beta_bar < -1e-12:
        raise ValueError(f"alpha_bar + gamma_bar is {alpha_bar + gamma_bar}; allowed: up to 1")
    matrix = alpha_bar * torch.eye(num_codes + 1, dtype=torch.float64)
    matrix[:num_codes, :num_codes] += max(0.0, beta_bar)
    matrix[:, num_codes] = gamma_bar
    matrix[num_codes, num_codes] = 1  # absorbing
    return matrix


def draw_transition_matrix(num_codes: int, alpha_bar: float, gamma_bar: float) -> None:
    """The heat map of `cumulative_matrix`."""
    matrix = cumulative_matrix(num_codes, alpha_bar, gamma_bar)
    replaced = max(0.0, 1 - alpha_bar - gamma_bar)
    title = f"keep {alpha_bar:.2f}, replace {replaced:.2f}, mask {gamma_bar:.2f}"
    classes = [*map(str, range(num_codes)), "MASK"]
    caption = "Each row: the distribution of x_t for one class of x_0. MASK is absorbing."
    names = ("class of x_0", "class of x_t")
    heat_maps({title: matrix}, caption, rows=classes, columns=classes, axes_names=names)


def simplex(
    conditional: Sequence[float],
    unconditional: Sequence[float],
    *,
    scale: float = 1.0,
    mass: float = 1.0,
) -> Movable:
    """Guidance (a slider for its scale) and top-p (one for its mass) on three codes."""

    def draw(scale: float, mass: float) -> None:
        draw_simplex(conditional, unconditional, scale, mass)

    sliders = {
        "scale": ipywidgets.FloatSlider(scale, min=0, max=MAX_SCALE, step=0.1, description="scale"),
        "mass": ipywidgets.FloatSlider(mass, min=0.05, max=1, step=0.05, description="top-p mass"),
    }
    return Movable(draw, sliders)


def _grid_of_positions(count: int, value: int) -> ipywidgets.ToggleButtons:
    """A square of buttons, one for each position of the image, numbered from 0."""
    buttons = ipywidgets.ToggleButtons(
        options=[(str(position), position) for position in range(count)],
        value=value,
        description="position",
    )
    buttons.style.button_width = f"{BUTTON}px"
    buttons.layout.width = f"{math.isqrt(count) * (BUTTON + MARGIN)}px"
    return buttons


def _probability(value: float, name: str) -> ipywidgets.FloatSlider:
    return ipywidgets.FloatSlider(value, min=0, max=1, step=0.05, description=name)
