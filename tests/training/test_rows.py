"""Training by exact likelihood: what is minimised, what comes back, what comes again."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from vqlearn.autoregressive import model as raster
from vqlearn.autoregressive.image_transformer import ImageTransformer, ImageTransformerConfig
from vqlearn.autoregressive.imagebart import ImageBART
from vqlearn.autoregressive.imagebart_scale import ImageBARTConfig
from vqlearn.autoregressive.pixelcnn import GatedPixelCNN, PixelCNNConfig
from vqlearn.autoregressive.pixelcnnpp import PixelCNNPlusPlus, PixelCNNPlusPlusConfig
from vqlearn.training import learner, simple
from vqlearn.training.recipes import Recipe
from vqlearn.training.rows import autoregressive_nats, imagebart_nats, train_rows

SHORT = Recipe(steps=3, batch_size=8, learning_rate=1e-3, ema_decay=0.9, warmup_steps=1)
LONGER = replace(SHORT, steps=150, batch_size=32, learning_rate=1e-2)
IMAGE_TRANSFORMER = ImageTransformerConfig(2, 1, 2, 8, 1, 2, 2, 4)


def network_of(kind, config):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config)


def small():
    return network_of(ImageTransformer, IMAGE_TRANSFORMER)


def twin_rows(count, *, generator):
    """Four equal tokens: log 2 nats a row, 0.17 nats a token."""
    return torch.randint(2, (count, 1), generator=generator).expand(-1, 4)


def same(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


NETWORKS = {
    "image transformer": (ImageTransformer, IMAGE_TRANSFORMER, autoregressive_nats),
    "gated": (GatedPixelCNN, PixelCNNConfig(2, 1, 2, 8, 2, 3), autoregressive_nats),
    "mixture": (PixelCNNPlusPlus, PixelCNNPlusPlusConfig(2, 1, 2, 8, 1, 2), autoregressive_nats),
    "imagebart": (ImageBART, ImageBARTConfig(2, 4, 2, 16, 1, 2), imagebart_nats),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_twins_are_learnt(name):
    """Independent tokens would need 4 log 2 nats a row, the truth needs log 2."""
    kind, config, nats = NETWORKS[name]
    trained = train_rows(network_of(kind, config), nats, twin_rows, LONGER).network
    x = torch.tensor([[0] * 4, [1] * 4]).repeat(200, 1)
    with torch.no_grad():
        found = nats(trained, x, torch.Generator().manual_seed(0)).mean().item()
    assert math.log(2) - 0.1 < found < 1.0
    assert not any(weight.requires_grad for weight in trained.parameters())


def test_whole_pixels_cost_what_their_colours_cost():
    network = network_of(PixelCNNPlusPlus, PixelCNNPlusPlusConfig(3, 3, 5, 6, 1, 2)).double()
    x = torch.randint(5, (4, 27), generator=torch.Generator().manual_seed(0))
    found = autoregressive_nats(network, x, torch.Generator())
    colour_by_colour = raster.log_likelihood(network.log_probs(x), x)
    torch.testing.assert_close(found, -colour_by_colour, rtol=0, atol=1e-9)


def test_the_loss_is_a_mean_over_tokens(monkeypatch):
    """A row of 4 tokens that costs 4 nats costs 1 nat a token."""
    seen = []
    monkeypatch.setattr(
        "vqlearn.training.rows.minimise", lambda _, loss, *rest: seen.append(loss())
    )
    train_rows(small(), lambda network, x, generator: torch.full((len(x),), 4.0), twin_rows, SHORT)
    assert seen[0] == 1


def test_training_again_gives_the_same_weights_bit_for_bit():
    state = torch.get_rng_state()
    first, second, other = (
        train_rows(small(), autoregressive_nats, twin_rows, recipe).network
        for recipe in (SHORT, SHORT, replace(SHORT, seed=1))
    )
    assert same(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert not same(first, other)


def test_local_attention_learns_by_muon_and_embeddings_do_not(monkeypatch):
    seen = []

    def spy(network, muon, recipe):
        seen.extend(muon)
        return build_optimizers(network, muon, recipe)

    build_optimizers = learner.build_optimizers
    monkeypatch.setattr(learner, "build_optimizers", spy)
    network = small()
    train_rows(network, autoregressive_nats, twin_rows, replace(SHORT, steps=1))
    names = {id(weight): name for name, weight in network.named_parameters()}
    assert sorted(names[id(matrix)] for matrix in seen) == [
        *(f"blocks.0.attention.{name}.weight" for name in ("key", "output", "query", "value")),
        *(f"blocks.0.feed_forward.{name}.weight" for name in ("contract", "expand")),
    ]


def test_a_loss_that_is_no_number_stops_the_training():
    def broken(network, x, generator):
        return torch.full((len(x),), torch.nan)

    with pytest.raises(ValueError, match="the loss is nan in step 1; allowed: finite numbers"):
        train_rows(small(), broken, twin_rows, SHORT)


def test_the_mean_that_costs_held_back_rows_least_is_kept(monkeypatch):
    """Validated after steps 2, 4, 6, 7. The second time is the best: its weights come back."""
    monkeypatch.setattr(simple, "VALIDATE_EVERY", 2)
    costs, seen = iter([3.0, 1.0, 2.0, 1.5]), []

    def nats(network, x, generator):
        if len(x) == 8:
            return autoregressive_nats(network, x, generator)
        assert not torch.is_grad_enabled()
        seen.append((copy.deepcopy(network), x, torch.rand(1, generator=generator).item()))
        return torch.tensor([next(costs)])

    held_back = torch.ones(1, 4, dtype=torch.long)
    recipe = replace(SHORT, steps=7)
    kept = train_rows(small(), nats, twin_rows, recipe, held_back=held_back)
    assert kept.steps == 4
    assert same(kept.network, seen[1][0])
    assert not same(kept.network, seen[2][0])
    assert all(x is held_back for _, x, _ in seen)
    assert len({generator for *_, generator in seen}) == 1
    assert not any(weight.requires_grad for weight in kept.network.parameters())
    assert train_rows(small(), autoregressive_nats, twin_rows, recipe).steps == 7


def test_few_rows_are_not_learnt_by_heart():
    """Noise has nothing to learn: with held-back rows the kept weights are those of the start."""
    few = torch.randint(2, (12, 4), generator=torch.Generator().manual_seed(0))
    others = torch.randint(2, (200, 4), generator=torch.Generator().manual_seed(1))

    def rows(count, *, generator):
        return few[torch.randint(len(few), (count,), generator=generator)]

    def cost(kept):
        return autoregressive_nats(kept.network, others, torch.Generator()).mean().item()

    alone = train_rows(small(), autoregressive_nats, rows, replace(LONGER, steps=300))
    judged = train_rows(
        small(), autoregressive_nats, rows, replace(LONGER, steps=300), held_back=others
    )
    assert judged.steps < 300
    assert cost(judged) < cost(alone) - 0.1
