"""The face-off: who meets, how each is trained once, and what is measured, against hand counts."""

import json
import math

import pytest
import torch
from accelerate import Accelerator
from support.accelerate_state import forget_accelerate
from support.face_off_fakes import (
    CODES,
    COUNT,
    LEFT,
    NULL,
    TRUTH,
    WAY,
    Believer,
    FakePlayer,
    FakeWorld,
    N,
    copy_given,
    restore,
)
from support.imagebart_toys import seeded
from torch.testing import assert_close

from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.checkpoints.shipped import resolve
from vqlearn.data.batches import Scenes
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import absorbing, build_schedule
from vqlearn.evaluation.prompts import Evaluation, evaluated_scenes
from vqlearn.experiments.autoregressive.sequence_runs import count_weights
from vqlearn.experiments.face_off import (
    data as world,
)
from vqlearn.experiments.face_off import (
    exposure_bias,
    quality,
    systems,
)
from vqlearn.experiments.face_off import (
    inpainting as halves,
)
from vqlearn.experiments.face_off import (
    runs as measures,
)
from vqlearn.experiments.face_off.captions import NAMES as CAPTIONS
from vqlearn.experiments.face_off.costs import COSTS, LENGTHS
from vqlearn.experiments.face_off.data import Examples
from vqlearn.experiments.face_off.players import DiffusionPlayer, Drawing, RasterPlayer
from vqlearn.experiments.face_off.systems import SYSTEMS, VARIANTS
from vqlearn.experiments.face_off.trainings import ALL, RECIPE
from vqlearn.training.loop import Run
from vqlearn.training.stages.order import copy_frozen_parts


