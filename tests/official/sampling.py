"""The official sampler, a second time, in its order of operations in single precision.

`state` holds the buffers of the process (`log_at`, `log_cumprod_at`, …), `t` is the original's
index 0 … T - 1. Log-probabilities are (b, n, K + 1) with MASK last, and never below -70.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from official.denoiser import State, denoise
from torch import Tensor
from torch.nn import functional as F

FLOOR = -70.0
LOG_TINY = math.log(1e-30)
Prediction = Callable[[Tensor, Tensor], Tensor]  # x_t (b, n), t (b,) -> log p(x_0)


def log_add(a: Tensor, b: Tensor) -> Tensor:
    top = torch.maximum(a, b)
    return top + torch.log(torch.exp(a - top) + torch.exp(b - top))


def log_one_hot(tokens: Tensor, num_classes: int) -> Tensor:
    """0 at the token, log 1e-30 elsewhere."""
    return F.one_hot(tokens, num_classes).float().clamp(min=1e-30).log()


def with_mask(log_codes: Tensor, value: float) -> Tensor:
    """K code entries, and `value` for MASK."""
    return F.pad(log_codes, (0, 1), value=value)


def predict_x0(
    state: State, x_t: Tensor, t: Tensor, condition: Tensor | None, *, heads: int = 16
) -> Tensor:
    """log p_θ(x_0 | x_t), normalised in double precision, MASK at the floor."""
    logits = denoise(state, x_t, t, condition, heads=heads)
    log_p = logits.double().log_softmax(dim=-1).float()
    return with_mask(log_p, FLOOR).clamp(FLOOR, 0)


def guide(log_conditional: Tensor, log_null: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance between normalised log-probabilities, normalised again."""
    conditional, null = log_conditional[..., :-1], log_null[..., :-1]
    guided = null + scale * (conditional - null)
    guided = guided - guided.logsumexp(dim=-1, keepdim=True)
    return with_mask(guided.clamp(FLOOR, 0), FLOOR)


def truncate(log_p: Tensor, rate: float) -> Tensor:
    """Keep the likeliest classes until their mass reaches `rate`; the others go to the floor.

    What is kept is not normalised again. The likeliest class is always kept.
    """
    values, order = log_p.sort(dim=-1, descending=True)
    mass = values.exp().cumsum(dim=-1)
    kept = torch.cat([torch.ones_like(mass[..., :1], dtype=torch.bool), mass[..., :-1] < rate], -1)
    kept = torch.empty_like(kept).scatter(-1, order, kept)
    return torch.where(kept, log_p, FLOOR)


def predictor(
    state: State,
    condition: Tensor | None,
    *,
    null: Tensor | None = None,
    scale: float = 1.0,
    rate: float | None = None,
    heads: int = 16,
) -> Prediction:
    """log p(x_0) with guidance towards `condition` (if scale is not 1), then truncated."""

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        log_p = predict_x0(state, x_t, t, condition, heads=heads)
        if abs(scale - 1) >= 1e-3:
            log_null = predict_x0(state, x_t, t, null, heads=heads)
            log_p = guide(log_p, log_null, scale)
        return log_p if rate is None else truncate(log_p, rate)

    return predict


def forward(state: State, log_x: Tensor, t: Tensor, *, total: bool) -> Tensor:
    """log q(x_t | x_0) if total, else log q(x_t | x_{t-1}), where log_x is x_0 or x_{t-1}.

    Entry T of the total buffers, which index -1 finds, stands for "nothing has happened yet".
    """
    part = "cumprod_" if total else ""
    keep, replace, mask, no_mask = (
        state[f"log_{name}"][t][:, None, None]
        for name in (f"{part}at", f"{part}bt", f"{part}ct", f"1_min_{part}ct")
    )
    codes = log_add(log_x[..., :-1] + keep, replace)
    return torch.cat([codes, log_add(log_x[..., -1:] + no_mask, mask)], dim=-1)


def reverse(state: State, log_p_x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """log p(x_{t-1} | x_t) = log Σ_{x_0} q(x_{t-1} | x_t, x_0) p(x_0), floored, not normalised."""
    log_x_t = log_one_hot(x_t, log_p_x0.shape[-1])
    masked = (x_t == log_p_x0.shape[-1] - 1)[..., None]
    # q is symmetric among the codes: x_t in the place of x_0 gives q(x_t | x_0) for every x_0
    per_x0, per_previous = (
        torch.where(
            masked,
            state[f"log_{name}"][t][:, None, None],
            forward(state, log_x_t, t, total=total)[..., :-1],
        )
        for name, total in (("cumprod_ct", True), ("ct", False))
    )
    from_mask = torch.where(masked, 0.0, LOG_TINY)  # MASK stays MASK, and nothing else comes of it
    ratio = with_mask(log_p_x0[..., :-1] - per_x0, LOG_TINY)
    size = ratio.logsumexp(dim=-1, keepdim=True)
    earlier = forward(state, ratio - size, t - 1, total=True)
    return (earlier + torch.cat([per_previous, from_mask], dim=-1) + size).clamp(FLOOR, 0)


def gumbel(uniform: Tensor) -> Tensor:
    return -torch.log(-torch.log(uniform + 1e-30) + 1e-30)


def reverse_steps(
    state: State, predict: Prediction, uniforms: Iterable[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """From all MASK at t = T - 1 down to 0: (log p(x_{t-1} | x_t), the tokens x_{t-1} drawn).

    `uniforms` are T tensors (b, n, K + 1) of numbers in 0 … 1, one for each step.
    """
    steps = len(state["log_at"])
    for t, uniform in zip(reversed(range(steps)), uniforms, strict=True):
        batch, _, num_classes = uniform.shape
        if t == steps - 1:
            x_t = torch.full(uniform.shape[:2], num_classes - 1)
        level = torch.full((batch,), t)
        log_reverse = reverse(state, predict(x_t, level), x_t, level)
        x_t = (gumbel(uniform) + log_reverse).argmax(dim=-1)
        yield log_reverse, x_t


def sample(state: State, predict: Prediction, uniforms: Iterable[Tensor]) -> Tensor:
    """The tokens x_0 (b, n) at the end of the chain."""
    *_, (_, tokens) = reverse_steps(state, predict, uniforms)
    return tokens
