"""Every autoregressive network on the same data: what is measured, the file, the plots."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate

from vqlearn.data.batches import Scenes
from vqlearn.data.rgb import to_images
from vqlearn.evaluation.counting import grid_bits
from vqlearn.evaluation.image_entropy import image_bits
from vqlearn.evaluation.prompts import Evaluation, evaluated_scenes
from vqlearn.experiments import data as sequence_data
from vqlearn.experiments import tokens
from vqlearn.experiments.autoregressive import token_runs
from vqlearn.experiments.autoregressive.runs import RUNS
from vqlearn.experiments.autoregressive.study import STUDY, to_rgb
from vqlearn.experiments.data import Budget
from vqlearn.experiments.sequences import AutoregressiveRun
from vqlearn.experiments.tokens import tokens_from_text
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.model import PLAIN, Sampling
from vqlearn.probability.random import random_stream
from vqlearn.training.recipes import Recipe

TINY = Budget(
    Recipe(steps=1, batch_size=4, learning_rate=1e-6, ema_decay=0.9, warmup_steps=1),
    test_rows=6,
    samples=6,
)
TINY_STUDY = replace(STUDY, runs=[replace(run, budget=TINY) for run in RUNS])
CODES = {"digits": 17, "rgb": 256, "tokens": 384}


@pytest.fixture(scope="module")
def few_counted():
    """20,000 images for the baselines would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence_data, "COUNTED", 60)
        patch.setattr(token_runs, "COUNTED", 60)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, few_counted):
    """The whole command with one step of training: half a minute."""
    folder = tmp_path_factory.mktemp("autoregressive") / "figures"
    forget_accelerate()  # other tests may have left a precision
    TINY_STUDY.run(folder)
    forget_accelerate()
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return TINY_STUDY.read(folder)


def test_the_report_holds_every_run_and_all_data(report):
    assert list(report.runs) == [run.id for run in RUNS]
    assert list(report.data) == list(CODES)
    assert TINY_STUDY.missing(report) == []
    for run in TINY_STUDY.runs:
        found = report.runs[run.id].result
        if isinstance(run, AutoregressiveRun):
            assert found.sampling_seconds > 0
        else:
            assert found.plain.seconds > 0


def test_a_network_that_knows_nothing_costs_a_uniform_guess(report):
    """Exact bits of fresh scores: near to log K. PixelCNN++ has fresh means and scales instead.

    The gated PixelCNN begins with live features, so its fresh scores differ more.
    """
    for run in TINY_STUDY.runs:
        if run.name != "pixelcnn++" and "imagebart" not in run.name:
            bits, near = report.runs[run.id].result.bits.mean, 0.15 if "gated" in run.name else 0.06
            assert bits == pytest.approx(math.log2(CODES[run.data]), rel=near), run.id


def test_the_bound_of_an_imagebart_pays_for_every_scale(report):
    for run in TINY_STUDY.runs:
        if "imagebart" in run.name:
            guess, scales = math.log2(CODES[run.data]), int(run.name[-1])
            assert guess < report.runs[run.id].result.bits.mean < scales * guess * 1.2


def test_networks_of_one_data_set_have_about_as_many_weights(report):
    for data in CODES:
        weights = [report.runs[run.id].result.weights for run in RUNS if run.data == data]
        assert max(weights) < 1.2 * min(weights)


def test_the_data_say_what_guessing_costs(report):
    for data, codes in CODES.items():
        facts = report.data[data]
        uniform, by_position, by_neighbours = facts.baselines.values()
        assert facts.num_codes == codes
        assert uniform == round(math.log2(codes), 4)
        assert by_neighbours < by_position < uniform
    assert report.data["rgb"].floor == round(image_bits("seen") / 192, 4)


def test_pixels_are_measured_and_shown_as_they_are(report):
    data = STUDY.data["rgb"](TINY)
    assert data.test.shape == (6, 192)
    shown = data.samples(data.test).shown
    assert shown == report.data["rgb"].samples.shown
    assert torch.equal(to_rgb(shown), to_images(data.test))
    batch = data.rows(3, generator=torch.Generator().manual_seed(0))
    assert not (batch[:, None] == data.test[None]).all(dim=2).any()


def test_tokens_are_those_of_the_shipped_images(report, few_counted):
    data = STUDY.data["tokens"](TINY)
    assert torch.equal(data.test, tokens_from_text(report.data["tokens"].samples.shown))
    counted = data.encode(data.scenes("counted", 60).images)
    found = report.data["tokens"].baselines["by position"]
    assert found == round(grid_bits(counted, data.test, 384, neighbours=False), 4)
    true = Scenes(32, "seen").batch(6, generator=random_stream("raster", "tokens", "test"))
    assert (data.decode(data.test) - true.images).abs().mean() < 0.03
    assert true.captions == data.examples.captions


