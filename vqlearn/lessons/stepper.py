"""The token stepper: one image of tokens, noise by the forward process, one reverse step at a time.

    stepper = TokenStepper(process, denoise, x_0, patches)
    stepper.corrupt(60)        # x_60 ~ q(x_60 | x_0)
    stepper.step()             # x_s ~ p(x_s | x_60), for the next s
    stepper.draw()

It has no slider and no button: `widgets.py` puts them on it.
"""

import matplotlib.pyplot as plt
import torch
from jaxtyping import Float, Int
from matplotlib.patches import Rectangle
from torch import Tensor

from vqlearn.diffusion import MaskAndReplace, levels_to_visit
from vqlearn.diffusion.sampler import Denoise, step
from vqlearn.lessons.code_bars import draw_code_bars, likeliest_codes
from vqlearn.lessons.plots import WIDTH, draw_grid, finish

CODES_SHOWN = 5
CAPTION = (
    "Left: the tokens x_t; grey: masked; black frame: the position that is looked at. Middle: what "
    "the denoiser predicts for it, p(x_0 | x_t). Right: what it may be after one reverse step, "
    "p(x_s | x_t)."
)


class TokenStepper:
    """A state (t, x_t), the prediction of x_0 at one position, and the reverse step there.

    `denoise(x_t, t)` is log p(x_0 | x_t). It starts from the clean tokens x_0, (1, n), at level 0.
    The levels that reverse steps visit are those of the sampler with `num_steps` steps.
    """

    def __init__(
        self,
        process: MaskAndReplace,
        denoise: Denoise,
        x_0: Int[Tensor, "1 n"],
        patches: Float[Tensor, "k 3 p p"],
        *,
        num_steps: int = 25,
        seed: int = 0,
    ) -> None:
        self.process, self.denoise, self.x_0, self.patches = process, denoise, x_0, patches
        self.levels = levels_to_visit(process.num_timesteps, num_steps)
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)  # of the reverse steps
        self.t, self.x_t, self.position = 0, x_0, 0

    @property
    def next_level(self) -> int:
        """The level s that the next reverse step ends at: the highest of the sampler's below t."""
        return max((level for level in self.levels if level < self.t), default=0)

    def corrupt(self, t: int) -> None:
        """Go to level t by the forward process, from x_0: x_t ~ q(x_t | x_0).

        The random numbers are the same for every t: what is masked at t stays masked at higher t.
        """
        generator = torch.Generator().manual_seed(self.seed)
        self.t, self.x_t = t, self.process.corrupt(self.x_0, t, generator=generator)

    def step(self) -> None:
        """Take one reverse step: x_s ~ p(x_s | x_t), every position on its own. At t = 0: none."""
        if self.t > 0:
            levels = (self.t, self.next_level)
            log_p_x0 = self._log_p_x0()
            self.x_t = step(self.process, log_p_x0, self.x_t, levels, generator=self.generator)
            self.t = levels[1]

    def distributions(self) -> tuple[Float[Tensor, " k"], Float[Tensor, " classes"]]:
        """p(x_0 | x_t) and p(x_s | x_t) at the position that is looked at; needs t > 0."""
        log_p_x0 = self._log_p_x0()  # (1, n, K)
        log_p_xs = self.process.log_reverse(log_p_x0, self.x_t, self.next_level, self.t)
        return log_p_x0[0, self.position].exp(), log_p_xs[0, self.position].exp()

    def draw(self) -> None:
        """The figure of the state: the grid of tokens, and the two distributions."""
        figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.0), width_ratios=(1, 1.4, 1.6))
        draw_grid(axes[0], self.x_t[0], self.patches)
        row, column = divmod(self.position, round(self.x_t.shape[-1] ** 0.5))
        axes[0].add_patch(Rectangle((column, row), 1, 1, fc="none", ec="white", lw=5))
        axes[0].add_patch(Rectangle((column, row), 1, 1, fc="none", ec="black", lw=2.5))
        masked = int((self.x_t == self.process.mask).sum())
        axes[0].set_title(f"x_t at t = {self.t}, masked: {masked}")
        if self.t == 0:  # nothing is left to predict
            axes[1].axis("off")
            axes[2].axis("off")
        else:
            self._draw_distributions(axes[1:])
        finish(figure, CAPTION)

    def _draw_distributions(self, axes: list[plt.Axes]) -> None:
        both = self.distributions()
        true_code = int(self.x_0[0, self.position])
        codes = likeliest_codes(both, len(self.patches), CODES_SHOWN, true_code)
        titles = ("p(x_0 | x_t)", f"p(x_s | x_t), s = {self.next_level}")
        for ax, p, title in zip(axes, both, titles, strict=True):
            draw_code_bars(ax, p, self.patches, codes, true_code)
            ax.set(title=title, ylabel="probability")

    @torch.no_grad()
    def _log_p_x0(self) -> Float[Tensor, "1 n k"]:
        return self.denoise(self.x_t, self.t)
