r"""ImageBART: a short diffusion whose every step back is an autoregressive model.

A step back of `diffusion/` draws all tokens at once, none sees the others, so it must be small.
Here a step draws token after token, so it can be large: there are only 2 to 5. Each has a network
of its own, called a scale. Scale t reads the whole noisy row $x_t$, left and right, and writes
the row $x_{t-1}$ in raster order:

$$ p_t(x_{t-1} \mid x_t) = \prod_i p_t(x_{t-1}^i \mid x_{t-1}^{<i}, x_t) $$

With text, every scale reads the caption before the noisy row.

    model = ImageBART(ImageBARTConfig(num_codes=384, num_positions=64, num_scales=3, ...))
    model.bound(x_0, text=text)                # at most how surprising: nats for each row
    model.sample((8, 64), text=text)           # each token is read once: `cache.py`

Source: Esser et al. 2021, "ImageBART: Bidirectional Context with Multinomial Diffusion for
Autoregressive Image Synthesis". There the image is $x_0$ and its tokens are $x_1$; here $x_0$
is the row of tokens, as everywhere in this package.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive import model as raster
from vqlearn.autoregressive.cache import CachedDecoder
from vqlearn.autoregressive.imagebart_scale import ImageBARTConfig, Scale
from vqlearn.autoregressive.writer import Text
from vqlearn.diffusion.objective import prior_term
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import build_schedule, multinomial
from vqlearn.probability.log_probs import kl_divergence, log_normalise
from vqlearn.probability.random import Generators, finest_float, sample_categorical

StepBack = Callable[[Int[Tensor, "b n"], int], raster.NextTokenLogProbs]
"""step_back(x_t, t): the distribution of $x_{t-1}$, one token after the other."""


class ImageBART(nn.Module):
    r"""How likely is a row that 2 to 5 autoregressive models make out of noise, one by one?

    $$ p(x_0) = \sum_{x_1 \ldots x_T} p(x_T) \prod_{t=1}^{T} p_t(x_{t-1} \mid x_t) $$

    `process` is `schedule.multinomial`: at level t the share t/T of all tokens is drawn anew.
    With text every $p_t$ reads the same caption: `text` holds one for each row, or one for all.
    """

    def __init__(self, config: ImageBARTConfig):
        super().__init__()
        self.config = config
        schedule = build_schedule(multinomial(config.num_codes, config.num_scales))
        self.process = MaskAndReplace(schedule)
        self.scales = nn.ModuleList(Scale(config) for _ in range(config.num_scales))

    def conditionals(
        self, x_t: Int[Tensor, "b n"], t: int, text: Text = None
    ) -> raster.Conditionals:
        r"""$\log p_t(x_{t-1}^i \mid x_{t-1}^{<i}, x_t)$, as the functions of `raster` ask for it.

        The encoder runs once. Raises `ValueError` for a level outside 1..T, and for text of another
        size, missing, or not wanted.
        """
        scale, encoded = self._encode(x_t, t, text)
        return lambda x: log_normalise(scale.from_embedding(scale.embed(x), encoded))

    def next_token_log_probs(
        self, x_t: Int[Tensor, "b n"], t: int, text: Text = None
    ) -> raster.NextTokenLogProbs:
        """The same distributions, one token after the other: a `CachedDecoder`, for one drawing.

        Raises as `conditionals` does.
        """
        return CachedDecoder(*self._encode(x_t, t, text))

    def _encode(self, x_t: Tensor, t: int, text: Tensor | None) -> tuple[Scale, Tensor]:
        if not 1 <= t <= self.config.num_scales:
            raise ValueError(f"level t is {t}; allowed: 1 to {self.config.num_scales}")
        scale = self.scales[t - 1]
        return scale, scale.encode(scale.embed(x_t), text)

    def term(
        self, x_0: Int[Tensor, "b n"], t: int, *, text: Text = None, generator: Generators = None
    ) -> Float[Tensor, " b"]:
        r"""The share of scale t in the bound: nats for each row, an unbiased estimate.

        It is $E_{x_t} KL(q \,\|\, p)$ with $q(x) = q(x_{t-1} = x \mid x_t, x_0)$ and
        $p(x) = p_t(x_{t-1} = x \mid x_t)$. The positions of q are independent,
        $q(x) = \prod_i q_i(x^i)$, and p is a product along the row, so

        $$ KL(q \,\|\, p) = E_{x \sim q} \sum_i \log \frac{q_i(x^i)}{p_i(x^i \mid x^{<i})}
           = \sum_i E_{x^{<i} \sim q} \sum_k q_i(k) \log \frac{q_i(k)}{p_i(k \mid x^{<i})}, $$

        because $x^i$ has the distribution $q_i$ whatever $x^{<i}$ is. The inner sum is taken
        exactly, over all K codes. Only $x_t$ and one x are drawn: their distributions hold no
        weights, so gradients are unbiased too. At t = 1 all of q is on $x_0$, and the term is
        $-\log p_1(x_0 \mid x_1)$.

        One call of scale t, so each can be trained alone. Raises `ValueError` for a t outside
        1..T.
        """
        x_t = self.process.corrupt(x_0, t, generator=generator)
        conditionals = self.conditionals(x_t, t, text)
        log_q = self.process.log_posterior(x_0, x_t, t - 1, t, dtype=finest_float(x_0.device))
        log_p = conditionals(sample_categorical(log_q, generator=generator))
        log_q = log_q[..., : self.config.num_codes].to(log_p.dtype)  # MASK cannot be
        return kl_divergence(log_q, log_p).sum(dim=1)

    def bound(
        self, x_0: Int[Tensor, "b n"], *, text: Text = None, generator: Generators = None
    ) -> Float[Tensor, " b"]:
        r"""At most how surprising is each row? Nats for each row, prior included.

        One estimate can be below $-\log p(x_0)$, their mean never is. The lowest mean over all the
        data is the entropy of the data, whatever T is: the true step back is a distribution over
        whole rows, and a product along the row can be any distribution. Independent tokens cannot.
        One call of each scale.
        """
        nats = prior_term(self.process, x_0).sum(dim=1)
        for t in range(1, self.config.num_scales + 1):
            nats = nats + self.term(x_0, t, text=text, generator=generator)
        return nats

    def sample(
        self,
        shape: tuple[int, int],
        *,
        text: Text = None,
        filter: raster.Filter | None = None,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        """Draw b rows of n tokens: noise first, then each scale from T to 1, token by token.

        Costs T calls of an encoder and T n of a decoder, each of one token only. `filter` changes
        the distribution of every token of every scale, see `filters.py`. Raises `ValueError` for
        another n than that of the config, and for text as `conditionals` does.
        """

        def step_back(x_t: Int[Tensor, "b n"], t: int) -> raster.NextTokenLogProbs:
            return self.next_token_log_probs(x_t, t, text)

        return self.sample_by(step_back, shape, filter=filter, generator=generator)

    @torch.no_grad()
    def sample_by(
        self,
        step_back: StepBack,
        shape: tuple[int, int],
        *,
        filter: raster.Filter | None = None,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        """The same with distributions of your own, such as guided ones:

        def step_back(x_t, t):
            said, unsaid = (model.next_token_log_probs(x_t, t, y) for y in (text, null))
            return guide_next(said, unsaid, 2.5)
        """
        x = sample_categorical(self.process.log_prior().expand(*shape, -1), generator=generator)
        x = x.to(self.scales[0].to_logits.weight.device)
        for t in range(self.config.num_scales, 0, -1):
            distribution = step_back(x, t)
            x = raster.sample(distribution, x[:, :0], shape[1], filter=filter, generator=generator)
        return x
