"""Small pieces of arithmetic on log-probabilities in which zero probability is exactly -inf."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from vqlearn.probability.random import finest_float

IMPOSSIBLE = -torch.inf


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def log_add(a: Tensor, b: Tensor) -> Tensor:
    r"""$\log(e^a + e^b)$, also where one or both are -inf, with finite gradients there.

    Why not `torch.logaddexp` alone: its gradient at (-inf, -inf) is NaN, and one NaN spoils the
    whole network even if the entry is never used.
    """
    impossible = torch.isneginf(b)
    return torch.where(impossible, a, torch.logaddexp(a, b.masked_fill(impossible, 0)))


def log_sum(values: Float[Tensor, "*b k"]) -> Float[Tensor, "*b 1"]:
    r"""$\log \sum_k e^{v_k}$, also where all values are -inf, with finite gradients there.

    `torch.logsumexp` has the value, but a gradient of NaN.
    """
    impossible = values.amax(dim=-1, keepdim=True).isneginf()  # (*b, 1)
    total = values.masked_fill(impossible, 0).logsumexp(dim=-1, keepdim=True)
    return total.masked_fill(impossible, IMPOSSIBLE)


def log_one_hot(indices: Int[Tensor, "*b"], num_classes: int, dtype: torch.dtype) -> Tensor:
    """log 1 = 0 at the index, log 0 = -inf elsewhere. Shape (..., num_classes)."""
    return functional.one_hot(indices, num_classes).to(dtype).log()


def log_normalise(logits: Float[Tensor, "*b k"]) -> Float[Tensor, "*b k"]:
    """Log-probabilities of logits: float32 or better, no NaN for any row with a finite entry.

    A logit of -inf means "impossible". A logit of +inf is read as the largest finite number.
    Half precision comes back as float32. The mass is added up in float64, because 4,096 float32
    additions (`torch.log_softmax`) leave the rows up to 1e-5 away from 1.
    """
    logits = at_least_float32(logits)
    logits = logits.clamp(max=torch.finfo(logits.dtype).max)
    below_top = logits - logits.detach().amax(dim=-1, keepdim=True)
    mass = below_top.exp().sum(dim=-1, keepdim=True, dtype=finest_float(logits.device))
    return below_top - mass.log().to(logits.dtype)


def kl_divergence(
    log_q: Float[Tensor, "*b k"], log_p: Float[Tensor, "*#b k"]
) -> Float[Tensor, "*b"]:
    r"""$\sum_x q(x)\,(\log q(x) - \log p(x))$ in nats, where $0 \log 0 = 0$.

    Infinite where p excludes something that q allows.
    """
    q = log_q.exp()
    # 0 * -inf is NaN, and `torch.where` after the product would keep it in the gradient.
    return (q * (log_q - log_p).masked_fill(q == 0, 0)).sum(dim=-1)
