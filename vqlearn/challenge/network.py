"""The network as a submission sees it: so many evaluations, and every one is counted here."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vqlearn.diffusion import DiffusionModel
from vqlearn.probability import Conditioning, log_normalise
from vqlearn.probability.checks import check_choice, check_level, check_range, check_sequences

BUDGET = 10  # evaluations of the network for each image
LARGEST = 2**31


class CountedNetwork:
    """The denoiser for a batch of prompts; `evaluations` is how often it was asked.

    An evaluation is one pass of the network for all images of the batch, with their captions or
    without. Guidance needs both, so a guided step costs two.

    Codes have other numbers than in the model: `codes` has the model's number of each, (K,), in an
    order of its own for every batch. A table of what codes look like is then of no use.
    """

    def __init__(
        self, model: DiffusionModel, condition: Conditioning, codes: Int[Tensor, " k"]
    ) -> None:
        null = Conditioning(condition.null_text())
        self.evaluations, self._model, self._num_images = 0, model, len(condition)
        self._codes = codes
        self._classes = torch.cat([codes, torch.tensor([model.num_codes])])  # and MASK
        self._scores = [model.scores(text, guided=False) for text in (null, condition)]

    def __call__(self, x_t: Any, t: Any, text: Any = True) -> Float[Tensor, "b n k"]:
        r"""$\log p(x_0 \mid x_t, y)$ in float32, normalised; without `text` y is the null.

        `x_t`: (b, n), each a code or MASK (K); `t`: the timestep, 1 to T, or one for each image.
        Raises `ValueError` for anything else, which is not counted, and when all evaluations are
        used up.
        """
        numbers = (torch.as_tensor(one).detach().to("cpu", torch.float64) for one in (x_t, t, text))
        return torch.from_numpy(self.answer([one.numpy() for one in numbers]))

    @torch.no_grad()
    def answer(self, question: list[np.ndarray]) -> np.ndarray:
        """The same for x_t, t and text in float64, from a process that nobody trusts."""
        x_t, t, text = self._checked(question)
        if self.evaluations == BUDGET:
            raise ValueError(f"the network was asked {BUDGET} times before; allowed: no more")
        self.evaluations += 1
        log_p = log_normalise(self._scores[text](self._classes[x_t], t))  # (b, n, K)
        return log_p[..., self._codes].float().cpu().numpy()

    def _checked(self, question: list[np.ndarray]) -> tuple[Tensor, Tensor, int]:
        """The arguments of the network. Raises `ValueError` for whatever are none."""
        each = self._num_images
        shapes = [array.shape for array in question]
        if len(shapes) != 3 or len(shapes[0]) != 2 or shapes[1] not in ((), (each,)) or shapes[2]:
            raise ValueError(
                f"the network was asked with shapes {shapes}; allowed: x_t ({each}, "
                f"{self._model.num_positions}), t () or ({each},), text ()"
            )
        check_choice("the number of sequences in x_t", len(question[0]), (each,))
        for name, numbers in zip(("x_t", "t", "text"), question, strict=True):
            if not (np.abs(numbers) < LARGEST).all() or (numbers != numbers.round()).any():
                raise ValueError(f"{name} holds {numbers.flat[0]:g}, …; allowed: whole numbers")
        x_t, t, text = (torch.from_numpy(numbers).long() for numbers in question)
        check_sequences("x_t", x_t, self._model.num_positions, self._model.process.num_classes)
        check_level(t, self._model.process.num_timesteps, lowest=1)
        check_range("text", text, 0, 1)
        return x_t, t.expand(each), int(text)
