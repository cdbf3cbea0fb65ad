"""Two variants of the denoiser: each changes one thing, and nothing else."""

import copy

import pytest
import torch
from support.denoisers import SMALL, random_inputs, spread_weights

from vqlearn.autoregressive.model import dependence
from vqlearn.diffusion.exact.world import all_states
from vqlearn.diffusion.objective import training_loss
from vqlearn.diffusion.parameterisations import DirectPrediction
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import build_schedule, paper
from vqlearn.probability.log_probs import log_normalise
from vqlearn.transformer.denoiser import Denoiser
from vqlearn.transformer.variants import CausalAttention, CausalDenoiser, DirectDenoiser

N, K = SMALL.num_positions, SMALL.num_codes
BOTH = pytest.mark.parametrize("variant", [CausalDenoiser, DirectDenoiser])


@pytest.fixture(autouse=True)
def fresh_weights():
    torch.manual_seed(0)


def spread(variant, dtype=torch.float64):
    network = variant(SMALL).to(dtype)
    spread_weights(network, 0)
    return network


def scores(network, embedded, text, level=4):
    """From the embedded tokens on, so that gradients with respect to them can be taken."""
    x, t = embedded[None], torch.tensor([level])
    for block in network.blocks:
        x = block(x, t - 1, text)
    return network.to_logits(network.output_norm(x))[0]


@pytest.mark.parametrize("variant", [Denoiser, CausalDenoiser])
def test_the_causal_denoiser_never_looks_ahead(variant):
    """By gradients: position i depends on the positions 0..i, all of them; a denoiser on all
    positions."""
    network = spread(variant)
    x_t, _, text = random_inputs(SMALL, batch=1, length=5)
    embedded = network.token_embedding(x_t)[0].detach()
    found = dependence(lambda x: scores(network, x, text), embedded)
    everything = torch.ones(N, N, dtype=torch.bool)
    assert torch.equal(found, everything.tril() if variant is CausalDenoiser else everything)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_token_changes_later_scores_only(dtype):
    """Also in bfloat16 with gradients, which has a path of its own."""
    network = spread(CausalDenoiser, dtype)
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    text = text.to(dtype)
    before = network(x_t, t, text)
    assert before.requires_grad
    for position in range(N):
        other = x_t.clone()
        other[:, position] = (x_t[:, position] + 1) % (K + 1)
        same = (network(other, t, text) == before).all(dim=-1)
        assert same[:, :position].all()
        assert not same[:, position].any()
        if position < N - 1:
            assert not same[:, position + 1 :].all()


@BOTH
def test_every_position_reads_the_whole_sentence(variant):
    network = spread(variant)
    x_t, t, text = random_inputs(SMALL, batch=1, length=5)
    text.requires_grad_()
    found = network(x_t, t, text)
    for position in range(N):
        (grad,) = torch.autograd.grad(found[0, position].norm(), text, retain_graph=True)
        assert (grad[0] != 0).any(dim=-1).all(), position


def test_the_first_position_attends_to_itself_alone():
    """With one visible position attention is the value of that position, whatever the keys are."""
    attention = CausalAttention(2, 4, 8, bias=True).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    expected = attention.output(attention.value(x[:, :1]))
    torch.testing.assert_close(attention(x, x)[:, :1], expected)


def test_the_last_position_sees_what_it_sees_in_a_denoiser():
    """One block: the last position of a row sees all of it, so its scores are those of
    `Denoiser`."""
    network, causal = spread(Denoiser), spread(CausalDenoiser)
    causal.load_state_dict(network.state_dict())
    for each in (network, causal):
        each.blocks = each.blocks[:1]
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    expected, found = network(x_t, t, text), causal(x_t, t, text)
    torch.testing.assert_close(found[:, -1], expected[:, -1])
    assert ((found - expected).abs().amax(dim=(0, 2))[:-1] > 1e-6).all()


