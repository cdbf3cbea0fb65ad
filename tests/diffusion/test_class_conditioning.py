"""Class labels as the condition of a diffusion model: dropped, guided, learned from, refused."""

import pytest
import torch
from support.denoisers import spread_weights

from vqlearn.diffusion import DiffusionModel, MaskAndReplace, build_schedule
from vqlearn.diffusion.quick import quick_denoiser
from vqlearn.diffusion.schedule import released
from vqlearn.probability import ClassConditioning, Conditioning, Sampling, guide, log_normalise
from vqlearn.transformer import (
    ClassDenoiser,
    ClassDenoiserConfig,
    Denoiser,
    DenoiserConfig,
    UnconditionalDenoiser,
    UnconditionalDenoiserConfig,
)

CLASSES, LEVELS = 3, 10
CONFIG = ClassDenoiserConfig(2, 8, 2, 8, 2, LEVELS, 4, CLASSES)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def model():
    model = DiffusionModel(
        MaskAndReplace(build_schedule(released(7, LEVELS))), ClassDenoiser(CONFIG)
    )
    spread_weights(model, 0)
    return model


def told(*labels):
    return ClassConditioning(torch.tensor(labels), null=CLASSES)


@pytest.mark.parametrize("t", [4, torch.tensor([4, 9])])
@pytest.mark.parametrize("kind", ["plain", "quick"])
def test_guidance_leads_away_from_the_null_class(model, t, kind):
    x_t = torch.randint(8, (2, 4), generator=seeded(0))
    denoiser = model.denoiser if kind == "plain" else lambda *args: quick_denoiser(model, *args)
    labels = torch.tensor([0, 2])
    conditional, unconditional = (
        log_normalise(model.network(x_t, t, one)) for one in (labels, torch.full((2,), CLASSES))
    )
    found = denoiser(told(0, 2), Sampling(3.0))(x_t, t)
    torch.testing.assert_close(found, guide(conditional, unconditional, 3.0))
    assert (found - conditional).abs().max() > 0.1
    torch.testing.assert_close(denoiser(told(0, 2))(x_t, t), conditional)


def test_labels_are_dropped_at_the_rate():
    """Each on its own, 5 sigma; the others stay, and so does the null class."""
    before = told(*[0, 1, 2] * 4000)
    after = before.dropped(0.1, generator=seeded(0))
    assert after.null == CLASSES
    share = (after.labels == CLASSES).double().mean()
    assert abs(share - 0.1) < 5 * (0.09 / 12000) ** 0.5
    kept = after.labels != CLASSES
    assert torch.equal(after.labels[kept], before.labels[kept])
    assert torch.equal(before.dropped(0.0).labels, before.labels)
    assert (before.dropped(1.0).labels == CLASSES).all()
    with pytest.raises(ValueError, match=r"rate is 1\.5; allowed: 0 to 1"):
        before.dropped(1.5)
    with pytest.raises(ValueError, match="null is None; allowed"):
        ClassConditioning(before.labels).dropped(0.1)


def test_a_model_learns_what_each_class_is():
    """Class y: all tokens are y. The loss falls, samples show their class, half of them guided."""
    torch.manual_seed(0)
    process = MaskAndReplace(build_schedule(released(7, LEVELS)))
    model = DiffusionModel(process, ClassDenoiser(CONFIG))
    optimizer, generator = torch.optim.Adam(model.parameters(), lr=3e-3), seeded(0)
    labels = torch.arange(CLASSES).repeat(20)
    x = labels[:, None].expand(-1, 4)
    losses = []
    for _ in range(120):
        condition = told(*labels).dropped(0.1, generator=generator)
        loss = model.loss(x, condition, generator=generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    model.eval()
    for sampling in (Sampling(), Sampling(2.0)):
        drawn = model.sample(60, told(*labels), sampling=sampling, generator=seeded(1))
        assert (drawn == x).double().mean() > 0.8
    right, wrong = (model.nll(x, told(*y), generator=seeded(2)) for y in (labels, labels.flip(0)))
    assert right.mean() < wrong.mean()


def test_one_step_against_the_gradient_lowers_the_loss(model):
    x, condition = torch.randint(7, (8, 4), generator=seeded(0)), told(*[0, 1, 2, 3] * 2)
    loss = model.loss(x, condition, generator=seeded(1)).mean()
    parameters = tuple(model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    size = sum(g.square().sum() for g in gradients)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= 1e-3 * loss / size * gradient
    model.levels.load_state_dict(type(model.levels)(LEVELS).state_dict())  # the same levels again
    assert model.loss(x, condition, generator=seeded(1)).mean() < loss


def test_conditions_that_do_not_fit_are_refused(model):
    x = torch.zeros(2, 4, dtype=torch.long)
    text = Conditioning(torch.zeros(2, 3, 6))
    of_text = DiffusionModel(model.process, Denoiser(DenoiserConfig(2, 4, 1, 6, True, 8, 2, 10)))
    sizes = UnconditionalDenoiserConfig(2, 8, 2, 8, 2, LEVELS, 4)
    without = DiffusionModel(model.process, UnconditionalDenoiser(sizes))
    by_class = "a ClassConditioning, since the network reads classes"
    for each, condition, message in (
        (model, text, f"condition is a Conditioning; allowed: {by_class}"),
        (model, None, f"condition is None; allowed: {by_class}"),
        (of_text, told(0, 1), "condition is a ClassConditioning; allowed: a Conditioning, since"),
        (model, told(0, 4), "labels holds 0 to 4; allowed: 0 to 3"),
        (without, told(0, 1), "condition is a ClassConditioning; allowed: None, the network reads"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            each.nll(x, condition)
    without_null = ClassConditioning(torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="null is None; allowed with guidance: the number of"):
        model.sample(2, without_null, sampling=Sampling(2.0))
