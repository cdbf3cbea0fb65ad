"""Quality of a system: against players whose answers are known."""

import math

import torch
from support.face_off_fakes import CODES, COUNT, TRUTH, FakeData, FakePlayer, N, all_of, trained

from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import absorbing, build_schedule
from vqlearn.experiments.face_off import quality
from vqlearn.experiments.face_off.inpainting import WAY
from vqlearn.experiments.face_off.players import DiffusionPlayer, Drawing, RasterPlayer
from vqlearn.experiments.face_off.quality import QualityRun, SampledAccuracy
from vqlearn.experiments.face_off.system_run import SEEDS
from vqlearn.experiments.tokens import tokens_from_text
from vqlearn.probability.estimates import Bits
from vqlearn.training.recipes import NUM_TIMESTEPS


def measure(player, ways):
    return quality.measure_quality(trained(player), FakeData(), ways)


def test_quality_of_a_player_whose_answers_are_known(monkeypatch):
    monkeypatch.setattr(quality, "AT_ONCE", 3)
    monkeypatch.setattr(quality, "SHOWN", 2)

    def answer(truth, drawing):
        drawn = truth.clone()
        if drawing.guidance == 1:
            drawn[0, 0] = (drawn[0, 0] + 1) % CODES  # the first of each part of 3, 3, 2
        return drawn

    player = FakePlayer(answer)
    ways = [Drawing(), Drawing(1.5, 0.9, 25), Drawing(1.5, 0.9, 5)]
    found = measure(player, ways)
    nll = torch.arange(8).double()  # no token differs, so it is the number of the sequence
    mean, error = nll.mean() / N / math.log(2), nll.std() / N / math.log(2) / 8**0.5
    assert found.weights == 7
    for composition, truth in (("seen", TRUTH), ("held_out", TRUTH.flip(0))):
        part = found.by_composition[composition]
        assert part.bits_per_token == (round(float(mean), 4), round(float(error), 4))
        right = [(way.guided, way.accuracy) for way in part.sampled]
        assert right == [(False, all_of(COUNT, 5)), (True, all_of(COUNT)), (True, all_of(COUNT))]
        assert torch.equal(tokens_from_text(part.shown), truth[:2])
    numbers = torch.tensor(player.numbers).view(2, 3, 3)
    assert (numbers == numbers[:, :1]).all()  # all ways begin with the same random numbers
    assert len(set(player.numbers)) == 6


def test_only_what_is_guided_with_the_usual_steps_is_shown():
    player = FakePlayer(lambda truth, drawing: (truth + drawing.calls) % CODES)
    usual = Drawing(1.5, 0.9, 25)
    for ways, is_shown in (
        ([Drawing()], False),
        ([Drawing(1.5, 0.9, 50)], False),
        ([Drawing(1.5, 0.9, 50), usual, Drawing()], True),
    ):
        for part in measure(player, ways).by_composition.values():
            assert (part.shown is not None) == is_shown
    shown = tokens_from_text(measure(player, [usual]).by_composition["seen"].shown)
    assert torch.equal(shown, (TRUTH[:6] + 25) % CODES)


def test_a_share_is_found_by_its_way():
    way = SampledAccuracy(True, all_of(4, 1), 25)
    raster = SampledAccuracy(False, all_of(4, 3))
    found = quality.CompositionQuality(Bits(1.0, 0.0), (way, raster))
    assert found.share(guided=True, steps=25) == 0.25
    assert found.share(guided=True, steps=5) is None
    assert found.share(guided=False, steps=5) == 0.75


def test_only_a_diffusion_is_sampled_with_fewer_steps():
    network = RasterTransformer(RasterTransformerConfig(3, 4, 3, 2, 8, 1, 2))
    process = MaskAndReplace(build_schedule(absorbing(3, 4)))
    diffusion = DiffusionPlayer(network, process)
    for steps in ((25,), quality.CALLS, ()):
        for player in (RasterPlayer(network), FakePlayer()):
            ways = [Drawing(1.0, 1.0, 25), Drawing(1.5, 0.9, 25)]
            assert quality.ways_to_sample(player, steps, guided=True) == ways
            assert quality.ways_to_sample(player, steps, guided=False) == ways[:1]
        plain = [Drawing(1.0, 1.0, count) for count in steps]
        guided = [Drawing(1.5, 0.9, count) for count in steps]
        assert quality.ways_to_sample(diffusion, steps, guided=True) == plain + guided
        assert quality.ways_to_sample(diffusion, steps, guided=False) == plain


def test_the_steps_of_each_system():
    """The first seed tells how steps matter; a direct prediction cannot skip a level."""
    for seed in SEEDS:
        assert list(QualityRun("direct", seed).steps()) == [100]
        for name in ("causal", "no-auxiliary"):  # as the direct prediction, and as the others
            assert list(QualityRun(name, seed).steps()) == [100, 25]
        for name in ("vq-diffusion", "absorbing", "raster"):
            steps = [100, 50, 25, 10, 5] if seed == 0 else [25]
            assert list(QualityRun(name, seed).steps()) == steps


def test_every_way_to_sample_fits_into_the_levels():
    assert max(quality.CALLS) <= NUM_TIMESTEPS
    assert Drawing(1.5, 0.9, 25) == WAY
