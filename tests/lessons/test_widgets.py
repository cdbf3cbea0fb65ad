"""Figures that can be moved: what their sliders and buttons do is what the package does."""

from fractions import Fraction

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

from vqlearn.diffusion import MaskAndReplace, Schedule, build_schedule, paper, sampler
from vqlearn.diffusion.exact import examples, world
from vqlearn.lessons import simplex, widgets
from vqlearn.lessons.code_bars import code_bars, likeliest_codes
from vqlearn.lessons.stepper import TokenStepper

K, T, SEED = 5, 10, 3
X_0 = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3]])
PATCHES = torch.linspace(0, 1, K).view(K, 1, 1, 1).expand(K, 3, 2, 2)
C, U = [0.5, 0.3, 0.2], [0.4, 0.3, 0.3]


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    """The figures that were shown, in order; nothing opens a window."""
    mpl.use("Agg")
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    yield shown
    plt.close("all")


@pytest.fixture
def process():
    return MaskAndReplace(build_schedule(paper(K, T)))


def denoise(x_t, t):
    """A prediction that differs with t and with all tokens: not smooth, but always the same."""
    table = torch.randn(T + 1, K + 1, K, generator=torch.Generator().manual_seed(0))
    scores = table[t][x_t]  # (1, n, K)
    return (scores + scores.mean(dim=1, keepdim=True)).log_softmax(dim=-1)


@pytest.fixture
def drawn(process):
    """A stepper and its widget."""
    stepper = TokenStepper(process, denoise, X_0, PATCHES, num_steps=5, seed=SEED)
    return stepper, widgets.stepper_widget(stepper)


@pytest.fixture
def widget(drawn, monkeypatch):
    """The same, but no figure is drawn: quick."""
    monkeypatch.setattr(TokenStepper, "draw", lambda stepper: None)
    return drawn


def press(widget):
    (button,) = widget.buttons.values()
    button.click()


def move(widget, **values):
    for name, value in values.items():
        widget.sliders[name].value = value
    widget.show()


def test_the_slider_t_is_the_forward_process(process, widget):
    stepper, moved = widget
    for t in (T, 4, 7):
        move(moved, t=t)
        generator = torch.Generator().manual_seed(SEED)
        assert stepper.t == t
        assert torch.equal(stepper.x_t, process.corrupt(X_0, t, generator=generator))


def test_what_is_masked_stays_masked_when_t_grows(widget):
    stepper, moved = widget
    masked = torch.zeros_like(X_0, dtype=torch.bool)
    for t in range(1, T + 1):
        move(moved, t=t)
        now = stepper.x_t == K
        assert bool((now | ~masked).all())
        masked = now
    assert masked.sum() > 5


def test_the_button_takes_the_steps_of_the_sampler(process, widget):
    """From level T down, bit for bit, with the same generator; then nothing more happens."""
    stepper, moved = widget
    move(moved, t=T)
    generator = torch.Generator().manual_seed(SEED)
    levels = sampler.levels_to_visit(T, 5)
    expected = sampler.sample(process, denoise, stepper.x_t, levels, generator=generator)
    for s, x_s in expected:
        press(moved)
        assert stepper.t == moved.sliders["t"].value == s
        assert torch.equal(stepper.x_t, x_s)
        moved.show()
        assert torch.equal(stepper.x_t, x_s)  # drawing does not change it
    press(moved)
    assert stepper.t == 0


def test_a_step_from_between_goes_to_the_next_level_of_the_sampler(widget):
    stepper, moved = widget
    levels = sampler.levels_to_visit(T, 5)
    for t in range(1, T + 1):
        move(moved, t=t)
        assert stepper.next_level == max(level for level in levels if level < t)


def test_the_distributions_are_those_of_the_denoiser_and_the_process(process, widget):
    stepper, moved = widget
    move(moved, t=7, position=5)
    assert stepper.position == 5
    p_x0, p_xs = stepper.distributions()
    log_p_x0 = denoise(stepper.x_t, 7)
    expected = process.log_reverse(log_p_x0, stepper.x_t, stepper.next_level, 7)
    assert torch.equal(p_x0, log_p_x0[0, 5].exp())
    assert torch.equal(p_xs, expected[0, 5].exp())


def test_steps_have_the_distribution_of_the_sampler():
    """`twins` in 2 steps: how often both tokens are equal, against the exact distribution."""
    twins = examples.twins()
    process = MaskAndReplace(build_schedule(paper(2, 4)))
    x_T = sampler.all_masked(process, (1, 2))
    patches, x_0 = torch.zeros(2, 3, 1, 1), torch.zeros(1, 2, dtype=torch.long)
    stepper = TokenStepper(process, twins.denoiser(process), x_0, patches, num_steps=2)
    start = world.point_distribution(process, x_T[0])
    exact = world.sampler_distribution(process, stepper.denoise, start, stepper.levels)
    states = world.all_states(process.num_classes, 2)
    probability = float(exact[states[:, 0] == states[:, 1]].sum())
    equal, count = 0, 300
    for _ in range(count):
        stepper.t, stepper.x_t = 4, x_T
        while stepper.t:
            stepper.step()
        equal += int(stepper.x_t[0, 0] == stepper.x_t[0, 1])
    error = (probability * (1 - probability) / count) ** 0.5
    assert abs(equal / count - probability) < 4 * error
    assert 0.55 < probability < 0.95


