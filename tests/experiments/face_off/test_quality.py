"""Quality of a system: against models whose answers are known."""

import math

import torch
from support.face_off_fakes import (
    CODES,
    COUNT,
    TRUTH,
    FakeModel,
    N,
    all_of,
    measure,
    trained,
)

from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.experiments.face_off import quality
from vqlearn.experiments.face_off.quality import GUIDED, QualityRun, SampledAccuracy
from vqlearn.experiments.face_off.training import SEEDS
from vqlearn.experiments.tokens import tokens_from_text
from vqlearn.probability.estimates import Bits
from vqlearn.probability.model import PLAIN, Sampling
from vqlearn.training.sizes import NUM_TIMESTEPS


def quality_of(model, system="absorbing"):
    return measure(QualityRun(system, 0), model)


def test_quality_of_a_model_whose_answers_are_known():
    def answer(truth, sampling):
        sampled = truth.clone()
        if not sampling.is_guided:
            sampled[:3, 0] = (sampled[:3, 0] + 1) % CODES
        return sampled

    model = FakeModel(answer)
    found = quality_of(model)
    nll = torch.arange(8).double()  # no token differs, so it is the number of the sequence
    mean, error = nll.mean() / N / math.log(2), nll.std() / N / math.log(2) / 8**0.5
    assert found.weights == 7
    for composition, truth in (("seen", TRUTH), ("held_out", TRUTH.flip(0))):
        part = found.by_composition[composition]
        assert part.bits_per_token == (round(float(mean), 4), round(float(error), 4))
        right = [(way.guided, way.accuracy) for way in part.sampled]
        assert right == [(False, all_of(COUNT, 5))] * 5 + [(True, all_of(COUNT))] * 5
        assert [way.steps for way in part.sampled] == [*quality.CALLS, *quality.CALLS]
        assert torch.equal(tokens_from_text(part.shown), truth[:6])
    assert len(set(model.numbers)) == 2  # all ways begin with the same random numbers


def test_only_what_is_guided_with_the_usual_steps_is_shown(monkeypatch):
    model = FakeModel(lambda truth, sampling: (truth + sampling.num_inference_steps) % CODES)
    shown = tokens_from_text(quality_of(model).by_composition["seen"].shown)
    assert torch.equal(shown, (TRUTH[:6] + 25) % CODES)
    for steps, system in (((50, 5), "absorbing"), (quality.CALLS, "direct")):  # or never guided
        monkeypatch.setattr(quality, "CALLS", steps)
        for part in quality_of(model, system).by_composition.values():
            assert part.shown is None


def test_an_accuracy_is_found_by_its_way():
    way = SampledAccuracy(True, all_of(4, 1), 25)
    raster = SampledAccuracy(False, all_of(4, 3))
    found = quality.CompositionQuality(Bits(1.0, 0.0), (way, raster))
    assert found.accuracy(guided=True, steps=25) == all_of(4, 1)
    assert found.accuracy(guided=True, steps=5) is None
    assert found.accuracy(guided=False, steps=5) == all_of(4, 3)


def test_only_a_diffusion_is_sampled_with_fewer_steps():
    for run in (QualityRun("absorbing", 0), QualityRun("absorbing", 1), QualityRun("direct", 0)):
        guided = [Sampling(1.5, 0.9, count) for count in run.steps()]
        plain = [Sampling(num_inference_steps=count) for count in run.steps()]
        guided = [] if run.system == "direct" else guided
        assert run.ways(trained(FakeModel())) == plain + guided
        network = RasterTransformer(RasterTransformerConfig(3, 4, 3, 2, 8, 1, 2))
        found = QualityRun("raster", run.seed).ways(trained(network))
        assert found == [PLAIN, Sampling(1.5, 0.9)]


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
    assert Sampling(1.5, 0.9, 25) == GUIDED
