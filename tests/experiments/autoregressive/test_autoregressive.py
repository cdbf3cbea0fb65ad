"""Every autoregressive network on the same data: what is measured, the file, the images."""

import json
import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate

from vqlearn.autoregressive import decoding
from vqlearn.data.rgb import to_images
from vqlearn.evaluation.counting import grid_bits
from vqlearn.evaluation.image_entropy import image_bits
from vqlearn.evaluation.prompts import Evaluation, evaluated_scenes
from vqlearn.experiments.autoregressive import (
    data as raster_worlds,
)
from vqlearn.experiments.autoregressive import (
    plots as raster_pictures,
)
from vqlearn.experiments.autoregressive import (
    runs as raster,
)
from vqlearn.experiments.autoregressive import (
    sequence_runs as raster_rows,
)
from vqlearn.experiments.autoregressive import (
    token_runs as raster_tokens,
)
from vqlearn.experiments.autoregressive.data import Budget
from vqlearn.experiments.autoregressive.runs import RUNS, WORLDS
from vqlearn.experiments.runner import world_of
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.model import PLAIN, Sampling
from vqlearn.training.recipes import Recipe
from vqlearn.training.rows import autoregressive_nats

FIGURES = Path(__file__).parents[3] / "figures"
TINY = Budget(
    Recipe(steps=1, batch_size=4, learning_rate=1e-6, ema_decay=0.9, warmup_steps=1),
    test_rows=6,
    samples=6,
)
ALL_TINY = dict.fromkeys(WORLDS, TINY)
CODES = {"digits": 17, "rgb": 256, "tokens": 384}