def test_the_figure_shows_the_state_also_when_nothing_is_left_to_predict(drawn, figures):
    _, moved = drawn
    moved.show()
    assert figures[-1].axes[0].get_title() == "x_t at t = 0, masked: 0"
    move(moved, t=T)
    grid, _, step = figures[-1].axes[:3]
    assert grid.get_title().startswith("x_t at t = 10, masked: ")
    assert step.get_title() == "p(x_s | x_t), s = 9"
    heights = [bar.get_height() for bar in step.patches]
    assert sum(heights) == pytest.approx(1, abs=1e-5)


def test_bars_hold_all_probability_and_the_true_code(figures):
    p = torch.tensor([0.4, 0.3, 0.1, 0.08, 0.02, 0.1])  # the last: MASK
    assert likeliest_codes([p], K, 2) == [0, 1]
    assert likeliest_codes([p], K, 2, true_code=4) == [0, 4]
    assert likeliest_codes([p, p.flip(0)], K, 3) == [0, 1, 4]
    code_bars({"a": p, "b": p[:K] / p[:K].sum()}, PATCHES, "A caption.", count=2, true_code=4)
    with_mask, without = figures[-1].axes[:2]
    heights = [bar.get_height() for bar in with_mask.patches]
    assert heights == pytest.approx([0.4, 0.02, 0.48, 0.1])
    labels = [tick.get_text() for tick in with_mask.get_xticklabels()]
    assert labels == ["", "true", "other\ncodes", "MASK"]
    assert sum(bar.get_height() for bar in without.patches) == pytest.approx(1)


def test_the_matrix_is_that_of_the_process():
    """Row k is q(x_t | x_0 = k) of a schedule with these probabilities."""
    alpha, gamma = Fraction(1, 2), Fraction(3, 10)
    arrays = [[1, alpha], [0, (1 - alpha - gamma) / 3], [0, gamma]]
    rows = (torch.tensor([float(value) for value in row], dtype=torch.float64) for row in arrays)
    process = MaskAndReplace(Schedule(3, *rows))
    expected = process.log_marginal(torch.arange(3)[None], 1, dtype=torch.float64)[0].exp()
    matrix = widgets.cumulative_matrix(3, 0.5, 0.3)
    assert torch.allclose(matrix[:3], expected, rtol=0, atol=1e-15)
    assert matrix[3].tolist() == [0, 0, 0, 1]
    with pytest.raises(ValueError, match=r"allowed: up to 1"):
        widgets.cumulative_matrix(3, 0.5, 0.6)


def test_keep_and_mask_are_together_at_most_one(figures):
    moved = widgets.transition_matrix()
    move(moved, gamma_bar=1.0)
    assert moved.values == {"alpha_bar": 0.5, "gamma_bar": 0.5}
    move(moved, alpha_bar=0.75)
    assert moved.values == {"alpha_bar": 0.75, "gamma_bar": 0.25}
    move(moved, alpha_bar=0.2)
    assert moved.values == {"alpha_bar": 0.2, "gamma_bar": 0.25}
    assert figures[-1].axes[0].get_title() == "keep 0.20, replace 0.55, mask 0.25"


def test_the_simplex_shows_guidance_and_then_top_p(figures):
    by_hand = torch.tensor([c**3 / u**2 for c, u in zip(C, U, strict=True)], dtype=torch.float64)
    by_hand /= by_hand.sum()
    assert torch.allclose(simplex.guided(C, U, 3.0), by_hand)
    assert torch.allclose(simplex.guided(C, U, 0.0), torch.tensor(U, dtype=torch.float64))
    kept = by_hand * torch.tensor([1, 1, 0])  # 0.67 + 0.26 = 0.93: the third is cut
    assert torch.allclose(simplex.guided_and_truncated(C, U, 3.0, 0.9), kept / kept.sum())
    moved = widgets.simplex(C, U)
    move(moved, scale=3.0, mass=0.9)
    assert figures[-1].axes[0].get_title() == "after both: A 0.72, B 0.28, C 0.00"


def test_interactive_is_the_same_figure_with_its_controls(drawn, figures):
    stepper, moved = drawn
    box = moved.interactive()
    assert len(box.children) == 4  # a slider, the grid of positions, a button, the figure
    before = len(figures)
    moved.sliders["t"].value = 6
    assert len(figures) == before + 1
    assert stepper.t == 6
    press(moved)
    assert len(figures) == before + 2
    assert figures[-1].axes[0].get_title().startswith(f"x_t at t = {stepper.t}, ")
    moved.sliders["position"].label = "5"  # as a click on that button does
    assert len(figures) == before + 3
    assert stepper.position == 5
    assert figures[-1].axes[0].patches[-1].get_xy() == (2, 1)  # the frame: column 2, row 1