def test_the_causal_denoiser_has_the_weights_of_a_denoiser():
    weights = {name: x.shape for name, x in Denoiser(SMALL).state_dict().items()}
    assert {name: x.shape for name, x in CausalDenoiser(SMALL).state_dict().items()} == weights
    direct = {name: x.shape for name, x in DirectDenoiser(SMALL).state_dict().items()}
    assert direct | {"to_logits.weight": (K, 16), "to_logits.bias": (K,)} == weights


@BOTH
def test_fresh_weights_are_drawn_as_those_of_a_denoiser(variant):
    """Normal with 0.02 (5 sigma of the spread's own error), biases 0, norms the identity."""
    network, like = variant(SMALL), Denoiser(SMALL)
    for (name, found), (_, known) in zip(
        network.named_parameters(), like.named_parameters(), strict=True
    ):
        if known.std() > 0:
            error = 0.02 / (2 * found.numel()) ** 0.5
            assert abs(found.std().item() - 0.02) < 5 * error, name
        else:
            assert torch.equal(found.unique(), known.unique()), name


def test_the_direct_denoiser_scores_mask_too():
    network = spread(DirectDenoiser)
    x_t, t, text = random_inputs(SMALL, batch=2, length=5)
    found = network(x_t, t, text)
    assert found.shape == (2, N, K + 1)
    classic = copy.deepcopy(network)
    classic.to_logits = torch.nn.Linear(16, K).double()
    classic.load_state_dict(
        network.state_dict()
        | {
            "to_logits.weight": network.to_logits.weight[:K],
            "to_logits.bias": network.to_logits.bias[:K],
        }
    )
    torch.testing.assert_close(found[..., :K], Denoiser.forward(classic, x_t, t, text))
    with pytest.raises(ValueError, match="holds 8 to 15"):
        network(x_t + K + 1, t, text)


def test_the_direct_denoiser_learns_the_distribution_of_the_step_below():
    """`training_loss` is T times KL(q(x_{t-1} | x_t, x_0) || network), worked out here."""
    process = MaskAndReplace(build_schedule(paper(K, 10)))
    direct = DirectPrediction(process)
    network = spread(DirectDenoiser)
    _, t, text = random_inputs(SMALL, batch=6, length=5)
    x_0 = torch.randint(K, (6, N), generator=torch.Generator().manual_seed(1))
    x_t = direct.corrupt(x_0, t, generator=torch.Generator().manual_seed(2))
    log_p = log_normalise(network(x_t, t, text))
    loss = training_loss(direct, log_p, (x_0, x_t), t, auxiliary_weight=0.0)
    q = process.log_posterior(x_0, x_t, t - 1, t, dtype=torch.float64).exp()
    reachable = torch.ones_like(q, dtype=torch.bool)
    reachable[..., K] = (x_t == K) & (t > 1)[:, None]  # only MASK comes from MASK, none at level 0
    p = log_p.exp() * reachable
    p = p / p.sum(dim=-1, keepdim=True)
    nats = torch.special.xlogy(q, q).sum(dim=-1) - torch.special.xlogy(q, p).sum(dim=-1)
    torch.testing.assert_close(loss.bound, 10 * nats.mean(dim=1))
    torch.testing.assert_close(loss.total, loss.bound)
    loss.total.mean().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())
    assert (network.to_logits.weight.grad[K] != 0).any()


def test_every_state_has_a_distribution_over_all_classes():
    """K = 2, one step from every x_t at every level: sums to 1, and no MASK at level 0."""
    process = DirectPrediction(MaskAndReplace(build_schedule(paper(2, 4))))
    states = all_states(3, 2)
    log_p = log_normalise(torch.randn(len(states), 2, 3, dtype=torch.float64))
    for t in range(1, 5):
        distribution = process.log_reverse(log_p, states, t - 1, t).exp()
        torch.testing.assert_close(distribution.sum(dim=-1), torch.ones(len(states), 2).double())
        assert t > 1 or (distribution[..., 2] == 0).all()
