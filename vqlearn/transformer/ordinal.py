"""A denoiser of ordered codes, such as grey values: a mean and a width in place of K scores."""

from dataclasses import replace

from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.diffusion.parameterisations import truncated_logistic
from vqlearn.probability.checks import Level, check_choice
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser


class OrdinalDenoiser(nn.Module):
    r"""A denoiser that predicts the mean and the scale of a distribution over ordered codes.

    $\tilde p(x_0 \mid x_t)$ is `truncated_logistic` with the mean $\tanh(m + x_t)$, where the
    codes of $x_t$ lie evenly on [-1, 1], and the scale $e^s$; m and s come out of a
    `SequenceDenoiser` with two outputs. Neighbours of a likely grey value are likely too, before
    anything is learnt. MASK has no position among ordered codes: `num_classes` must be K.

    Source: Austin et al. 2021. Raises `ValueError` for more classes than codes.
    """

    reads_text = False

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        check_choice("num_classes", config.num_classes, (config.num_codes,))
        self.config = config
        self.network = SequenceDenoiser(replace(config, num_codes=2))

    def forward(self, x_t: Int[Tensor, "b n"], t: Level) -> Float[Tensor, "b n k"]:
        """log p(x_0 | x_t) for the K codes, normalised. Raises as `SequenceDenoiser` does."""
        shift, log_scale = self.network(x_t, t).unbind(dim=-1)  # (b, n, 2) -> twice (b, n)
        position = 2 * x_t.to(shift) / (self.config.num_codes - 1) - 1  # 0..K - 1 -> -1..1
        return truncated_logistic((shift + position).tanh(), log_scale, self.config.num_codes)