@pytest.fixture(scope="module")
def few_counted():
    """20,000 images for the baselines would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raster_worlds, "COUNTED", 60)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, few_counted):
    """The whole command with one step of training: half a minute."""
    folder = tmp_path_factory.mktemp("raster")
    forget_accelerate()  # other tests may have left a precision
    raster.main(folder, budgets=ALL_TINY)
    forget_accelerate()
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return json.loads((folder / raster.NAME).read_text())


def test_the_report_holds_every_run_with_its_settings(report):
    assert report["command"] == raster.COMMAND
    assert list(report["runs"]) == list(RUNS)
    assert list(report["worlds"]) == list(WORLDS)
    for name, run in report["runs"].items():
        settings = run["settings"]
        assert settings["recipe"]["steps"] == 1
        assert "save_every" not in settings["recipe"]
        assert (settings["test_rows"], settings["samples"]) == (6, 6)
        what = RUNS[name].train if "stage" in settings else RUNS[name].network
        assert what.id in settings.values()
        assert run["seconds"]["drawing"] > 0
        assert "cores" in run["machine"]


def test_a_network_that_knows_nothing_costs_a_uniform_guess(report):
    """Exact bits of fresh scores: near to log K. PixelCNN++ has fresh means and scales instead."""
    for name, run in report["runs"].items():
        world, network = name.split("/")
        if network != "pixelcnn++" and "imagebart" not in network:
            assert run["bits"]["mean"] == pytest.approx(math.log2(CODES[world]), rel=0.06), name


def test_the_bound_of_an_imagebart_pays_for_every_scale(report):
    for name, run in report["runs"].items():
        if "imagebart" in name:
            guess = math.log2(CODES[world_of(name)])
            scales = int(name[-1])
            assert guess < run["bits"]["mean"] < scales * guess * 1.2


def test_networks_of_one_world_have_about_as_many_weights(report):
    for world in WORLDS:
        weights = [
            run["weights"] for name, run in report["runs"].items() if world_of(name) == world
        ]
        assert max(weights) < 1.2 * min(weights)


def test_the_worlds_say_what_guessing_costs(report):
    for world, codes in CODES.items():
        known = report["worlds"][world]
        uniform, by_position, by_neighbours = known["yardsticks"].values()
        assert known["num_codes"] == codes
        assert uniform == round(math.log2(codes), 4)
        assert by_neighbours < by_position < uniform
    assert report["worlds"]["rgb"]["floor"] == round(image_bits("seen") / 192, 4)


def test_pixels_are_measured_and_shown_as_they_are(report):
    world = WORLDS["rgb"](TINY)
    assert world.test.shape == (6, 192)
    shown = world.samples(world.test)["shown"]
    assert shown == report["worlds"]["rgb"]["samples"]["shown"]
    images = raster_pictures.to_rgb(shown)
    assert torch.equal(torch.from_numpy(images), to_images(world.test).movedim(1, -1))
    batch = world.rows(3, generator=torch.Generator().manual_seed(0))
    assert not (batch[:, None] == world.test[None]).all(dim=2).any()


def test_tokens_are_those_of_the_shipped_pictures(report, few_counted):
    world = WORLDS["tokens"](TINY)
    assert world.test.tolist() == report["worlds"]["tokens"]["samples"]["shown"]
    counted, _ = world._tokens("counted", 60)
    found = report["worlds"]["tokens"]["yardsticks"]["by place"]
    assert found == round(grid_bits(counted, world.test, 384, neighbours=False), 4)
    images = world.decode(world.test)
    true = world.source.batch(6, generator=raster_worlds.random_stream("raster", "tokens", "test"))
    assert (images - true.images).abs().mean() < 0.03
    assert true.captions == world.captions


def test_a_run_measured_again_is_the_same(report):
    name = "digits/gated-pixelcnn"
    again = json.loads(json.dumps(RUNS[name].measure(name, WORLDS["digits"](TINY), TINY)))
    for each in (again, run := dict(report["runs"][name])):
        del each["seconds"]
    assert again == run


def test_rows_are_drawn_from_the_distributions_of_the_network():
    """They follow the exact distribution of a small network: 5 sigma of 2,000
    rows."""
    config = raster.RasterTransformerConfig(2, 3, None, 0, 8, 1, 2)
    torch.manual_seed(0)
    network = raster.RasterTransformer(config)
    torch.nn.init.normal_(network.to_logits.weight)
    distribution = decoding.exact_distribution(decoding.without_cache(network.log_probs, 3), 2, 3)
    assert distribution.max() > 2 * distribution.min()
    drawn = raster_rows.drawn(network, 2000, torch.Generator().manual_seed(0))
    counts = (drawn * torch.tensor([4, 2, 1])).sum(dim=1).bincount(minlength=8) / 2000
    sigma = (distribution * (1 - distribution) / 2000).sqrt()
    assert ((counts - distribution).abs() < 5 * sigma).all()


class Scripted:
    """A model that notes which captions it got and how it was sampled."""

    def __init__(self):
        self.conditions, self.ways, self.done = [], [], 0

    def sample(self, count, condition, *, sampling, generator):
        self.conditions.append(condition)
        self.ways.append(sampling)
        self.done += count
        return self.tokens[self.done - count : self.done]


@pytest.mark.parametrize("guided", [False, True])
def test_sentences_are_heard_and_their_pictures_are_read(few_counted, guided):
    """A writer that knows the scenes gets nearly all captions right: what the tokens can hold."""
    world = WORLDS["tokens"](TINY)
    writer = Scripted()
    null = torch.zeros(1, *world.encoder(["a ring"]).shape[1:]) if guided else None
    images, captions = [], []
    for composition in ("seen", "held_out"):
        asked = evaluated_scenes(composition, replace(Evaluation(), prompts=8))
        images.append(asked.images)
        captions += asked.captions
    with torch.no_grad():
        writer.tokens = world.vqvae.encode(torch.cat(images))
    found = raster_tokens.write_for_sentences(writer, world, 8, null=null)
    assert found["seen"]["total"] == found["held_out"]["total"] == 8
    assert found["seen"]["right"] + found["held_out"]["right"] >= 14
    assert found["shown"] == writer.tokens[:8].tolist()
    expected = [world.encoder(captions[:8]), world.encoder(captions[8:])]
    for condition, text in zip(writer.conditions, expected, strict=True):
        assert torch.equal(condition.text, text)
        assert condition.null is null
    how = Sampling(Evaluation().guidance_scale, Evaluation().truncation_rate)
    assert writer.ways == 2 * [how if guided else PLAIN]


def test_the_test_rows_are_heard_with_their_own_captions(few_counted, monkeypatch):
    """Parts of 4: nats of every row, in order, each after its own caption."""
    monkeypatch.setattr(raster_tokens, "AT_ONCE", 4)
    world = WORLDS["tokens"](TINY)

    class Sums:
        def nll(self, x, condition, *, generator):
            return x.sum(dim=1) + condition.text.sum(dim=(1, 2))

    found = raster_tokens.nats_of_tests(Sums(), world, torch.Generator())
    text = world.encoder(world.captions)
    torch.testing.assert_close(found, world.test.sum(dim=1) + text.sum(dim=(1, 2)))


def test_a_finished_command_does_nothing(folder, monkeypatch):
    before = (folder / raster.NAME).read_text()
    monkeypatch.setattr(raster_rows.RowRun, "measure", None)
    raster.main(folder, budgets=ALL_TINY)
    assert (folder / raster.NAME).read_text() == before


def test_runs_with_other_settings_are_measured_again(report):
    other = raster.experiment(ALL_TINY | {"digits": replace(TINY, test_rows=7)})
    assert other.missing(report) == [name for name in RUNS if name.startswith("digits")]


def test_the_command_refuses_runs_that_it_does_not_know(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["raster", "--only", "captions/pixelcnn"])
    with pytest.raises(SystemExit):
        runpy.run_path(raster.__file__, run_name="__main__")
    assert "captions/pixelcnn" in capsys.readouterr().err


def test_the_pictures_are_drawn(folder):
    for name in ("raster_bits.png", "raster_samples.png", "raster_scenes.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 600


@pytest.fixture(scope="module")
def stored():
    return json.loads((FIGURES / raster.NAME).read_text())


def test_the_stored_runs_are_those_of_the_command(stored):
    assert list(stored["runs"]) == list(RUNS)
    for name in ("raster_bits.png", "raster_samples.png", "raster_scenes.png"):
        assert (FIGURES / name).exists()


@pytest.mark.parametrize("name", list(RUNS))
def test_a_stored_run_lies_between_the_floor_and_a_uniform_guess(name, stored):
    world, bits = stored["worlds"][world_of(name)], stored["runs"][name]["bits"]["mean"]
    assert world.get("floor", 0) < bits < world["yardsticks"]["uniform guess"]


def test_the_loss_of_pixels_is_what_is_reported():
    """Bits of the untrained network, worked out here."""
    world = WORLDS["digits"](TINY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RUNS["digits/pixelcnn"].build(world)
    with torch.no_grad():
        distributions = log_normalise(network(world.test))
    nats = -distributions.gather(-1, world.test[..., None]).sum(dim=(1, 2))
    found = autoregressive_nats(network, world.test, torch.Generator())
    torch.testing.assert_close(found, nats)
    bits = float(nats.mean()) / 64 / math.log(2)
    assert world.bits(nats.detach())["bits"]["mean"] == pytest.approx(bits, abs=1e-4)
