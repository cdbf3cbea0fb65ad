"""Random schedules at the edge of what is allowed, and extreme predictions, against enumeration.

A case is lost if a probability differs from exact fractions by more than 1e-12 in float64 (1e-6 in
float32), if a row does not sum to 1, or if a gradient is not finite.
"""

import random
from collections import Counter
from fractions import Fraction

import torch

from vqlearn.diffusion import MaskAndReplace, Schedule, ScheduleConfig, build_schedule
from vqlearn.diffusion.exact import oracle
from vqlearn.probability import log_normalise

ENDS = (0.0, 1e-300, 1e-15, 1e-9, 9e-6, 0.1, 0.5, 0.9, 0.99999, 1 - 1e-12, 1.0)
LOGITS = (0.0, -1.0, 3.0, 30.0, -90.0, -1e4, 1e30, -1e30, -torch.inf, torch.inf)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}


def soak(count: int, seed: int) -> dict[str, int]:
    """How many of `count` cases were tried, right, wrong, or raised a foreign error."""
    dice, found = random.Random(seed), Counter(tried=0, survived=0, lost=0, foreign=0)
    while found["tried"] < count:
        config = random_config(dice)
        try:
            schedule = build_schedule(config)
        except ValueError:
            continue  # most random ends are no process
        steps = exact_steps(config)
        if min(min(row) for step in steps for row in step) < 0:
            continue  # the decimals sum to more than 1, by less than rounding: no exact process
        found["tried"] += 1
        try:
            found["survived" if is_right(schedule, steps, dice) else "lost"] += 1
        except Exception:
            found["foreign"] += 1
    return dict(found)


def random_config(dice: random.Random) -> ScheduleConfig:
    """Mostly ends of such sizes as files hold, sometimes any numbers."""
    ends = [dice.choice(ENDS) if dice.random() < 0.8 else dice.random() for _ in range(4)]
    alpha_start, alpha_end = sorted(ends[:2], reverse=True)
    gamma_start, gamma_end = sorted(ends[2:])
    if dice.random() < 0.7:  # a sum above 1 is no process
        gamma_start, alpha_end = min(gamma_start, 1 - alpha_start), min(alpha_end, 1 - gamma_end)
    return ScheduleConfig(
        dice.randint(2, 5), dice.randint(1, 6), alpha_start, alpha_end, gamma_start, gamma_end
    )


def is_right(schedule: Schedule, steps: list[oracle.Matrix], dice: random.Random) -> bool:
    """One random stride, token and prediction of this schedule."""
    process = MaskAndReplace(schedule)
    t = dice.randint(1, process.num_timesteps)
    s, x_t = dice.randrange(t), dice.randint(0, process.num_codes)
    if x_t == process.mask and schedule.gamma_bar[t] == 0:
        x_t = 0
    logits = [dice.choice(LOGITS) for _ in range(process.num_codes)]
    if max(logits) == -torch.inf:
        logits[0] = 0.0
    return all(_agrees(process, steps, (s, t), x_t, logits, dtype) for dtype in TOLERANCE)


def _agrees(process, steps, stride, x_t, logits, dtype) -> bool:
    s, t = stride
    logits = torch.tensor([[logits]], dtype=dtype, requires_grad=True)
    log_p_x0 = log_normalise(logits)
    log_p = process.log_reverse(log_p_x0, torch.tensor([[x_t]]), s, t)[0, 0]
    if not abs(log_p.double().exp().sum().item() - 1) < TOLERANCE[dtype]:
        return False
    (slope,) = torch.autograd.grad(log_p[log_p.isfinite()].sum(), logits)
    if not slope.isfinite().all():
        return False
    p_x0 = [Fraction(value) for value in log_p_x0.detach().double().exp()[0, 0].tolist()]
    expected = oracle.reverse(steps, s, t, p_x0, x_t)
    if expected is None:
        return True  # weight on an x_0 that x_t cannot follow: no truth to compare with
    truth = torch.tensor([float(value) for value in expected], dtype=torch.float64)
    return (log_p.double().exp() - truth).abs().max().item() < TOLERANCE[dtype]


def exact_steps(config: ScheduleConfig) -> list[oracle.Matrix]:
    """The one-step matrices, from the decimals of the configuration."""
    num_timesteps = config.num_train_timesteps

    def line(first: float, last: float) -> list[Fraction]:
        start, end = Fraction(str(first)), Fraction(str(last))
        if num_timesteps == 1:
            return [end]
        return [
            start + (end - start) * Fraction(t, num_timesteps - 1) for t in range(num_timesteps)
        ]

    alpha_bar = [Fraction(1), *line(config.alpha_cum_start, config.alpha_cum_end)]
    gamma_bar = [Fraction(0), *line(config.gamma_cum_start, config.gamma_cum_end)]
    return oracle.step_matrices(alpha_bar, gamma_bar, config.num_vec_classes - 1)
