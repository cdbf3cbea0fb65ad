"""The plain trainer: any token model learns, what comes back, what comes again."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from vqlearn.autoregressive.image_transformer import ImageTransformer, ImageTransformerConfig
from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.imagebart_scale import ImageBARTConfig
from vqlearn.autoregressive.pixelcnn import GatedPixelCNN, PixelCNNConfig
from vqlearn.autoregressive.pixelcnnpp import PixelCNNPlusPlus, PixelCNNPlusPlusConfig
from vqlearn.diffusion import kernels, schedule
from vqlearn.diffusion.exact.examples import twins
from vqlearn.diffusion.exact.world import exact_bound
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import build_schedule
from vqlearn.training import learner
from vqlearn.training.recipes import Recipe
from vqlearn.training.simple import Validation, train
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser

SHORT = Recipe(steps=3, batch_size=8, learning_rate=1e-3, ema_decay=0.9, warmup_steps=1)
LONGER = replace(SHORT, steps=150, batch_size=32, learning_rate=1e-2)
IMAGE_TRANSFORMER = ImageTransformerConfig(2, 1, 2, 8, 1, 2, 2, 4)
DENOISER = SequenceConfig(
    num_codes=2,
    num_classes=3,
    num_positions=4,
    num_timesteps=4,
    width=16,
    num_layers=1,
    num_heads=2,
)
ABSORBING = MaskAndReplace(build_schedule(schedule.absorbing(2, 4)))
UNIFORM = kernels.uniform(2, 4, alpha_bar=kernels.linear)


def fresh(kind, config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config)


def small():
    return fresh(ImageTransformer, IMAGE_TRANSFORMER)


def diffusion(process=ABSORBING, num_positions=4, **options):
    config = replace(DENOISER, num_classes=process.num_classes, num_positions=num_positions)
    return DiffusionModel(process, fresh(SequenceDenoiser, config), **options)


def equal_tokens(count, *, generator):
    """Four equal tokens: log 2 nats a sequence, 0.17 nats a token."""
    return torch.randint(2, (count, 1), generator=generator).expand(-1, 4)


def same(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


MODELS = {
    "image transformer": small,
    "gated": lambda: fresh(GatedPixelCNN, PixelCNNConfig(2, 1, 2, 8, 2, 3)),
    "mixture": lambda: fresh(PixelCNNPlusPlus, PixelCNNPlusPlusConfig(2, 1, 2, 8, 1, 2)),
    "imagebart": lambda: fresh(ImageBART, ImageBARTConfig(2, 4, 2, 16, 1, 2)),
    "absorbing": diffusion,
    "uniform": lambda: diffusion(UNIFORM),
}
EACH = pytest.mark.parametrize("name", MODELS)


@EACH
def test_equal_tokens_are_learnt(name):
    """Independent tokens would need 4 log 2 nats a sequence, the truth needs log 2.

    A diffusion in 4 steps needs more: tokens that are drawn in one step do not see each other.
    """
    trained = train(MODELS[name](), equal_tokens, LONGER).model
    x = torch.tensor([[0] * 4, [1] * 4]).repeat(200, 1)
    found = trained.nll(x, generator=torch.Generator().manual_seed(0)).mean().item()
    assert math.log(2) - 0.1 < found < (1.6 if isinstance(trained, DiffusionModel) else 1.0)
    assert not any(weight.requires_grad for weight in trained.parameters())
    assert not trained.training


@EACH
def test_training_again_gives_the_same_weights_bit_for_bit(name):
    state = torch.get_rng_state()
    first, second, other, elsewhere = (
        train(MODELS[name](), equal_tokens, recipe, **options).model
        for recipe, options in [
            (SHORT, {}),
            (SHORT, {}),
            (replace(SHORT, seed=1), {}),
            (SHORT, {"stream": "rows"}),
        ]
    )
    assert same(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not same(first, other)
    assert not same(first, elsewhere)


WORLD = twins()


def twin_rows(count, *, generator):
    index = torch.multinomial(WORLD.distribution, count, replacement=True, generator=generator)
    return WORLD.states[index]


def twin_bound(process, denoise):
    """The exact bound in nats, a mean over both twins."""

    def finest(x_t, t):
        with torch.no_grad():
            return denoise(x_t, t).double()

    return float(exact_bound(process, finest, torch.tensor([[0, 0], [1, 1]])).mean())


@pytest.mark.parametrize("process", [ABSORBING, UNIFORM], ids=["absorbing", "uniform"])
def test_twins_are_learnt_to_within_two_hundredths_of_a_nat(process):
    """The best possible bound is that of the true denoiser; fresh weights are far above it."""
    recipe = Recipe(steps=250, batch_size=32, learning_rate=1e-2, ema_decay=0.9, warmup_steps=10)
    model = diffusion(process, num_positions=2)
    best = twin_bound(process, WORLD.denoiser(process))
    before = twin_bound(process, model.denoiser()) - best
    trained = train(model, twin_rows, recipe).model
    after = twin_bound(process, trained.denoiser()) - best
    assert before > 0.5
    assert 0 <= after < 0.02


def test_what_comes_back_is_the_running_mean_of_the_weights():
    """At step i of 3 the mean moves by 1 - min(0.9, (1 + i)/(10 + i)) to the new weights."""
    seen = []

    def sequences(count, *, generator):
        seen.append(copy.deepcopy(model))
        return equal_tokens(count, generator=generator)

    model = diffusion()
    trained = train(model, sequences, SHORT).model
    _, one, two, three = (each.network.to_logits.weight for each in (*seen, model))
    mean = one
    for count, weight in ((1, two), (2, three)):
        mean = torch.lerp(mean, weight, 1 - min(0.9, (1 + count) / (10 + count)))
    torch.testing.assert_close(trained.network.to_logits.weight, mean, rtol=1e-6, atol=1e-8)
    assert not same(trained, model)


def spied_muon(monkeypatch):
    """What the optimizers are told to move by Muon, as a list that grows."""
    seen, build = [], learner.build_optimizers
    monkeypatch.setattr(
        learner,
        "build_optimizers",
        lambda network, muon, recipe: seen.extend(muon) or build(network, muon, recipe),
    )
    return seen


def test_local_attention_learns_by_muon_and_embeddings_do_not(monkeypatch):
    seen, model = spied_muon(monkeypatch), small()
    train(model, equal_tokens, replace(SHORT, steps=1))
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert sorted(names[id(matrix)] for matrix in seen) == [
        *(f"blocks.0.attention.{name}.weight" for name in ("key", "output", "query", "value")),
        *(f"blocks.0.feed_forward.{name}.weight" for name in ("contract", "expand")),
    ]


def test_the_maps_inside_attention_and_feed_forward_learn_by_muon(monkeypatch):
    """Adam's first step moves every weight by the same amount, Muon's does not."""
    seen, model = spied_muon(monkeypatch), diffusion()
    before = copy.deepcopy(model)
    train(model, equal_tokens, replace(SHORT, steps=1))
    names = {id(weight): name for name, weight in model.named_parameters()}
    chosen = {names[id(matrix)] for matrix in seen}
    assert chosen == {
        name
        for name in names.values()
        if ".blocks." in name and name.endswith("weight") and "norm" not in name
    }
    for name in (*chosen, "network.to_logits.weight"):
        moved = (model.get_parameter(name) - before.get_parameter(name)).abs()
        assert (moved.std() > 0.1 * moved.mean()) == (name in chosen), name


@EACH
def test_half_precision_is_for_networks_alone(name, monkeypatch):
    """Weights stay float32; what networks compute rounds, the arithmetic of processes does not."""
    seen, model = [], MODELS[name]()
    if isinstance(model, DiffusionModel):
        for method in ("corrupt", "log_reverse", "log_posterior"):
            monkeypatch.setattr(model.process, method, watched(model.process, method, seen))
    trained = train(model, equal_tokens, SHORT, bfloat16=True).model
    assert {weight.dtype for weight in trained.parameters()} == {torch.float32}
    exact = train(MODELS[name](), equal_tokens, SHORT).model
    assert not same(trained, exact)
    for one, two in zip(trained.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0.02)
    assert not any(seen)
    assert bool(seen) == isinstance(model, DiffusionModel)


def watched(process, name, seen):
    method = getattr(process, name)

    def call(*arguments, **options):
        seen.append(torch.is_autocast_enabled("cpu"))
        return method(*arguments, **options)

    return call


def test_the_first_step_is_one_of_the_warm_up():
    """Adam's first step moves every weight by the rate, which is 1/50 of the highest."""
    recipe = Recipe(steps=1, batch_size=8, learning_rate=1e-2, ema_decay=0.9, warmup_steps=50)
    trained = train(diffusion(), equal_tokens, recipe).model
    before = diffusion().network.to_logits.weight
    moved = (trained.network.to_logits.weight - before).abs().max()
    assert moved.item() == pytest.approx(1e-2 / 50, rel=1e-3)


