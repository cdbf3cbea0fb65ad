"""The denoiser of rows without text, the head for ordered codes, and the loop that trains them."""

import copy
from dataclasses import asdict, replace

import pytest
import torch
from einops import rearrange

from vqlearn.diffusion import kernels, schedule
from vqlearn.diffusion.exact.examples import twins
from vqlearn.diffusion.exact.world import exact_bound
from vqlearn.diffusion.objective import bound_term
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import build_schedule
from vqlearn.training import learner, sequences
from vqlearn.training.recipes import Recipe
from vqlearn.training.sequences import InBfloat16, OrdinalDenoiser, denoise_with, train_sequences
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig
from vqlearn.transformer.sequence import SequenceConfig, SequenceDenoiser

SMALL = SequenceConfig(
    num_codes=5,
    num_classes=6,
    num_positions=9,
    num_timesteps=10,
    width=16,
    num_layers=2,
    num_heads=2,
)
ORDINAL = replace(SMALL, num_codes=6)


def spread_weights(module, seed):
    """Large random weights everywhere, biases and norms included, so that no term is hidden."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(0.5 * noise + 0.1)
    return module


@pytest.fixture
def denoiser():
    return spread_weights(SequenceDenoiser(SMALL).double(), 0)


def random_inputs(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randint(6, (batch, 9), generator=generator)
    return x_t, torch.randint(1, 11, (batch,), generator=generator)


def test_same_logits_as_the_denoiser_that_hears_no_sentence(denoiser):
    """Within 1e-10: its cross-attention is put to 0, its rows and columns are our positions."""
    config = DenoiserConfig(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        cross_attention_dim=3,
        attention_bias=True,
        num_vector_embeds=6,
        sample_size=3,
        num_embeds_ada_norm=10,
    )
    with_text = spread_weights(Denoiser(config).double(), 1)
    embedding = with_text.token_embedding
    with torch.no_grad():
        for block in with_text.blocks:
            for parameter in block.cross_attention.output.parameters():
                parameter.zero_()
        positions = embedding.row.weight[:, None] + embedding.column.weight[None]
        weights = with_text.state_dict() | {
            "token_embedding.weight": embedding.token.weight,
            "position_embedding.weight": rearrange(positions, "r c d -> (r c) d"),
        }
    shared = {name: weights[name] for name in denoiser.state_dict()}
    denoiser.load_state_dict(shared)
    x_t, t = random_inputs(4)
    expected = with_text(x_t, t, torch.randn(4, 2, 3, dtype=torch.float64))
    assert expected.shape == (4, 9, 5)
    torch.testing.assert_close(denoiser(x_t, t), expected, rtol=1e-10, atol=1e-10)


def test_mixed_levels_equal_one_by_one(denoiser):
    x_t, _ = random_inputs(4)
    t = torch.tensor([1, 10, 4, 7])
    together = denoiser(x_t, t)
    for i in range(4):
        alone = denoiser(x_t[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-10, atol=1e-10)


def test_one_level_stands_for_all(denoiser):
    x_t, _ = random_inputs(3)
    assert torch.equal(denoiser(x_t, 7), denoiser(x_t, torch.full((3,), 7)))


def test_each_level_has_its_own_answer(denoiser):
    x_t, _ = random_inputs(1)
    answers = [denoiser(x_t, torch.tensor([t])) for t in range(1, 11)]
    for t in range(9):
        assert (answers[t] - answers[t + 1]).abs().max() > 1e-3


def test_positions_are_told_apart(denoiser):
    """In another order the same tokens get other answers; without positions, the same ones."""
    x_t, t = random_inputs(2)
    order = torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])
    answer = denoiser(x_t, t)[:, order]
    assert (denoiser(x_t[:, order], t) - answer).abs().max() > 1e-3
    with torch.no_grad():
        denoiser.position_embedding.weight.copy_(denoiser.position_embedding.weight[:1].clone())
    answer = denoiser(x_t, t)[:, order]
    torch.testing.assert_close(denoiser(x_t[:, order], t), answer, rtol=1e-10, atol=1e-10)


def test_every_token_sees_every_other_left_and_right(denoiser):
    x_t, t = random_inputs(1)
    before = denoiser(x_t, t)
    for position in range(9):
        changed = x_t.clone()
        changed[0, position] = (x_t[0, position] + 1) % 6
        moved = (denoiser(changed, t) - before).abs().amax(dim=-1)[0]
        assert (moved > 1e-6).all(), position


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    model = SequenceDenoiser(SMALL)
    x_t, _ = random_inputs(10)
    model(x_t, torch.arange(1, 11)).log_softmax(-1)[..., 0].mean().backward()
    for name, parameter in model.named_parameters():
        if name.endswith("key.bias"):  # adds the same score to every key: softmax ignores it
            assert parameter.grad.abs().max() < 1e-6
        else:
            assert parameter.grad.abs().max() > 0, name
        if "embedding" in name:
            assert (parameter.grad.abs().amax(dim=1) > 0).all(), name


def test_fresh_weights_are_those_of_the_denoiser():
    torch.manual_seed(0)
    model = SequenceDenoiser(replace(SMALL, width=128))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all(), name
        elif name.endswith("norm.weight"):
            assert (parameter == 1).all(), name
        else:
            assert 0.015 < parameter.std() < 0.025, name


@pytest.mark.parametrize("level", [0, 11, -1])
def test_levels_outside_1_to_T_raise(denoiser, level):
    x_t, t = random_inputs(2)
    t[1] = level
    with pytest.raises(ValueError, match=r"^t holds .* allowed: 1 to 10"):
        denoiser(x_t, t)


@pytest.mark.parametrize("token", [-1, 6])
def test_tokens_outside_the_classes_raise(denoiser, token):
    x_t, t = random_inputs(2)
    x_t[1, 4] = token
    with pytest.raises(ValueError, match=r"holds .* allowed: 0 to 5"):
        denoiser(x_t, t)


def test_wrong_shapes_raise(denoiser):
    x_t, t = random_inputs(2)
    with pytest.raises(ValueError, match="x_t has 8 positions; allowed: 9"):
        denoiser(x_t[:, :8], t)
    plain = SequenceDenoiser.forward.__wrapped__  # as a user has it: without run-time types
    with pytest.raises(ValueError, match="the batch sizes of x_t, t are 2, 1; allowed: equal"):
        plain(denoiser, x_t, t[:1])


def test_values_are_not_read_on_other_devices():
    """The meta device has shapes and no values: reading one would raise, as a wait would cost."""
    x_t, t = (x.to("meta") for x in random_inputs(2))
    assert SequenceDenoiser(SMALL).to("meta")(x_t, t).shape == (2, 9, 5)


def test_batch_of_none_is_allowed(denoiser):
    x_t, t = random_inputs(2)
    assert denoiser(x_t[:0], t[:0]).shape == (0, 9, 5)


@pytest.mark.parametrize("name", list(asdict(SMALL)))
def test_config_is_validated(name):
    smallest = 2 if name in ("num_codes", "num_classes") else 1
    for value in (smallest - 1, -3, True):
        with pytest.raises(ValueError, match=f"{name} is {value}; allowed: whole numbers of "):
            replace(SMALL, **{name: value})
    assert replace(SMALL, num_codes=2, num_classes=2, num_positions=1, num_layers=1).num_timesteps


def test_heads_share_the_width_evenly():
    with pytest.raises(ValueError, match="width is 16; allowed: multiples of num_heads, 3"):
        replace(SMALL, num_heads=3)


def test_the_ordinal_head_centres_its_p_x0_on_what_it_sees():
    """With weights of 0: a logistic distribution of scale 1 around tanh(x_t), cut into 6 bins."""
    model = OrdinalDenoiser(ORDINAL).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    x_t = torch.tensor([[0, 1, 2, 3, 4, 5, 5, 0, 2]])
    edges = torch.linspace(-1.2, 1.2, 7, dtype=torch.float64)
    mean = torch.linspace(-1, 1, 6, dtype=torch.float64)[x_t].tanh()
    mass = (edges - mean[..., None]).sigmoid().diff(dim=-1)
    expected = (mass / mass.sum(dim=-1, keepdim=True)).log()
    torch.testing.assert_close(model(x_t, torch.tensor([3])), expected, rtol=1e-10, atol=1e-10)


def test_the_ordinal_head_reads_a_shift_and_a_width():
    """The bias of the last map alone: a shift of 20 is the top code, a log-scale of -9 is sharp."""
    model = OrdinalDenoiser(ORDINAL).double()
    x_t, t = random_inputs(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.network.to_logits.bias.copy_(torch.tensor([20.0, -9.0]))
    log_p = model(x_t, t)
    assert (log_p[..., 5] > -1e-6).all()
    torch.testing.assert_close(log_p.exp().sum(dim=-1), torch.ones(2, 9, dtype=torch.float64))


def test_the_ordinal_head_has_no_position_for_mask():
    with pytest.raises(ValueError, match="num_classes is 6; allowed: num_codes, 5"):
        OrdinalDenoiser(SMALL)


WORLD = twins()
TINY = SequenceConfig(
    num_codes=2,
    num_classes=3,
    num_positions=2,
    num_timesteps=4,
    width=16,
    num_layers=1,
    num_heads=2,
)
ABSORBING = MaskAndReplace(build_schedule(schedule.absorbing(2, 4)))
UNIFORM = kernels.uniform(2, 4, alpha_bar=kernels.linear)
SHORT = Recipe(steps=3, batch_size=8, learning_rate=1e-2, ema_decay=0.9, warmup_steps=2)


def twin_rows(count, *, generator):
    index = torch.multinomial(WORLD.distribution, count, replacement=True, generator=generator)
    return WORLD.states[index]


def fresh(config=TINY):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SequenceDenoiser(config)


def twin_bound(process, denoise):
    """The exact bound in nats, a mean over both twins."""

    def finest(x_t, t):
        return denoise(x_t, t).double()

    return float(exact_bound(process, finest, torch.tensor([[0, 0], [1, 1]])).mean())


@pytest.mark.parametrize("process", [ABSORBING, UNIFORM], ids=["absorbing", "uniform"])
def test_twins_are_learnt_to_within_two_hundredths_of_a_nat(process):
    """The best possible bound is that of the true denoiser; fresh weights are far above it."""
    config = replace(TINY, num_classes=process.num_classes)
    recipe = Recipe(steps=250, batch_size=32, learning_rate=1e-2, ema_decay=0.9, warmup_steps=10)
    network = fresh(config)
    best = twin_bound(process, WORLD.denoiser(process))
    before = twin_bound(process, denoise_with(network)) - best
    trained = train_sequences(network, process, twin_rows, recipe)
    after = twin_bound(process, denoise_with(trained)) - best
    assert before > 0.5
    assert 0 <= after < 0.02


def same(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def test_training_again_gives_the_same_weights_bit_for_bit():
    state = torch.get_rng_state()
    first, second = (train_sequences(fresh(), ABSORBING, twin_rows, SHORT) for _ in range(2))
    assert same(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    other = train_sequences(fresh(), ABSORBING, twin_rows, replace(SHORT, seed=1))
    assert not same(first, other)


def test_what_comes_back_is_the_running_mean_of_the_weights():
    """At step i of 3 the mean moves by 1 - min(0.9, (1 + i)/(10 + i)) to the new weights."""
    seen = []

    def rows(count, *, generator):
        seen.append(copy.deepcopy(network))
        return twin_rows(count, generator=generator)

    network = fresh()
    trained = train_sequences(network, ABSORBING, rows, SHORT)
    _, one, two = (model.to_logits.weight for model in seen)
    mean = one
    for count, weight in ((1, two), (2, network.to_logits.weight)):
        mean = torch.lerp(mean, weight, 1 - min(0.9, (1 + count) / (10 + count)))
    torch.testing.assert_close(trained.to_logits.weight, mean, rtol=1e-6, atol=1e-8)
    assert not same(trained, network)
    assert not any(parameter.requires_grad for parameter in trained.parameters())


def test_the_maps_inside_attention_and_feed_forward_learn_by_muon(monkeypatch):
    """Adam's first step moves every weight by the same amount, Muon's does not."""
    seen = []

    def spy(network, muon, recipe):
        seen.extend(muon)
        return build_optimizers(network, muon, recipe)

    build_optimizers = learner.build_optimizers
    monkeypatch.setattr(learner, "build_optimizers", spy)
    network = fresh()
    before = copy.deepcopy(network)
    recipe = replace(SHORT, steps=1)
    train_sequences(network, ABSORBING, twin_rows, recipe)
    names = {id(weight): name for name, weight in network.named_parameters()}
    chosen = {names[id(matrix)] for matrix in seen}
    assert chosen == {
        name
        for name in names.values()
        if name.startswith("blocks") and name.endswith("weight") and "norm" not in name
    }
    for name in (*chosen, "to_logits.weight"):
        moved = (network.get_parameter(name) - before.get_parameter(name)).abs()
        assert (moved.std() > 0.1 * moved.mean()) == (name in chosen), name


def test_half_precision_is_for_the_network_alone():
    """Each product rounds at 2⁻⁹; the weights stay float32, and so does what comes out."""
    network = spread_weights(fresh(), 0)
    half = InBfloat16(network)
    x_t, t = torch.tensor([[2, 0], [1, 2]]), torch.tensor([1, 3])
    exact, rounded = network(x_t, t), half(x_t, t)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
    trained = train_sequences(half, ABSORBING, twin_rows, SHORT)
    assert {weight.dtype for weight in trained.parameters()} == {torch.float32}
    assert not same(trained.network, fresh())


def test_the_first_step_is_one_of_the_warm_up():
    """Adam's first step moves every weight by the rate, which is 1/50 of the highest."""
    recipe = Recipe(steps=1, batch_size=8, learning_rate=1e-2, ema_decay=0.9, warmup_steps=50)
    trained = train_sequences(fresh(), ABSORBING, twin_rows, recipe)
    moved = (trained.to_logits.weight - fresh().to_logits.weight).abs().max()
    assert moved.item() == pytest.approx(1e-2 / 50, rel=1e-3)


