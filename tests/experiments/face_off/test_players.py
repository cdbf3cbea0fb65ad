"""What a system draws, and how surprised it is, against distributions by enumeration."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from support.imagebart_toys import seeded

from vqlearn.autoregressive.imagebart import ImageBART, ImageBARTConfig
from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve
from vqlearn.diffusion import kernels
from vqlearn.diffusion.exact.world import all_states, prior_distribution, sampler_distribution
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.objective import variational_bound
from vqlearn.diffusion.parameterisations import DirectPrediction
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.sampler import levels_to_visit
from vqlearn.diffusion.schedule import absorbing, build_schedule, multinomial, paper
from vqlearn.experiments import processes as made
from vqlearn.experiments.face_off.players import (
    DiffusionPlayer,
    Drawing,
    Heard,
    ImageBARTPlayer,
    RasterPlayer,
    player_of,
)
from vqlearn.experiments.face_off.starts import Start, half_level, hidden, noise
from vqlearn.experiments.processes import Codes
from vqlearn.probability.filters import guide, top_p
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.model import Conditioning, Sampling
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig
from vqlearn.transformer.variants import DirectDenoiser

K, N, T = 3, 4, 6
ROWS = 4000
SAID = 3 * torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0)).double()
"""Two captions and "no caption"."""
PLAIN = Drawing(calls=4)
SHARP = Drawing(guidance=2.0, truncation=0.8, calls=4)
WAYS = pytest.mark.parametrize("way", [PLAIN, SHARP], ids=["plain", "guided"])


def processes():
    codes = torch.tensor([[0.0], [1.0], [2.5]])
    mixed = MaskAndReplace(build_schedule(paper(K, T)))
    return {
        "mask": MaskAndReplace(build_schedule(absorbing(K, T))),
        "paper": mixed,
        "replace": MaskAndReplace(build_schedule(multinomial(K, T))),
        "near": kernels.nearest_neighbour(codes, T, num_neighbours=1),
        "direct": DirectPrediction(mixed),
    }


PROCESSES = processes()
KERNELS = pytest.mark.parametrize("kind", ["mask", "paper", "replace", "near"])


def diffusion(kind):
    config = DenoiserConfig(2, 4, 1, 3, True, K + 1, 2, T)
    network = (DirectDenoiser if kind == "direct" else Denoiser)(config)
    return DiffusionPlayer(_fixed(network), PROCESSES[kind])


def raster_player():
    return RasterPlayer(_fixed(RasterTransformer(RasterTransformerConfig(K, N, 3, 2, 8, 1, 2))))


def imagebart():
    return ImageBARTPlayer(
        _fixed(
            ImageBART(ImageBARTConfig(K, N, 2, 8, 1, 2, 3, 2)),
            ("text_to_width", "cross_attention.value", "cross_attention.output"),
        )
    )


def _fixed(network, louder=()):
    """Weights so large that every input matters; those with these names are larger still."""
    generator = seeded(1)
    with torch.no_grad():
        for name, weight in network.double().named_parameters():
            size = 3 if any(part in name for part in louder) else 0.8
            weight.copy_(size * torch.randn(weight.shape, generator=generator))
    return network.eval().requires_grad_(False)


PLAYERS = {
    "raster": raster_player,
    "imagebart": imagebart,
    **{kind: (lambda kind=kind: diffusion(kind)) for kind in PROCESSES},
}
EVERYONE = pytest.mark.parametrize("who", list(PLAYERS))


def heard(count=ROWS):
    """The two captions in turn."""
    return Heard(SAID[:2].repeat(count // 2, 1, 1), SAID[2:])


def filtered(said, unsaid, way):
    """Guided and truncated distributions, (b, n, k)."""
    if way.guidance == 1:
        return said
    return top_p(guide(said, unsaid, way.guidance), way.truncation)


def row_distributions(distributions_of, states):
    """p(row) for rows that are written in order; `laws_of` gives (b, n, k) with teacher forcing."""
    return distributions_of(states).gather(-1, states[..., None])[..., 0].sum(dim=1).exp()


def certain(distributions, start):
    """Where a token is given, nothing else can come."""
    for i in start.given[0].nonzero()[:, 0].tolist():
        distributions[:, i] = torch.where(torch.arange(K) == start.x[0, i], 0.0, -torch.inf)
    return distributions


def raster_distribution(player, sentence, way, start=None):
    """The distribution of a row, by products over all rows."""

    def distributions_of(x):
        both = (log_normalise(player.network(x, SAID[[i]])) for i in (sentence, 2))
        distributions = filtered(*both, way)
        return distributions if start is None else certain(distributions, start)

    return row_distributions(distributions_of, all_states(K, N))


def imagebart_step(player, sentence, way, t, start=None):
    """p(x_{t-1} | x_t) as a matrix: a row of it for each x_t, all in one call."""
    count, states = K**N, all_states(K, N)
    x_t, x = states.repeat_interleave(count, dim=0), states.repeat(count, 1)

    def distributions_of(x):
        both = (player.network.log_probs(x, x_t, t, Conditioning(SAID[[i]])) for i in (sentence, 2))
        distributions = filtered(*both, way)
        return distributions if start is None else certain(distributions, start)

    return row_distributions(distributions_of, x).view(count, count)


def imagebart_distribution(player, sentence, way):
    distribution = torch.full((K**N,), 1 / K**N, dtype=torch.float64)
    for t in (2, 1):
        distribution = distribution @ imagebart_step(player, sentence, way, t)
    return distribution


def denoise(player, sentence, way):
    def p_x0(x_t, t):
        levels = torch.full((len(x_t),), t)
        said, unsaid = (
            log_normalise(player.denoiser(x_t, levels, SAID[[i]].expand(len(x_t), -1, -1)))
            for i in (sentence, 2)
        )
        return filtered(said, unsaid, way)

    return p_x0


def levels_of(who, way, first=T):
    return list(range(T, -1, -1)) if who == "direct" else levels_to_visit(first, way.calls)


def drawn_distribution(who, player, sentence, way):
    """The distribution of `player.draw` over all rows of its classes."""
    if who == "raster":
        return raster_distribution(player, sentence, way), K
    if who == "imagebart":
        return imagebart_distribution(player, sentence, way), K
    process, start = player.process, prior_distribution(player.process, N)
    walk = sampler_distribution(process, denoise(player, sentence, way), start, levels_of(who, way))
    return walk, process.num_classes


def assert_follows(rows, distribution, classes):
    """Counts within 5 sigma, and 3 more where few are expected; what cannot be never comes.

    For a correct player a state fails with a chance below 10⁻⁶, also where counts are Poisson.
    """
    positions = classes ** torch.arange(N - 1, -1, -1)
    counts = torch.bincount((rows * positions).sum(dim=1), minlength=len(distribution)).double()
    torch.testing.assert_close(distribution.sum(), torch.tensor(1.0).double())
    expected = len(rows) * distribution
    sigma = (expected * (1 - distribution).clamp(min=0)).sqrt()
    assert ((counts - expected).abs() <= 5 * sigma + 3).all()
    assert (counts[distribution < 1e-12] == 0).all()


def way_of(who, way):
    """A direct prediction can skip no level."""
    return Drawing(way.guidance, way.truncation, T) if who == "direct" else way


@WAYS
@EVERYONE
def test_rows_follow_the_exact_distribution_of_their_own_sentence(who, way):
    player, way = PLAYERS[who](), way_of(who, way)
    rows = player.draw(heard(), N, way, seeded(0))
    assert rows.shape == (ROWS, N)
    distributions = []
    for sentence in (0, 1):
        distribution, classes = drawn_distribution(who, player, sentence, way)
        assert_follows(rows[sentence::2], distribution, classes)
        distributions.append(distribution)
    assert (
        distributions[0] - distributions[1]
    ).abs().sum() > 0.3  # the wrong caption would be seen


@EVERYONE
def test_guidance_and_truncation_change_the_distribution_much(who):
    player = PLAYERS[who]()
    plain, guided = (
        drawn_distribution(who, player, 0, way_of(who, way))[0] for way in (PLAIN, SHARP)
    )
    assert (plain - guided).abs().sum() > 0.3


@EVERYONE
def test_a_guidance_of_1_is_none(who):
    """It never asks for "no caption", and draws what is drawn without it."""
    player, way = PLAYERS[who](), way_of(who, PLAIN)
    silent = Heard(heard(50).text, torch.full_like(SAID[2:], torch.nan))
    found = player.draw(silent, N, way, seeded(0))
    assert torch.equal(found, player.draw(heard(50), N, way, seeded(0)))
    if who not in ("raster", "imagebart"):
        return
    almost = Drawing(
        1.0 + 1e-9, 1.0, way.calls
    )  # the guided branch with the distribution of no guidance
    assert torch.equal(found, player.draw(heard(50), N, almost, seeded(0)))


@EVERYONE
def test_what_is_drawn_is_that_of_the_generator(who):
    player, way = PLAYERS[who](), way_of(who, SHARP)
    state = torch.get_rng_state()
    first, second, third = (player.draw(heard(50), N, way, seeded(i)) for i in (4, 4, 5))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert torch.equal(torch.get_rng_state(), state)


def test_diffusion_makes_as_many_calls_as_it_is_told():
    for calls in (1, 3, T):
        player, asked = diffusion("paper"), []
        player.denoiser.register_forward_pre_hook(lambda _, inputs, a=asked: a.append(inputs[1]))
        player.draw(heard(4), N, Drawing(calls=calls), seeded(0))
        assert [t.unique().item() for t in asked] == levels_to_visit(T, calls)[:-1]
        assert {len(t) for t in asked} == {4}
        player.draw(heard(4), N, Drawing(2.0, 1.0, calls), seeded(0))
        assert {len(t) for t in asked[calls:]} == {8}


def test_the_surprise_of_a_raster_row_is_its_exact_distribution():
    player, states = raster_player(), all_states(K, N)
    for sentence in (0, 1):
        nats = player.nats(states, SAID[[sentence]].expand(len(states), -1, -1), seeded(0))
        torch.testing.assert_close((-nats).exp(), raster_distribution(player, sentence, PLAIN))


def test_each_row_is_surprising_after_its_own_sentence():
    player, x = raster_player(), torch.tensor([[0, 1, 2, 0]]).repeat(2, 1)
    found = player.nats(x, SAID[:2], seeded(0))
    for i in (0, 1):
        torch.testing.assert_close(found[i : i + 1], player.nats(x[:1], SAID[[i]], seeded(0)))
    assert abs(float(found[0] - found[1])) > 0.01


def test_the_surprise_of_the_others_is_their_bound():
    x = torch.randint(K, (6, N), generator=seeded(1))
    text = heard(6).text
    player = imagebart()
    expected = player.network.nll(x, Conditioning(text), generator=seeded(2))
    assert torch.equal(player.nats(x, text, seeded(2)), expected)
    for kind in PROCESSES:
        player = diffusion(kind)

        def p_x0(x_t, t, denoiser=player.denoiser):
            return log_normalise(denoiser(x_t, torch.full((6,), t), text))

        expected = variational_bound(PROCESSES[kind], p_x0, x, generator=seeded(2))
        torch.testing.assert_close(player.nats(x, text, seeded(2)), expected)


GIVEN = {
    "prefix": [True, True, False, False],
    "end": [False, False, True, True],
    "mixed": [False, True, False, True],
    "nothing": [False] * 4,
    "all": [True] * 4,
}


TRUE = torch.tensor([[2, 0, 1, 1]])


def start_of(given, fixed, count=ROWS):
    return Start(TRUE.repeat(count, 1), flags(given).repeat(count, 1), fixed)


def flags(given):
    return torch.tensor([GIVEN[given]])


def process_of(player):
    return player.process if hasattr(player, "process") else player.network.process


def hidden_by(player, given, count=ROWS, seed=11):
    return player.hide(TRUE.repeat(count, 1), flags(given).repeat(count, 1), seeded(seed))


@WAYS
@pytest.mark.parametrize("given", list(GIVEN))
def test_a_raster_network_obeys_and_goes_on(given, way):
    player, start = raster_player(), start_of(given, True)
    rows = player.go_on(start, heard(), way, seeded(3))
    assert torch.equal(rows[start.given], start.x[start.given])
    for sentence in (0, 1):
        assert_follows(rows[sentence::2], raster_distribution(player, sentence, way, start), K)
    free = player.go_on(Start(start.x, start.given, False), heard(), way, seeded(3))
    assert torch.equal(free, rows)  # what is written stays, allowed to change or not


def test_after_a_given_prefix_comes_the_conditional_distribution():
    player, start = raster_player(), start_of("prefix", True)
    whole = raster_distribution(player, 0, PLAIN)
    fits = (all_states(K, N)[:, :2] == start.x[0, :2]).all(dim=1)
    expected = torch.where(fits, whole, 0) / whole[fits].sum()
    torch.testing.assert_close(raster_distribution(player, 0, PLAIN, start), expected)


def test_a_token_given_further_on_changes_nothing_before_it():
    """By the same random numbers the positions before it are those that are drawn freely."""
    player = raster_player()
    free = player.draw(heard(), N, PLAIN, seeded(3))
    rows = player.go_on(start_of("end", True), heard(), PLAIN, seeded(3))
    assert torch.equal(rows[:, :2], free[:, :2])
    assert not torch.equal(rows[:, 2:], free[:, 2:])


@EVERYONE
def test_what_is_hidden_does_not_count(who):
    """Whatever the tokens were: the same start, and the same rows."""
    player, way = PLAYERS[who](), way_of(who, PLAIN)
    given = flags("mixed").repeat(40, 1)
    true = TRUE.repeat(40, 1)
    other = torch.where(given, true, (true + 1) % K)
    starts = [player.hide(x, given, seeded(12)) for x in (true, other)]
    if who == "raster":  # nothing stands in the gaps but what is written over
        assert torch.equal(starts[1].x, other)
    else:
        assert torch.equal(starts[0].x, starts[1].x)
        assert starts[0].level == starts[1].level
    rows = [player.go_on(start, heard(40), way, seeded(5)) for start in starts]
    assert torch.equal(*rows)
    free = replace(starts[1], fixed=False)
    if who == "raster":
        assert torch.equal(player.go_on(free, heard(40), way, seeded(5)), rows[0])


@pytest.mark.parametrize("given", ["mixed", "nothing", "all"])
@pytest.mark.parametrize("who", ["imagebart", "mask", "paper", "replace", "near"])
def test_hidden_tokens_are_noise_and_given_ones_are_not(who, given):
    """By the distribution of the prior in the gaps; the level is that of the true tokens."""
    player = PLAYERS[who]()
    process, start = process_of(player), hidden_by(player, given)
    assert start.fixed
    assert torch.equal(start.given, flags(given).repeat(ROWS, 1))
    assert start.level == half_level(process, TRUE)
    distribution = begin_distribution(process, start.given[0], TRUE[0])
    assert_follows(start.x, distribution, process.num_classes)
    other = hidden_by(player, given, seed=13)
    assert torch.equal(start.x, other.x) == (who == "mask" or given == "all")


def test_a_raster_network_hides_nothing():
    """It never looks at what is not given, and knows no levels."""
    start = hidden_by(raster_player(), "mixed", 3)
    assert torch.equal(start.x, TRUE.repeat(3, 1))
    assert torch.equal(start.given, flags("mixed").repeat(3, 1))
    assert (start.fixed, start.level) == (True, 0)


def positions_of(states, classes):
    return (states * classes ** torch.arange(N - 1, -1, -1)).sum(dim=-1)


def begin_distribution(process, given, x, classes=None):
    """The distribution of rows with these tokens given, and noise of the prior in the gaps."""
    classes, prior = classes or process.num_classes, process.log_prior().exp()
    states = all_states(classes, N)
    distribution = torch.zeros(len(states), dtype=torch.float64)
    back = positions_of(torch.where(given, x, states), classes)
    return distribution.index_add_(0, back, prior[states].prod(dim=1))


def walked_distribution(player, p_x0, levels, begin, start):
    """The distribution after a walk from the distribution `begin`, by matrices over all states."""
    process, classes = player.process, player.process.num_classes
    states, distribution = all_states(classes, N), begin
    back = positions_of(torch.where(start.given[0], TRUE[0], states), classes)
    for t, s in pairwise(levels):
        can_be = distribution > 0
        one = process.log_reverse(p_x0(states[can_be], t), states[can_be], s, t).exp()
        after = distribution[can_be] @ torch.stack(
            [one[:, i, states[:, i]] for i in range(N)]
        ).prod(dim=0)
        distribution = after
        if start.fixed:  # the given ones are put back
            distribution = torch.zeros_like(after).index_add_(0, back, after)
    return distribution


@WAYS
@KERNELS
@pytest.mark.parametrize("fixed", [True, False])
def test_diffusion_goes_on_from_noise_in_the_gaps(kind, fixed, way):
    player = diffusion(kind)
    start = replace(hidden_by(player, "mixed"), fixed=fixed)
    levels = levels_to_visit(start.level, min(way.calls, start.level))
    begin = begin_distribution(player.process, start.given[0], TRUE[0])
    rows = player.go_on(start, heard(), way, seeded(6))
    for sentence in (0, 1):
        distribution = walked_distribution(
            player, denoise(player, sentence, way), levels, begin, start
        )
        assert_follows(rows[sentence::2], distribution, player.process.num_classes)
    kept = bool((rows == TRUE)[start.given].all())
    assert kept == (fixed or kind == "mask")  # what is not fixed may change, but for masks alone


@KERNELS
@pytest.mark.parametrize("level", [1, 2, 4, T])
@pytest.mark.parametrize("fixed", [True, False])
def test_diffusion_goes_on_from_the_very_row_and_its_level(kind, level, fixed):
    """No noise is drawn anew, also not for tokens that are not given."""
    player = diffusion(kind)
    classes = player.process.num_classes
    lost = K if kind in ("mask", "paper") else 2
    x = torch.where(flags("mixed"), TRUE, torch.tensor([[lost, lost, lost, lost]]))
    start = replace(start_of("mixed", fixed), x=x.repeat(ROWS, 1), level=level)
    begin = torch.zeros(classes**N, dtype=torch.float64)
    begin[positions_of(x[0], classes)] = 1
    levels = levels_to_visit(level, min(PLAIN.calls, level))
    rows = player.go_on(start, heard(), PLAIN, seeded(6))
    for sentence in (0, 1):
        distribution = walked_distribution(
            player, denoise(player, sentence, PLAIN), levels, begin, start
        )
        assert_follows(rows[sentence::2], distribution, classes)


@EVERYONE
def test_what_is_believed_is_what_the_network_says_at_that_level(who):
    """As probabilities, row by row after its own caption, and without guidance."""
    if who in ("raster", "imagebart"):
        assert not hasattr(PLAYERS[who](), "belief")
        return
    player = diffusion(who)
    x = torch.randint(player.process.num_classes, (6, N), generator=seeded(1))
    text = heard(6).text
    for level in (2, 5):
        start = Start(x, torch.ones_like(x, dtype=torch.bool), False, level)
        found = player.p_x0(start, Heard(text, torch.full_like(SAID[2:], torch.nan)))
        scores = player.denoiser(x, torch.full((6,), level), text)
        torch.testing.assert_close(found, scores.softmax(dim=-1))


@WAYS
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("fixed", [True, False])
def test_an_imagebart_goes_on_with_its_last_scales(fixed, level, way):
    """From x_level, given tokens with noise in the gaps: a row for each scale, obeying or not."""
    player = imagebart()
    start = replace(hidden_by(player, "mixed"), fixed=fixed, level=level)
    begin = begin_distribution(player.network.process, start.given[0], TRUE[0], classes=K)
    rows = player.go_on(start, heard(), way, seeded(7))
    obeyed = start_of("mixed", fixed, 1) if fixed else None
    for sentence in (0, 1):
        distribution = begin
        for t in range(level, 0, -1):
            distribution = distribution @ imagebart_step(player, sentence, way, t, obeyed)
        assert_follows(rows[sentence::2], distribution, K)
    assert bool((rows == TRUE)[start.given].all()) == fixed


def test_an_imagebart_goes_on_from_the_very_row():
    """No noise is drawn anew: one row, one distribution."""
    player, x = imagebart(), torch.tensor([[2, 2, 0, 1]])
    start = Start(x.repeat(ROWS, 1), flags("nothing").repeat(ROWS, 1), False, 1)
    rows = player.go_on(start, heard(), PLAIN, seeded(7))
    for sentence in (0, 1):
        distribution = imagebart_step(player, sentence, PLAIN, 1)[positions_of(x[0], K)]
        assert_follows(rows[sentence::2], distribution, K)


@pytest.mark.parametrize("who", ["imagebart", "mask", "paper", "replace", "near"])
def test_half_of_the_tokens_are_lost_as_the_process_loses_them(who):
    """Each class with the chance of its distribution at that level: 5 sigma and 3, once in 10⁶
    runs."""
    player = PLAYERS[who]()
    process = process_of(player)
    x = torch.randint(K, (4000, N), generator=seeded(8))
    start = player.lose_half(x, seeded(9))
    assert start.level == half_level(process, x)
    assert not start.fixed
    assert torch.equal(start.given, start.x == x)
    for code in range(K):
        distribution = (
            process.log_marginal(torch.tensor([[code]]), start.level).double().exp()[0, 0]
        )
        for i in range(N):  # any half: every position alike
            found = start.x[x[:, i] == code, i]
            counts = found.bincount(minlength=len(distribution)).double()
            sigma = (len(found) * distribution * (1 - distribution)).sqrt()
            assert ((counts - len(found) * distribution).abs() <= 5 * sigma + 3).all()
            assert (counts[distribution < 1e-12] == 0).all()
    again = player.lose_half(x, seeded(9))
    assert torch.equal(again.x, start.x)
    assert not torch.equal(player.lose_half(x, seeded(10)).x, start.x)


def test_a_raster_network_loses_the_lower_half():
    x = torch.randint(K, (3, 16), generator=seeded(0))
    start = raster_player().lose_half(x, seeded(0))
    assert torch.equal(start.x, x)
    assert start.given[:, :8].all()
    assert not start.given[:, 8:].any()
    assert (start.fixed, start.level) == (False, 0)


class FadingProcess(MaskAndReplace):
    """A token is kept with `kept[t]`, code 0 more than code 1; noise is always code 1."""

    def __init__(self, *kept):
        self.kept, self.num_timesteps = kept, len(kept) - 1
        self.num_codes = self.num_classes = 2

    def log_marginal(self, x_0, t):
        up, down = self.kept[t] + 0.1, self.kept[t] - 0.1
        table = torch.tensor([[up, 1 - up], [1 - down, down]], dtype=torch.float64)
        return table.log()[x_0]

    def log_prior(self):
        return torch.tensor([0.0, 1.0], dtype=torch.float64).log()


def test_the_half_level_is_the_nearest_to_half_of_these_tokens():
    both = torch.tensor([[0, 1], [1, 0]])
    for kept, level in (
        ((0.9, 0.6, 0.5, 0.4), 2),
        ((0.9, 0.5001, 0.4998, 0.4), 1),
        ((0.9, 0.5002, 0.4999, 0.4), 2),
        ((0.9, 0.6, 0.4), 1),  # the first of equals
        ((0.9, 0.3, 0.2), 1),
        ((0.9, 0.8, 0.7), 2),
    ):
        assert half_level(FadingProcess(*kept), both) == level
    fading = FadingProcess(0.9, 0.7, 0.6, 0.5, 0.4, 0.3)  # code 0 is kept more, code 1 less
    for x, level in (([1, 1], 2), ([0, 1], 3), ([0, 0], 4), ([0, 0, 0, 0, 1], 4)):
        x = torch.tensor([x])
        assert half_level(fading, x) == level
        assert hidden(fading, x, torch.ones_like(x) == 1, seeded(0)).level == level


@pytest.mark.parametrize(("scales", "level"), [(2, 1), (3, 2), (4, 2)])
def test_the_half_level_of_an_imagebart_is_no_pure_noise(scales, level):
    """At level t of T the share t/T is drawn anew, and one in 384 of it comes out as it was."""
    network = ImageBART(ImageBARTConfig(384, 4, scales, 8, 1, 2))
    x = torch.randint(384, (500, 4), generator=seeded(0))
    start = ImageBARTPlayer(network).lose_half(x, seeded(1))
    assert start.level == level
    kept = 1 - level / scales * 383 / 384
    sigma = (kept * (1 - kept) / 2000) ** 0.5
    assert abs(float(start.given.double().mean()) - kept) < 5 * sigma


def test_half_levels_of_the_systems():
    """Worked out from the schedules; the nearest neighbours from their matrices."""
    vqvae, codes = files.load_vqvae(resolve("scenes")), 384
    every = torch.arange(codes)[None]
    codes_of = Codes(codes, 100, vqvae.quantizer.codebook.weight)
    lines = [0.99999 - (0.99999 - 0.000009) * (t - 1) / 99 for t in range(1, 101)]
    paper_kept = [1 - t / 100 + 0.1 * t / 100 / codes for t in range(1, 101)]
    cosine = kernels.cosine(100)[1:]
    wanted = {
        made.released: lines,
        made.direct: lines,
        made.paper: paper_kept,
        made.absorbing: [1 - t / 100 for t in range(1, 101)],
        made.multinomial: (cosine + (1 - cosine) / codes).tolist(),
    }
    for make, kept in wanted.items():
        away = [round(abs(share - 0.5), 6) for share in kept]
        assert half_level(make(codes_of), every) == 1 + away.index(min(away))
    near = made.nearest_neighbour(codes_of)
    for x in (every, torch.tensor([[121, 364, 92, 121], [152, 13, 230, 230]])):
        level = half_level(near, x)
        kept = [
            near.products.between(0, t).diagonal()[x].mean().item() - 0.5
            for t in (level - 1, level, level + 1)
        ]
        assert kept[0] > kept[1] > kept[2]
        assert abs(kept[1]) <= min(abs(kept[0]), abs(kept[2]))
        assert abs(kept[1]) < 0.02


@KERNELS
def test_noise_is_that_of_the_prior(kind):
    rows = noise(PROCESSES[kind], (ROWS, N), seeded(1))
    assert rows.shape == (ROWS, N)
    assert_follows(rows, prior_distribution(PROCESSES[kind], N), PROCESSES[kind].num_classes)


def test_there_is_a_player_for_every_kind_of_model():
    player = player_of(raster_player().network)
    assert isinstance(player, RasterPlayer)
    assert player.network.config == raster_player().network.config
    player = player_of(imagebart().network)
    assert isinstance(player, ImageBARTPlayer)
    assert half_level(player.network.process, TRUE) == 1  # the first of two scales
    denoiser, process = diffusion("near").denoiser, PROCESSES["near"]
    player = player_of(DiffusionModel(process, denoiser, num_positions=N))
    assert isinstance(player, DiffusionPlayer)
    assert player.denoiser is denoiser
    assert player.process is process


def test_every_player_is_asked_without_gradients():
    modes = []
    for who in PLAYERS:
        player, way = PLAYERS[who](), way_of(who, PLAIN)
        network = player.denoiser if hasattr(player, "denoiser") else player.network
        network.requires_grad_(True)
        x = torch.zeros(2, N, dtype=torch.long)
        for found in (
            player.nats(x, SAID[:2], seeded(0)),
            player.draw(heard(2), N, way, seeded(0)),
            player.go_on(player.lose_half(x, seeded(0)), heard(2), way, seeded(0)),
            *(
                [player.p_x0(player.lose_half(x, seeded(0)), heard(2))]
                if isinstance(player, DiffusionPlayer)
                else []
            ),
        ):
            modes.append(found.requires_grad)
    assert not any(modes)


def test_a_drawing_is_written_as_the_pipeline_would():
    assert Drawing(2.0, 0.6, 7).sampling == Sampling(2.0, 0.6, 7)
    with pytest.raises(ValueError, match="num_inference_steps is 7; allowed: 1 to 6"):
        diffusion("mask").draw(heard(2), N, Drawing(calls=7), seeded(0))


def on_cuda(player):
    """The same player with its network there."""
    moved = copy.deepcopy(player)
    network = moved.denoiser if isinstance(moved, DiffusionPlayer) else moved.network
    network.cuda()
    return moved


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@WAYS
@EVERYONE
def test_cuda_draws_what_the_cpu_draws(who, way):
    """All in float64, and all chance comes from the CPU: not a token may differ."""
    player, way = PLAYERS[who](), way_of(who, way)
    x, given = TRUE.repeat(50, 1), flags("mixed").repeat(50, 1)
    said, said_there = heard(50), Heard(heard(50).text.cuda(), SAID[2:].cuda())
    moved = on_cuda(player)
    assert torch.equal(
        player.draw(said, N, way, seeded(0)), moved.draw(said_there, N, way, seeded(0)).cpu()
    )
    nats = moved.nats(x.cuda(), said_there.text, seeded(1))
    torch.testing.assert_close(player.nats(x, said.text, seeded(1)), nats.cpu())
    if who == "near":
        return  # half an image is no state that it knows
    start, there = player.hide(x, given, seeded(2)), moved.hide(x.cuda(), given.cuda(), seeded(2))
    assert torch.equal(start.x, there.x.cpu())
    found = player.go_on(start, said, way, seeded(3))
    assert torch.equal(found, moved.go_on(there, said_there, way, seeded(3)).cpu())