@pytest.fixture(autouse=True, scope="module")
def fresh_accelerate():
    forget_accelerate()
    yield
    forget_accelerate()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A run on the shipped tokens, as a training makes it."""
    folder = tmp_path_factory.mktemp("shipped")
    copy_frozen_parts(resolve("scenes"), folder)
    return Run(
        folder, Scenes(32, "seen"), "scenes", RECIPE, Accelerator(cpu=True, mixed_precision="bf16")
    )


# who meets


@pytest.fixture(scope="module")
def weights(shipped):
    return {name: count_weights(each.task(shipped).network) for name, each in ALL.items()}


def test_all_have_as_many_weights_but_for_two_percent(weights):
    assert set(weights) == {*SYSTEMS, *VARIANTS}
    for name, count in weights.items():
        assert abs(count / weights["vq-diffusion"] - 1) < 0.02, name
    denoisers = {name for name in ALL if isinstance(ALL[name], systems.Diffusion)} - {"direct"}
    assert len({weights[name] for name in denoisers}) == 1
    assert weights["direct"] - weights["vq-diffusion"] == 96 + 1  # one score more


def test_a_variant_differs_from_vq_diffusion_in_one_thing():
    like = SYSTEMS["vq-diffusion"].settings()
    changed = {
        name: {key for key, value in each.settings().items() if value != like[key]}
        for name, each in VARIANTS.items()
    }
    assert changed["causal"] == {"network"}
    assert changed["no-auxiliary"] == {"auxiliary_weight"}
    # a direct prediction has no predicted distribution about x_0, so no auxiliary loss either
    assert changed["direct"] == {"network", "process", "auxiliary_weight"}


def test_contenders_with_other_settings_are_others():
    found = [json.dumps(each.settings(), sort_keys=True) for each in ALL.values()]
    assert len(set(found)) == len(ALL)
    for each in ALL.values():
        assert json.loads(json.dumps(each.settings())) == each.settings()


def test_diffusions_that_only_differ_in_their_process_only_differ_there(shipped):
    for name in ("absorbing", "multinomial", "vq-diffusion-paper"):
        settings = SYSTEMS[name].settings()
        assert settings | {"process": "released"} == SYSTEMS["vq-diffusion"].settings()
    task = SYSTEMS["multinomial"].task(shipped)
    assert task.process.num_timesteps == 100
    assert (task.process.schedule.gamma_bar == 0).all()
    assert task.auxiliary_weight == 5e-4
    assert VARIANTS["no-auxiliary"].task(shipped).auxiliary_weight == 0


def be_moody(truth, start):
    """Row 0 restores all; 1 copies; 2 finds other errors; 3 copies, with another first lost one."""
    wrong = start.given & (start.x != truth)
    drawn = copy_given(truth, start)
    kind = torch.arange(len(truth)) % 4
    drawn[kind == 0] = truth[kind == 0]
    another = (start.x + torch.where((start.x + 1) % CODES == truth, 2, 1)) % CODES
    drawn = torch.where(wrong & (kind == 2)[:, None], another, drawn)
    first_lost = (~start.given).int().argmax(dim=1)
    for i in range(len(truth)):
        if kind[i] == 3 and wrong[i].any():
            drawn[i, first_lost[i]] = (truth[i, first_lost[i]] + 1) % CODES
    return drawn


def errors_of(answer):
    player = FakePlayer(answer, LEFT)
    return halves.measure_errors(player, NULL, FakeWorld(), WAY), player


def test_errors_of_one_that_restores_everything():
    report, _ = errors_of(restore)
    left = round(LEFT.double().mean().item(), 4)
    assert report["none"] == {"right": COUNT, "total": COUNT, "left": left}
    assert list(report) == ["none", "one", "0.05", "0.1", "0.2", "0.4"]
    for name in list(report)[1:]:
        found = {"replaced": 1, "mended": 1, "lost changed": 0}
        assert report[name] == {"right": COUNT, "total": COUNT, **found}


def test_errors_of_one_that_copies():
    report, player = errors_of(copy_given)
    assert report["none"]["right"] == COUNT
    assert report["one"]["right"] == 0  # each row has its wrong token
    for name, start in zip(list(report), player.starts, strict=True):
        whole = int((start.x == TRUTH)[LEFT.logical_not()].sum())
        assert whole == 0  # what is lost is noise, also where others are wrong
        assert report[name]["right"] == int(((start.x == TRUTH) | ~LEFT).all(dim=1).sum())
        if name != "none":
            assert [report[name][key] for key in ("replaced", "mended", "lost changed")] == [0] * 3


def test_errors_of_one_that_does_something_else_with_every_row():
    report, player = errors_of(be_moody)
    assert report["none"]["right"] == COUNT
    assert report["one"] == {
        "right": 2,  # rows 0 and 4
        "total": COUNT,
        "replaced": 0.5,  # rows 0, 4 and 2, 6
        "mended": 0.25,
        "lost changed": round(2 / int((~LEFT).sum()), 4),  # one token each in rows 3 and 7
    }
    kind = torch.arange(COUNT) % 4
    for name, start in zip(list(report)[1:], player.starts[1:], strict=True):
        wrong = ((start.x != TRUTH) & LEFT).sum(dim=1)
        replaced, mended = wrong[kind % 2 == 0].sum(), wrong[kind == 0].sum()
        changed = ((kind == 3) & (wrong > 0)).sum()
        assert report[name]["replaced"] == round(float(replaced / wrong.sum()), 4)
        assert report[name]["mended"] == round(float(mended / wrong.sum()), 4)
        assert report[name]["lost changed"] == round(float(changed / (~LEFT).sum()), 4)
        assert report[name]["right"] == int(((wrong == 0) | (kind == 0)).sum())


def test_what_is_lost_is_compared_with_what_would_have_been_drawn():
    """It never finds what was lost, but draws the same with errors and without."""

    def answer(truth, start):
        return torch.where(start.given, start.x, (truth + 3) % CODES)

    report, _ = errors_of(answer)
    assert [each["right"] for each in report.values()] == [0] * 6
    assert [report[name]["lost changed"] for name in list(report)[1:]] == [0] * 5


def test_wrong_tokens_are_among_those_that_are_left_and_nothing_else_differs():
    """All starts of one player: same gaps, same random numbers, shares within 5 sigma."""
    many = 400
    player = FakePlayer(copy_given, LEFT)
    halves.measure_errors(player, NULL, FakeWorld(many), WAY)
    parts = many // world.AT_ONCE
    assert set(player.ways) == {WAY}
    for number in range(6):
        starts = player.starts[number * parts : (number + 1) * parts]
        x, given = (torch.cat([getattr(each, key) for each in starts]) for key in ("x", "given"))
        assert {(each.fixed, each.level) for each in starts} == {(False, 4)}
        assert torch.equal(given, LEFT.repeat(many // COUNT, 1))
        truth = TRUTH.repeat(many // COUNT, 1)
        assert (x == (truth + 1) % CODES)[~given].all()  # noise stays as it was
        wrong = (x != truth) & given
        if number == 0:
            assert not wrong.any()
        elif number == 1:
            assert (wrong.sum(dim=1) == 1).all()
        else:
            share = halves.SHARES[number - 2]
            sigma = (share * (1 - share) / int(given.sum())) ** 0.5
            assert abs(float(wrong[given].double().mean()) - share) < 5 * sigma
    numbers = torch.tensor(player.numbers).view(6, parts)
    assert (numbers == numbers[0]).all()
    assert len(set(player.numbers)) == parts


def test_rows_go_on_after_their_own_sentences_in_parts(monkeypatch):
    monkeypatch.setattr(halves, "AT_ONCE", 3)
    report, player = errors_of(be_moody)
    monkeypatch.setattr(halves, "AT_ONCE", COUNT)
    assert [len(each.x) for each in player.starts[:3]] == [3, 3, 2]
    assert report["none"]["right"] == COUNT


GRID = torch.arange(16).view(4, 4)
SETS = {
    "upper": {0, 1, 2, 3, 4, 5, 6, 7},
    "lower": {8, 9, 10, 11, 12, 13, 14, 15},
    "left": {0, 1, 4, 5, 8, 9, 12, 13},
    "right": {2, 3, 6, 7, 10, 11, 14, 15},
}


def test_halves_of_a_grid():
    for side, wanted in SETS.items():
        found = halves.half(side, 16)
        assert found.shape == (1, 16)
        assert set(found[0].nonzero()[:, 0].tolist()) == wanted
    for n in (16, 64, 25):
        for a, b in (("upper", "lower"), ("left", "right")):
            assert (halves.half(a, n) ^ halves.half(b, n)).all()


def test_directions_of_one_that_knows_two_of_them():
    """It restores what is below or right of something; else every third lost token is wrong."""

    def answer(truth, start):
        if start.given[0, 0]:
            return copy_given(truth, start)
        drawn = copy_given(truth, start)
        lost = (~start.given[0]).nonzero()[:, 0]
        drawn[1:, lost[:3]] = (truth[1:, lost[:3]] + 1) % CODES
        return drawn

    player = FakePlayer(answer)
    report = halves.measure_directions(player, NULL, FakeWorld(), WAY)
    known = {"right": COUNT, "total": COUNT, "same tokens": 1.0}
    not_known = {"right": 1, "total": COUNT, "same tokens": round(1 - 7 * 3 / (8 * 8), 4)}
    each = {"upper": known, "lower": not_known, "left": known, "right": not_known}
    assert report == {"seen": each, "held_out": each}
    for start, side in zip(player.starts, halves.SIDES * 2, strict=True):
        assert (start.fixed, start.level) == (True, 5)
        for row in start.given:
            assert set(row.nonzero()[:, 0].tolist()) == SETS[side]
    for start, truth in zip(player.starts, 4 * [TRUTH] + 4 * [TRUTH.flip(0)], strict=True):
        assert torch.equal(start.x, torch.where(start.given, truth, (truth + 2) % CODES))
    assert len(set(player.numbers)) == 1
    assert player.hidden[:4] == player.hidden[4:]  # both compositions get the same noise
    assert len(set(player.hidden)) == 4
    assert set(player.ways) == {WAY}


def test_a_denoiser_says_what_it_believes_of_the_wrong_tokens(monkeypatch):
    monkeypatch.setattr(halves, "AT_ONCE", 3)
    player = Believer(copy_given, LEFT)
    player.levels = []
    report = halves.measure_errors(player, NULL, FakeWorld(), WAY)
    assert set(player.levels) == {4}
    assert not {"belief in true", "belief in seen"} & set(report["none"])
    assert report["one"]["belief in true"] == round(0.01 * 3.5, 4)  # one in each row
    starts = player.starts
    for number, name in enumerate(list(report)[1:], start=1):
        x = torch.cat([each.x for each in starts[3 * number : 3 * number + 3]])
        row = ((x != TRUTH) & LEFT).nonzero()[:, 0].double()
        assert report[name]["belief in true"] == pytest.approx(float(0.01 * row.mean()), abs=1e-4)
        assert report[name]["belief in seen"] == 0.02
    others, _ = errors_of(copy_given)
    assert not any("belief" in key for found in others.values() for key in found)


def test_nothing_is_chosen_where_nothing_is_left():
    left = torch.tensor([[False, False, False], [False, True, False]])
    for seed in range(20):
        for name in ("one", "1.0"):
            assert torch.equal(halves.choose(left, name, seeded(seed)), left)


def test_what_cannot_be_counted_is_none():
    """Nothing lost, or nothing left: a share of nothing is no number."""
    every = torch.ones(COUNT, N, dtype=torch.bool)
    report = halves.measure_errors(FakePlayer(copy_given, every), NULL, FakeWorld(), WAY)
    assert report["one"]["lost changed"] is None
    assert (report["none"]["left"], report["one"]["replaced"]) == (1.0, 0.0)
    report = halves.measure_errors(FakePlayer(copy_given, ~every), NULL, FakeWorld(), WAY)
    assert (report["one"]["replaced"], report["one"]["mended"]) == (None, None)
    assert (report["none"]["left"], report["one"]["lost changed"]) == (0.0, 0.0)


def test_choose_takes_some_of_those_that_are_left():
    left = torch.rand(500, 20, generator=seeded(0)) < 0.5
    one = halves.choose(left, "one", seeded(1))
    assert (one.sum(dim=1) == 1).all()
    assert not (one & ~left).any()
    chances = one.double().sum(dim=0)  # every position alike: 25 expected, 5 sigma
    assert ((chances - 25).abs() < 5 * (500 * 0.05 * 0.95) ** 0.5).all()
    for share in (0.0, 0.2, 1.0):
        some = halves.choose(left, str(share), seeded(1))
        assert not (some & ~left).any()
        sigma = (share * (1 - share) / int(left.sum())) ** 0.5
        assert abs(float(some[left].double().mean()) - share) <= 5 * sigma


def test_a_spoilt_token_is_any_other_code():
    """Every other code as often: 5 sigma of 20,000."""
    x = torch.arange(5).repeat(20000, 1)
    wrong = torch.tensor([True, True, True, False, True]).expand_as(x)
    spoilt = halves.spoil(x, wrong, 5, seeded(0))
    assert torch.equal(spoilt == x, ~wrong)
    for code in (0, 1, 2, 4):
        counts = spoilt[:, code].bincount(minlength=5)
        others = counts[torch.arange(5) != code].double()
        assert ((others - 5000).abs() < 5 * (20000 * 0.25 * 0.75) ** 0.5).all()


# quality and forcing


def test_quality_of_a_player_whose_answers_are_known(monkeypatch):
    monkeypatch.setattr(quality, "AT_ONCE", 3)
    monkeypatch.setattr(quality, "SHOWN", 2)

    def answer(truth, drawing):
        drawn = truth.clone()
        if drawing.guidance == 1:
            drawn[0, 0] = (drawn[0, 0] + 1) % CODES  # the first row of each part of 3, 3, 2
        return drawn

    player = FakePlayer(answer)
    ways = {
        **{"plain 25": Drawing(), "guided 25": Drawing(1.5, 0.9, 25)},
        "guided 5": Drawing(1.5, 0.9, 5),
    }
    report = quality.measure_quality(player, NULL, FakeWorld(), ways)
    nats = torch.arange(
        8
    ).double()  # no token differs, so the negative log-likelihood is the number of the row
    mean, spread = nats.mean() / N / math.log(2), nats.std() / N / math.log(2) / 8**0.5
    bits = {"mean": round(float(mean), 4), "standard_error": round(float(spread), 4)}
    all_right = {"right": COUNT, "total": COUNT}
    drawn = {
        **{"plain 25": {"right": 5, "total": COUNT}, "guided 25": all_right},
        "guided 5": all_right,
    }
    for name, truth in (("seen", TRUTH), ("held_out", TRUTH.flip(0))):
        shown = [[int(code) for code in row.split()] for row in report[name].pop("shown")]
        assert shown == truth[:2].tolist()
        assert report[name] == {"bits": bits, "drawn": drawn}
    assert list(report) == ["seen", "held_out"]
    assert player.ways == 2 * [way for way in ways.values() for _ in range(3)]
    numbers = torch.tensor(player.numbers).view(2, 3, 3)
    assert (numbers == numbers[:, :1]).all()  # all ways begin with the same chance
    assert len(set(player.numbers)) == 6


def test_only_what_is_guided_with_the_usual_calls_is_shown():
    player = FakePlayer(lambda truth, drawing: (truth + drawing.calls) % CODES)
    usual = Drawing(1.5, 0.9, 25)
    for ways, shown in (
        ({"plain": Drawing()}, False),
        ({"guided 50": Drawing(1.5, 0.9, 50)}, False),
        ({"guided 50": Drawing(1.5, 0.9, 50), "guided 25": usual, "plain 25": Drawing()}, True),
        ({"guided": usual}, True),
    ):
        report = quality.measure_quality(player, NULL, FakeWorld(), ways)
        assert ("shown" in report["seen"]) == ("shown" in report["held_out"]) == shown
        if shown:
            row = " ".join(str(int(code)) for code in (TRUTH[0] + 25) % CODES)
            assert report["seen"]["shown"][0] == row
            assert len(report["seen"]["shown"]) == 6


def test_only_a_diffusion_is_drawn_with_fewer_calls():
    network = RasterTransformer(RasterTransformerConfig(3, 4, 3, 2, 8, 1, 2))
    process = MaskAndReplace(build_schedule(absorbing(3, 4)))
    diffusion = DiffusionPlayer(network, process)
    for calls in ((25,), quality.CALLS, ()):
        for player in (RasterPlayer(network), FakePlayer()):
            ways = {"plain": Drawing(1.0, 1.0, 25), "guided": Drawing(1.5, 0.9, 25)}
            assert quality.drawings(player, calls) == ways
            assert quality.drawings(player, calls, guided=False) == {"plain": Drawing()}
        plain = {f"plain {count}": Drawing(1.0, 1.0, count) for count in calls}
        guided = {f"guided {count}": Drawing(1.5, 0.9, count) for count in calls}
        assert quality.drawings(diffusion, calls) == plain | guided
        assert quality.drawings(diffusion, calls, guided=False) == plain


def test_the_calls_of_each_contender():
    """The first seed tells how calls matter; a direct prediction cannot skip a level."""
    for seed in measures.SEEDS:
        assert list(measures.calls_of("direct", seed)) == [100]
        for name in ("causal", "no-auxiliary"):  # as the direct prediction, and as the others
            assert list(measures.calls_of(name, seed)) == [100, 25]
        for name in ("vq-diffusion", "absorbing", "raster"):
            calls = [100, 50, 25, 10, 5] if seed == 0 else [25]
            assert list(measures.calls_of(name, seed)) == calls


def test_only_a_direct_prediction_is_not_guided(monkeypatch):
    process = MaskAndReplace(build_schedule(absorbing(3, 4)))
    diffusion = DiffusionPlayer(torch.nn.Identity(), process)
    monkeypatch.setattr(measures, "load_model", lambda training: (diffusion, NULL, 7))
    monkeypatch.setattr(measures, "token_world", lambda rows: rows)
    monkeypatch.setattr(measures, "measure_quality", lambda *given: {"given": given})
    for name in ALL:
        found = measures.quality(name, 1, measures.Setting(rows=3))
        assert found.pop("weights") == 7
        ways = found["given"][3]
        assert found["given"][0] is diffusion
        assert found["given"][1:3] == (NULL, 3)
        calls = measures.calls_of(name, 1)
        kinds = ("plain",) if name == "direct" else ("plain", "guided")
        assert list(ways) == [f"{kind} {count}" for kind in kinds for count in calls]


def test_every_way_to_draw_fits_into_the_levels():
    assert max(quality.CALLS) <= systems.NUM_TIMESTEPS
    assert measures.HALVES.calls <= systems.NUM_TIMESTEPS
    assert measures.HALVES == Drawing(1.5, 0.9, 25)


def test_forcing_of_rows_that_are_known(monkeypatch):
    """The judge counts wrong tokens: none in the data, 3 in every drawn row."""
    monkeypatch.setattr(quality, "AT_ONCE", 3)

    def answer(truth, drawing):
        drawn = truth.clone()
        drawn[:, 2:5] = (drawn[:, 2:5] + 1) % CODES
        return drawn

    player, judge = FakePlayer(answer), FakePlayer()
    report = exposure_bias.measure_forcing(player, NULL, FakeWorld(), {"judge": judge})
    row = 1 / N / math.log(2)
    data, own = report["judge"]["data"]["mean"], report["judge"]["own"]["mean"]
    assert data == round(3.5 * row, 4)
    assert own == round(6.5 * row, 4)
    assert set(report["judge"]) == {"data", "own"}  # only a raster judge reads row by row
    assert player.ways == 3 * [Drawing(calls=100)]
    assert judge.ways == []


@pytest.fixture
def judge():
    config = RasterTransformerConfig(CODES, N, 3, 2, 8, 1, 2)
    network = RasterTransformer(config).double()
    generator = seeded(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return RasterPlayer(network.requires_grad_(False))


def test_bits_by_row_of_the_grid(judge, monkeypatch):
    """Each token's distribution from the tokens before it, one by one; the rows sum up to all the
    bits."""
    monkeypatch.setattr(exposure_bias, "AT_ONCE", 3)
    examples = FakeWorld().examples["seen"]
    rows = Examples(examples.x, examples.captions, examples.text.double())
    found = exposure_bias.bits_by_row(judge, rows)
    bits = torch.zeros(4, dtype=torch.float64)
    distributions = judge.network(rows.x, rows.text).softmax(dim=-1)
    for i in range(COUNT):
        for position in range(N):
            bits[position // 4] -= distributions[i, position, rows.x[i, position]].log2() / (
                COUNT * 4
            )
    assert_close(torch.tensor(found).double(), bits, atol=1e-4, rtol=0)
    assert bits.max() - bits.min() > 0.1
    whole = quality.nats(judge, rows, seeded(0)).mean() / N / math.log(2)
    assert sum(found) / 4 == pytest.approx(float(whole), abs=1e-4)


def test_a_raster_judge_reads_both_kinds_row_by_row(judge):
    fake = FakeWorld()
    for each in fake.examples.values():
        each.text = each.text.double()

    def answer(truth, drawing):
        return truth.flip(1)

    player = FakePlayer(answer)
    report = exposure_bias.measure_forcing(player, NULL, fake, {"judge": judge})["judge"]
    rows = fake.examples["seen"]
    own = Examples(rows.x.flip(1), rows.captions, rows.text)
    assert report["data by row"] == exposure_bias.bits_by_row(judge, rows)
    assert report["own by row"] == exposure_bias.bits_by_row(judge, own) != report["data by row"]
    for kind in ("data", "own"):
        mean = sum(report[f"{kind} by row"]) / 4
        assert report[kind]["mean"] == pytest.approx(mean, abs=1e-3)


# the real world


@pytest.fixture(scope="module")
def tokens():
    return measures.token_world(6)


def test_the_world_is_that_of_evaluate(tokens):
    """Tokens, captions and states belong together; most images survive their tokens."""
    for name, examples in tokens.examples.items():
        scenes = evaluated_scenes(name, Evaluation(prompts=6))
        assert examples.captions == scenes.captions
        assert_close(examples.text, tokens.encoder(scenes.captions))
        assert (tokens.decode(examples.x) - scenes.images).abs().mean() < 0.03
        assert tokens.right(examples.x, examples)["right"] >= 5
        assert tokens.right(examples.x.roll(1, 0), examples)["right"] <= 2
    found = tokens.right(examples.x, examples)
    assert list(found) == ["right", "total", "share", "unreadable", "by_attribute"]
    assert found["share"] == round(found["right"] / 6, 4)
    assert (found["total"], found["unreadable"]) == (6, 0)
    assert set(found["by_attribute"]) == {
        *("count", "colour", "shape", "size", "relation", "background")
    }
    assert all(0.5 < share <= 1 for share in found["by_attribute"].values())
    described = json.loads(json.dumps(tokens.describe()))
    assert described["uniform guess"] == round(math.log2(384), 4)
    assert described["num_positions"] == 64
    assert described["round trip"]["seen"]["total"] == 6


def test_rows_that_show_their_sentence_are_those_that_count_as_right(tokens):
    """One by one, with some captions that belong to others."""
    examples = tokens.examples["seen"]
    captions = [*examples.captions[:3], *examples.captions[:2], examples.captions[5]]
    mixed = Examples(examples.x, captions, examples.text)
    found = tokens.shows(mixed.x, mixed)
    alone = [
        tokens.right(mixed.x[i : i + 1], Examples(mixed.x[:1], [caption], mixed.text[:1]))["right"]
        for i, caption in enumerate(captions)
    ]
    assert found.long().tolist() == alone
    assert 0 < sum(alone) < 6


def test_pictures_are_decoded_in_their_order(tokens, monkeypatch):
    expected = tokens.decode(tokens.examples["seen"].x)
    monkeypatch.setattr(world, "AT_ONCE", 4)
    assert_close(tokens.decode(tokens.examples["seen"].x), expected, atol=1e-5, rtol=0)
    assert 0 <= expected.min() <= expected.max() <= 1


def test_names_say_what_is_measured_of_whom():
    names = measures.names()
    letters, drawn = len(CAPTIONS), 2 * len(COSTS) * len(LENGTHS)
    assert len(set(names)) == len(names) == 3 * (10 + 7 + 7 + 7 + 2 + 2) + letters + drawn
    assert tuple(names[-letters - drawn : -drawn]) == CAPTIONS
    costs = [name.split("/") for name in names[-drawn:]]
    on = {measure: [int(n) for each, _, n in costs if each == measure] for measure, *_ in costs}
    assert list(on) == ["cost", "cuda-cost"]
    for lengths in on.values():
        assert lengths == [n for n in (16, 64, 256, 1024) for _ in COSTS]
    trained = [name.split("/") for name in names[: -letters - drawn]]
    assert [int(seed) for *_, seed in trained] == sorted(int(seed) for *_, seed in trained)
    assert {name for _, name, _ in trained} == set(ALL)
    assert "directions/nearest-neighbour/0" not in names
    assert "directions/causal/0" in names
    assert "cost/diffusion 25 guided/1024" in names