class FixedLevels(sequences.ImportanceSampler):
    """All at level 4, where every token is masked; with a weight of the test's choice."""

    factor = 0.0

    def draw(self, count, *, generator):
        drawn = super().draw(count, generator=generator)
        return drawn._replace(t=torch.full((count,), 4), weight=0 * drawn.weight + self.factor)

    def update(self, t, loss):
        type(self).told = (t, loss)


def test_losses_are_weighted_and_remembered_without_their_weight(monkeypatch):
    """With weights of 0 nothing is learnt, but the history gets the bound of level 4 as it is."""
    monkeypatch.setattr(sequences, "ImportanceSampler", FixedLevels)
    trained = train_sequences(fresh(), ABSORBING, twin_rows, SHORT)
    assert same(trained, fresh())
    t, loss = FixedLevels.told
    assert t.tolist() == [4] * 8
    x_0, masks, levels = torch.tensor([[0, 0], [1, 1]]), torch.full((2, 2), 2), t[:2]
    terms = bound_term(ABSORBING, denoise_with(fresh())(masks, 4), x_0, masks, levels)
    zero, one = (4 * terms.mean(dim=1)).tolist()
    found = set(loss.tolist())
    assert all(min(abs(x - zero), abs(x - one)) < 1e-6 for x in found)
    assert len(found) == 2