def test_a_run_measured_again_is_the_same(report):
    (run,) = (run for run in TINY_STUDY.runs if run.id == "digits/gated-pixelcnn-live-fan-in")
    again, stored = run.measure(STUDY.data["digits"](TINY)), report.runs[run.id].result
    seconds = {"training_seconds": 0, "sampling_seconds": 0.0}
    assert replace(again, **seconds) == replace(stored, **seconds)


class Scripted:
    """A model that notes which prompts it got and how it was sampled."""

    def __init__(self, tokens):
        self.tokens, self.conditions, self.ways, self.done = tokens, [], [], 0

    def sample(self, count, condition, *, sampling, generator):
        self.conditions.append(condition)
        self.ways.append(sampling)
        self.done += count
        return self.tokens[self.done - count : self.done]


@pytest.mark.parametrize("sampling", [PLAIN, token_runs.GUIDED])
def test_prompts_are_read_and_their_images_are_counted(few_counted, sampling):
    """A model that knows the scenes gets nearly all prompts right: what the tokens can hold."""
    data = STUDY.data["tokens"](TINY)
    prompts = {each: data.evaluated(each, 8) for each in ("seen", "held_out")}
    model = Scripted(torch.cat([each.x for each in prompts.values()]))
    null = torch.zeros(1, *data.encoder(["a ring"]).shape[1:])
    found = token_runs.sample_for_prompts(tokens.Trained(model, null, 0), data, prompts, sampling)
    assert [each.total for each in found.by_composition.values()] == [8, 8]
    assert sum(each.right for each in found.by_composition.values()) >= 14
    assert torch.equal(tokens_from_text(found.shown), model.tokens[:8])
    for condition, composition in zip(model.conditions, prompts, strict=True):
        scenes = evaluated_scenes(composition, Evaluation(prompts=8))
        assert torch.equal(condition.text, data.encoder(scenes.captions))
        assert condition.null is null
    assert model.ways == 2 * [sampling]
    assert Sampling(Evaluation().guidance_scale, Evaluation().truncation_rate) == token_runs.GUIDED


def test_the_test_sequences_are_measured_given_their_own_captions(few_counted, monkeypatch):
    """Parts of 4: nats of every sequence, in order, each after its own caption."""
    monkeypatch.setattr(tokens, "AT_ONCE", 4)
    data = STUDY.data["tokens"](TINY)

    class Sums:
        def nll(self, x, condition, *, generator):
            return x.sum(dim=1) + condition.text.sum(dim=(1, 2))

    found = tokens.Trained(Sums(), torch.zeros(1, 1, 1), 0).nll(data.examples, torch.Generator())
    text = data.encoder(data.examples.captions)
    torch.testing.assert_close(found, data.test.sum(dim=1) + text.sum(dim=(1, 2)))


def test_runs_with_another_budget_are_measured_again(report):
    runs = [run for run in TINY_STUDY.runs if run.data == "digits"]
    others = [replace(run, budget=replace(TINY, samples=7)) for run in runs]
    assert TINY_STUDY.missing(report, others) == [run.id for run in runs]


def test_the_plots_are_made(folder):
    for name in ("bits", "samples", "scenes"):
        with Image.open(folder / f"autoregressive_{name}.png") as image:
            assert min(image.size) > 600


def test_the_stored_runs_lie_between_the_floor_and_a_uniform_guess(stored_folder):
    report = STUDY.read(stored_folder)
    assert list(report.runs) == [run.id for run in RUNS]
    for run in RUNS:
        facts, bits = report.data[run.data], report.runs[run.id].result.bits.mean
        assert (facts.floor or 0) < bits < facts.baselines["uniform guess"]


def test_the_loss_of_pixels_is_what_is_reported():
    """Bits of the untrained network, worked out here."""
    data = STUDY.data["digits"](TINY)
    (run,) = (run for run in TINY_STUDY.runs if run.id == "digits/pixelcnn")
    network = run.build(data)
    with torch.no_grad():
        distributions = log_normalise(network(data.test))
    nll = -distributions.gather(-1, data.test[..., None]).sum(dim=(1, 2))
    found = network.nll(data.test)
    torch.testing.assert_close(found, nll)
    bits = float(nll.mean()) / 64 / math.log(2)
    assert data.bits(nll.detach())["bits"].mean == pytest.approx(bits, abs=1e-4)
