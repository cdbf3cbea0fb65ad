r"""ImageBART: a short diffusion whose every reverse step is an autoregressive model.

A reverse step of `diffusion/` draws all tokens independently, so it must be small. Here a step
draws token after token, so it can be large: there are only 2 to 5. Each has a network of its own,
called a scale. Scale t reads the whole noisy sequence $x_t$, left and right, and writes the
sequence $x_{t-1}$ in raster order:

$$ p_t(x_{t-1} \mid x_t) = \prod_i p_t(x_{t-1}^i \mid x_{t-1}^{<i}, x_t) $$

With text, every scale reads the caption before the noisy sequence.

    model = ImageBART(ImageBARTConfig(num_codes=384, num_positions=64, num_scales=3, ...))
    model.nll(x_0, condition)        # the negative ELBO: nats for each sequence
    model.sample(8, condition)       # each token is read once: KV cache

Source: Esser et al. 2021, "ImageBART: Bidirectional Context with Multinomial Diffusion for
Autoregressive Image Synthesis". There the image is $x_0$ and its tokens are $x_1$; here $x_0$
is the sequence of tokens, as everywhere in this package.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vqlearn.autoregressive import decoding
from vqlearn.autoregressive.decoding import CachedDecoder, NextTokenLogProbs
from vqlearn.autoregressive.imagebart_scale import ImageBARTConfig, Scale
from vqlearn.diffusion import MaskAndReplace, build_schedule, draw_prior, multinomial, prior_term
from vqlearn.probability import (
    PLAIN,
    Conditioning,
    Generators,
    Given,
    Sampling,
    check_condition,
    check_request,
    finest_float,
    kl_divergence,
    log_normalise,
    sample_categorical,
)
from vqlearn.probability.checks import check_level


class ImageBART(nn.Module):
    r"""The distribution of what 2 to 5 autoregressive models make of noise, one by one: a
    `TokenModel`.

    $$ p(x_0) = \sum_{x_1 \ldots x_T} p(x_T) \prod_{t=1}^{T} p_t(x_{t-1} \mid x_t) $$

    `process` is `schedule.multinomial`: at level t the share t/T of all tokens is drawn anew.
    With text every $p_t$ attends to the same caption. $-\log p$ is a sum over all paths, so `nll`
    is the negative ELBO (`exact` is False).
    """

    exact = False

    def __init__(self, config: ImageBARTConfig):
        super().__init__()
        self.config = config
        self.num_codes, self.num_positions = config.num_codes, config.num_positions
        self.reads_text = config.text_width is not None
        with torch.device("cpu"):  # no weights: they are numbers even where weights are "meta"
            schedule = build_schedule(multinomial(config.num_codes, config.num_scales))
        self.process = MaskAndReplace(schedule)
        self.scales = nn.ModuleList(Scale(config) for _ in range(config.num_scales))

    def scale(self, t: int) -> Scale:
        """The network of the step from $x_t$ to $x_{t-1}$; `ValueError` for a t outside 1..T."""
        check_level(t, self.config.num_scales, lowest=1)
        return self.scales[t - 1]

    def log_probs(
        self,
        x: Int[Tensor, "b n"],
        x_t: Int[Tensor, "_ n"],
        t: int,
        condition: Conditioning | None = None,
    ) -> Float[Tensor, "b n k"]:
        r"""$\log p_t(x^i \mid x^{<i}, x_t, y)$ of all K codes at every position; x is $x_{t-1}$.

        One $x_t$ and one caption for each sequence, or one for all. Raises `ValueError` for a level
        outside 1..T, and for a condition that does not fit.
        """
        check_condition(condition, reads_text=self.reads_text)
        text = None if condition is None else condition.text
        return log_normalise(self.scale(t)(x, x_t, text))

    def decoder(
        self,
        x_t: Int[Tensor, "_ n"],
        t: int,
        condition: Conditioning | None = None,
        sampling: Sampling = PLAIN,
    ) -> NextTokenLogProbs:
        r"""The same distributions, one token after the other, guided and truncated.

        It serves one sampling run. Raises as `log_probs` does.
        """
        check_condition(condition, reads_text=self.reads_text, guided=sampling.is_guided)
        scale = self.scale(t)

        def plain_decoder(text: Float[Tensor, "_ l c"] | None) -> NextTokenLogProbs:
            # With text, x_t is encoded after each caption again: it attends to the words.
            return CachedDecoder(scale, scale.encode(scale.embed(x_t), text))

        return decoding.decoder_for(plain_decoder, condition, sampling)

    def term(
        self,
        x_0: Int[Tensor, "b n"],
        t: int,
        condition: Conditioning | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        r"""The share of scale t in the negative ELBO: nats per sequence, an unbiased estimate.

        It is $E_{x_t} KL(q \,\|\, p)$ with $q(x) = q(x_{t-1} = x \mid x_t, x_0)$ and
        $p(x) = p_t(x_{t-1} = x \mid x_t)$. The positions of q are independent,
        $q(x) = \prod_i q_i(x^i)$, and p is a product along the sequence, so

        $$ KL(q \,\|\, p) = E_{x \sim q} \sum_i \log \frac{q_i(x^i)}{p_i(x^i \mid x^{<i})}
           = \sum_i E_{x^{<i} \sim q} \sum_k q_i(k) \log \frac{q_i(k)}{p_i(k \mid x^{<i})}, $$

        because $x^i$ has the distribution $q_i$ whatever $x^{<i}$ is. The inner sum is taken
        exactly, over all K codes. Only $x_t$ and one x are drawn: their distributions hold no
        weights, so gradients are unbiased too. At t = 1 all of q is on $x_0$, and the term is
        $-\log p_1(x_0 \mid x_1)$.

        One call of scale t, so each can be trained alone. Raises `ValueError` for a t outside
        1..T.
        """
        check_level(t, self.config.num_scales, lowest=1)
        x_t = self.process.corrupt(x_0, t, generator=generator)
        log_q = self.process.log_posterior(x_0, x_t, t - 1, t, dtype=finest_float(x_0.device))
        x = sample_categorical(log_q, generator=generator)
        log_p = self.log_probs(x, x_t, t, condition)
        log_q = log_q[..., : self.num_codes].to(log_p.dtype)  # MASK cannot be
        return kl_divergence(log_q, log_p).sum(dim=1)

    def loss(
        self,
        x: Int[Tensor, "b n"],
        condition: Conditioning | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """The terms of all scales, without that of the prior, which has no weights: nats per token.

        An unbiased estimate, with one draw at every scale; one call of each.
        """
        return self._terms(x, condition, generator) / self.num_positions

    @torch.no_grad()
    def nll(
        self,
        x: Int[Tensor, "b n"],
        condition: Conditioning | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        r"""An unbiased estimate of the negative ELBO, prior included: nats per sequence.

        One estimate can be below $-\log p(x)$, their mean never is. The lowest mean over all the
        data is the entropy of the data, whatever T is: the true reverse step is a distribution over
        whole sequences, and a product along the sequence can be any distribution. Independent
        tokens cannot. One call of each scale.
        """
        prior = prior_term(self.process, x).sum(dim=1)
        return prior + self._terms(x, condition, generator)

    def _terms(
        self, x: Tensor, condition: Conditioning | None, generator: torch.Generator | None
    ) -> Tensor:
        levels = range(1, self.config.num_scales + 1)
        return sum(self.term(x, t, condition, generator=generator) for t in levels)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        condition: Conditioning | None = None,
        *,
        given: Given | None = None,
        sampling: Sampling = PLAIN,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        r"""Draw sequences: $x_T$ from the prior, then each scale from T to 1, token by token.

        Guidance and truncation change the distribution of every token of every scale. Costs T calls
        of an encoder and T n of a decoder, each of one token only.

        **Given tokens** stand in $x_T$ and come with certainty, when it is their turn, at every
        scale. This is an approximation of $p(x_0 \mid \text{given})$, for a prefix too: a clean
        token in a noisy $x_t$ is a state that the process does not reach, and a scale cannot tell
        it from noise. Within a scale a token given further on changes nothing before it; the next
        scale reads it from both sides.

        Raises `ValueError` for captions or given tokens that do not fit.
        """
        check_request(self, count, condition, given)
        shape = (count, self.num_positions)
        device = next(self.parameters()).device
        x_t = draw_prior(self.process, shape, device=device, generator=generator)
        x_t, t = x_t if given is None else given.keep(x_t), self.config.num_scales
        return self.sample_from(
            x_t, t, condition, given=given, sampling=sampling, generator=generator
        )

    @torch.no_grad()
    def sample_from(
        self,
        x_t: Int[Tensor, "b n"],
        t: int,
        condition: Conditioning | None = None,
        *,
        given: Given | None = None,
        sampling: Sampling = PLAIN,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        r"""The scales from t to 1, from any $x_t$; given tokens as in `sample`."""
        for level in range(t, 0, -1):
            decoder = self.decoder(x_t, level, condition, sampling)
            decoder = decoder if given is None else decoding.keep_given(decoder, given)
            nothing = x_t[:, :0]  # every scale writes the whole sequence anew
            x_t = decoding.sample(decoder, nothing, self.num_positions, generator=generator)
        return x_t