def test_gradients_are_clipped_to_a_norm_of_one(monkeypatch):
    norms = []

    class Spy(torch.optim.Adam):
        def step(self, *arguments):
            squares = [p.grad.square().sum() for p in model.parameters()]
            norms.append(float(torch.stack(squares).sum().sqrt()))
            return super().step(*arguments)

    monkeypatch.setattr(torch.optim, "Adam", Spy)
    model = diffusion()
    with torch.no_grad():
        model.network.to_logits.weight.mul_(1000)
    train(model, equal_tokens, SHORT)
    assert norms == pytest.approx([1.0] * 3, rel=1e-3)


def test_a_loss_that_is_no_number_stops_the_training():
    model = diffusion()
    with torch.no_grad():
        model.network.to_logits.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="the loss is nan in step 1; allowed: finite numbers"):
        train(model, equal_tokens, SHORT)


def test_the_mean_with_the_lowest_nll_is_kept():
    """Asked after steps 2, 4, 6, 7. The second time is the best: its weights come back."""
    found, seen = iter([3.0, 1.0, 2.0, 1.5]), []

    class Asked(ImageTransformer):
        def nll(self, x, condition=None, *, generator=None):
            seen.append((copy.deepcopy(self), x, torch.rand(1, generator=generator).item()))
            return torch.tensor([next(found)])

    validation = torch.ones(1, 4, dtype=torch.long)
    recipe = replace(SHORT, steps=7)
    model = fresh(Asked, IMAGE_TRANSFORMER)
    kept = train(model, equal_tokens, recipe, validation=Validation(validation, every=2))
    assert kept.steps == 4
    assert same(kept.model, seen[1][0])
    assert not same(kept.model, seen[2][0])
    assert all(x is validation for _, x, _ in seen)
    assert len({drawn for *_, drawn in seen}) == 1
    assert not any(weight.requires_grad for weight in kept.model.parameters())
    assert train(small(), equal_tokens, recipe).steps == 7


def test_few_sequences_are_not_overfitted():
    """Noise has nothing to learn: with validation the kept weights are those of the start."""
    few = torch.randint(2, (12, 4), generator=torch.Generator().manual_seed(0))
    others = torch.randint(2, (200, 4), generator=torch.Generator().manual_seed(1))

    def sequences(count, *, generator):
        return few[torch.randint(len(few), (count,), generator=generator)]

    recipe = replace(LONGER, steps=300)
    alone = train(small(), sequences, recipe)
    validated = train(small(), sequences, recipe, validation=Validation(others))
    assert validated.steps < 300
    assert validated.model.nll(others).mean() < alone.model.nll(others).mean() - 0.1