def test_the_auxiliary_loss_counts_as_much_as_it_is_told(monkeypatch):
    seen = []

    def spy(*arguments, auxiliary_weight):
        seen.append(auxiliary_weight)
        return training_loss(*arguments, auxiliary_weight=auxiliary_weight)

    training_loss = sequences.training_loss
    monkeypatch.setattr(sequences, "training_loss", spy)
    train_sequences(fresh(), ABSORBING, twin_rows, SHORT)
    train_sequences(fresh(), ABSORBING, twin_rows, SHORT, auxiliary_weight=0.0)
    assert seen == [5e-4] * 3 + [0.0] * 3


def test_gradients_are_clipped_to_a_norm_of_one(monkeypatch):
    norms = []

    class Spy(torch.optim.Adam):
        def step(self, *arguments):
            squares = [p.grad.square().sum() for p in network.parameters()]
            norms.append(float(torch.stack(squares).sum().sqrt()))
            return super().step(*arguments)

    monkeypatch.setattr(torch.optim, "Adam", Spy)
    network = fresh()
    with torch.no_grad():
        network.to_logits.weight.mul_(1000)
    train_sequences(network, ABSORBING, twin_rows, SHORT)
    assert norms == pytest.approx([1.0] * 3, rel=1e-3)


def test_a_loss_that_is_not_finite_is_named_with_its_step():
    network = fresh()
    with torch.no_grad():
        network.to_logits.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="the loss is nan in step 1"):
        train_sequences(network, ABSORBING, twin_rows, SHORT)


def test_denoise_with_tells_every_row_its_level():
    network = spread_weights(fresh(), 0)
    x_t = torch.tensor([[2, 0], [1, 2], [2, 2]])
    for t in (1, 3):
        expected = network(x_t, torch.tensor([t, t, t])).log_softmax(dim=-1)
        found = denoise_with(network)(x_t, t)
        torch.testing.assert_close(found, expected)
        assert not found.requires_grad
