"""The schedule arrays: exact fractions, rounded once."""

from fractions import Fraction
from itertools import combinations

import pytest
import torch

from vqlearn.diffusion.exact import oracle
from vqlearn.diffusion.schedule import (
    Schedule,
    ScheduleConfig,
    absorbing,
    build_schedule,
    multinomial,
    paper,
    released,
)

PRESETS = (released, paper, absorbing, multinomial)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("num_timesteps", [1, 2, 3, 6, 7, 100, 1000])
def test_level_zero_is_the_data_and_every_level_sums_to_one(preset, num_timesteps):
    schedule = build_schedule(preset(7, num_timesteps))
    total = schedule.alpha_bar + 7 * schedule.beta_bar + schedule.gamma_bar
    assert torch.allclose(total, torch.ones_like(total), atol=1e-15, rtol=0)
    first = [x[0].item() for x in (schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar)]
    assert first == [1, 0, 0]
    assert schedule.num_timesteps == num_timesteps


def test_the_released_schedule_is_the_rounding_of_its_fractions():
    schedule = build_schedule(released(4096))
    first, last = Fraction(99999, 100000), Fraction(9, 1000000)
    for t in range(1, 101):
        share = Fraction(t - 1, 99)
        alpha_bar = first + (last - first) * share
        gamma_bar = last + (first - last) * share
        assert schedule.alpha_bar[t].item() == float(alpha_bar)
        assert schedule.gamma_bar[t].item() == float(gamma_bar)
        assert schedule.beta_bar[t].item() == float((1 - alpha_bar - gamma_bar) / 4096)


def test_beta_bar_recomputed_from_rounded_numbers_would_be_wrong():
    schedule = build_schedule(released(4096))
    naive = (1 - schedule.alpha_bar - schedule.gamma_bar) / 4096
    relative_error = ((naive - schedule.beta_bar).abs() / schedule.beta_bar)[1:]
    assert relative_error.max() > 1e-11
    exact = Fraction(1, 1000000) / 4096
    assert (schedule.beta_bar[1:] == float(exact)).all()


def test_the_papers_schedule_ends_with_nine_tenths_masked_and_one_tenth_replaced():
    schedule = build_schedule(paper(10))
    assert schedule.gamma_bar[-1] == 0.9
    assert 10 * schedule.beta_bar[-1] == pytest.approx(0.1, abs=1e-16)
    assert schedule.alpha_bar[-1] == 0
    assert schedule.alpha_bar[50] == 0.5


def test_the_corners_have_no_masks_or_no_replacements():
    assert (build_schedule(multinomial(5)).gamma_bar == 0).all()
    assert (build_schedule(absorbing(5)).beta_bar == 0).all()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_vec_classes": 1}, "num_vec_classes is 1"),
        ({"num_vec_classes": 5, "num_train_timesteps": 0}, "num_train_timesteps is 0"),
        ({"num_vec_classes": 5, "alpha_cum_start": 1.5}, "alpha_cum_start is 1.5"),
        ({"num_vec_classes": 5, "gamma_cum_end": float("nan")}, "gamma_cum_end is nan"),
    ],
)
def test_numbers_out_of_range_are_named(numbers, message):
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**numbers)


@pytest.mark.parametrize(
    "lines",
    [
        (0.9, 0.5, 0.0, 0.6),  # more than all at the end
        (0.5, 0.9, 0.1, 0.1),  # tokens come back
        (0.9, 0.1, 0.1, 0.0),  # masks come back
        (0.0, 0.0, 0.1, 0.9),  # nothing left after the first level
    ],
)
def test_lines_that_describe_no_process_are_refused(lines):
    with pytest.raises(ValueError, match="allowed"):
        build_schedule(ScheduleConfig(5, 10, *lines))


@pytest.mark.parametrize("num_timesteps", [3, 6, 7, 11, 30])
def test_sixteen_digits_of_a_third_are_a_third(num_timesteps):
    """1 - 1/T and 1/T as a file stores them may sum to 1 + 5e-17; no share may fall below 0."""
    lost = 1 / num_timesteps
    config = ScheduleConfig(5, num_timesteps, 1 - lost, 0.0, lost, 1.0)
    schedule = build_schedule(config)
    assert (schedule.beta_bar >= 0).all()
    assert schedule.beta_bar.max() < 1e-15


def test_a_stride_is_what_the_matrices_between_its_levels_multiply_to():
    """Against single steps of exact fractions, multiplied one by one; also from level 0."""
    num_codes, num_timesteps = 3, 6
    alpha_bar = [Fraction(6 - t, 6) for t in range(7)]
    gamma_bar = [Fraction(t, 8) for t in range(7)]
    beta_bar = [(1 - a - g) / num_codes for a, g in zip(alpha_bar, gamma_bar, strict=True)]
    bars = [[float(x) for x in bar] for bar in (alpha_bar, beta_bar, gamma_bar)]
    schedule = Schedule(num_codes, *[torch.tensor(bar, dtype=torch.float64) for bar in bars])
    steps = oracle.step_matrices(alpha_bar, gamma_bar, num_codes)
    for s, t in combinations(range(num_timesteps + 1), 2):
        row = oracle.between(steps, s, t)[0]
        expected = float(row[0] - row[1]), float(row[1]), float(row[num_codes])
        stride = schedule.stride(s, t)
        assert [x.item() for x in stride] == pytest.approx(expected, abs=1e-15)
        if s == 0:
            assert stride == schedule.cumulative(t)


@pytest.mark.parametrize("preset", PRESETS)
def test_strides_of_a_batch_are_those_of_its_images(preset):
    schedule = build_schedule(preset(5, 8))
    s, t = torch.tensor([0, 3, 6]), torch.tensor([1, 8, 7])
    together = schedule.stride(s, t)
    assert {(x.dtype, x.shape) for x in together} == {(torch.float64, (3, 1))}
    for i in range(3):
        alone = schedule.stride(int(s[i]), int(t[i]))
        assert [x[i].item() for x in together] == [x.item() for x in alone]


@pytest.mark.parametrize(("s", "t"), [(2, 2), (3, 2), (-1, 2), (0, 9), ([0, 4], [3, 4])])
def test_strides_out_of_order_or_range_are_refused(s, t):
    schedule = build_schedule(paper(5, 8))
    if isinstance(s, list):
        s, t = torch.tensor(s), torch.tensor(t)
    with pytest.raises(ValueError, match="allowed"):
        schedule.stride(s, t)


def test_only_straight_lines_have_a_config():
    schedule = build_schedule(released(5, 100))
    assert schedule.config == released(5, 100)
    cosine = torch.cos(torch.linspace(0, 1.5, 101, dtype=torch.float64)) ** 2
    bent = Schedule(5, cosine, (1 - cosine) / 10, (1 - cosine) / 2)
    with pytest.raises(ValueError, match=r"alpha_bar is 0.* off a straight line"):
        bent.config  # noqa: B018
