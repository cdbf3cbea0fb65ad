"""Every kernel on the same data: what is measured, how a stopped command goes on, the file."""

import json
import math
import runpy
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image

from vqlearn.data.characters import ALPHABET, END, LENGTH, caption_rows, decode, encode, is_real
from vqlearn.data.digits import binarised, digits
from vqlearn.data.scenes.captions import parse
from vqlearn.diffusion.exact.examples import one_token
from vqlearn.diffusion.kernels import linear, neighbour_rates
from vqlearn.diffusion.kernels import uniform as uniform_kernel
from vqlearn.diffusion.objective import prior_term
from vqlearn.evaluation.caption_entropy import CaptionDistribution
from vqlearn.experiments import runner as resumable
from vqlearn.experiments.kernels import (
    data as family_worlds,
)
from vqlearn.experiments.kernels import (
    plots as family_pictures,
)
from vqlearn.experiments.kernels import (
    runs as family,
)
from vqlearn.experiments.kernels.data import BUDGETS, WORLDS, Budget
from vqlearn.experiments.kernels.runs import RUNS
from vqlearn.experiments.runner import Experiment, claimed, lock_for, world_of
from vqlearn.probability.estimates import bits_per_token
from vqlearn.training.recipes import Recipe

FIGURES = Path(__file__).parents[3] / "figures"
TINY = Budget(
    Recipe(steps=2, batch_size=4, learning_rate=1e-6, ema_decay=0.9, warmup_steps=1),
    num_timesteps=5,
    width=8,
    num_layers=1,
    num_heads=2,
    test_rows=6,
    samples=5,
)
ALL_TINY = dict.fromkeys(WORLDS, TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The whole command at the smallest size: it takes two seconds."""
    folder = tmp_path_factory.mktemp("family")
    family.main(folder, budgets=ALL_TINY)
    return folder


@pytest.fixture(scope="module")
def report(folder):
    return json.loads((folder / family.NAME).read_text())


def captions_of(count):
    return caption_rows(count, generator=torch.Generator().manual_seed(0), composition="seen")


def test_the_report_holds_every_run_with_its_settings(report):
    assert report["command"] == family.COMMAND
    assert list(report["runs"]) == list(RUNS)
    assert list(report["worlds"]) == list(WORLDS)
    for name, run in report["runs"].items():
        settings = run["settings"]
        assert settings["kernel"] == RUNS[name].kernel.id
        assert settings["network"] == RUNS[name].network.id
        recipe = asdict(TINY.recipe)
        assert settings["recipe"] == {key: recipe[key] for key in recipe if key != "save_every"}
        for key in ("num_timesteps", "width", "num_layers", "num_heads", "test_rows", "samples"):
            assert settings[key] == getattr(TINY, key)


def test_the_networks_differ_only_in_what_they_read_and_predict(report):
    """10 weights of width 8 for each more class that is read, 9 for each more that is predicted."""
    weights = {name: run["weights"] for name, run in report["runs"].items()}
    assert weights["digits/uniform"] == weights["digits/gaussian"]
    assert weights["digits/absorbing"] - weights["digits/uniform"] == 8
    assert weights["digits/gaussian"] - weights["digits/gaussian-logistic"] == 9 * (17 - 2)
    assert weights["captions/absorbing"] - weights["digits/absorbing"] == 8 * (31 + 8) + 9 * 8


def test_a_network_that_knows_nothing_costs_a_uniform_guess(report):
    """Of masks alone; five standard errors of the number of masks that happened to be drawn."""
    for world, classes in (("captions", 25), ("digits", 17), ("binary", 2)):
        run = report["runs"][f"{world}/absorbing"]
        part = run["bits_per_position"] if world == "captions" else run["bits"]
        assert abs(part["mean"] - math.log2(classes)) < 5 * part["standard_error"]
        assert part["standard_error"] < 0.3 * part["mean"]


def test_no_bound_is_below_the_floor(report):
    for name, run in report["runs"].items():
        if name.startswith("captions"):
            assert run["above_floor"]["mean"] > 0
            assert run["bits"]["mean"] > report["worlds"]["captions"]["floor"]
    assert report["worlds"]["captions"]["floor"] == round(
        CaptionDistribution("seen").bits().per_character, 4
    )


def test_the_three_units_of_captions_are_one_cost(report):
    rows = WORLDS["captions"](TINY).test
    real = float(is_real(rows).sum())
    floor = report["worlds"]["captions"]["floor_on_test_rows"]
    for name, run in report["runs"].items():
        if name.startswith("captions"):
            per_row = run["bits"]["mean"] * real / len(rows)
            assert run["bits_per_position"]["mean"] == pytest.approx(per_row / LENGTH, rel=1e-3)
            assert run["above_floor"]["mean"] == pytest.approx(
                run["bits"]["mean"] - floor, abs=2e-4
            )


def test_the_test_rows_cost_the_distribution_what_it_says(report):
    """Their own negative log-likelihood, caption by caption; over many captions it comes near to
    the entropy."""
    distribution = CaptionDistribution("seen")
    captions = decode(WORLDS["captions"](TINY).test)
    bits = -sum(distribution.log_probability(caption) for caption in captions) / math.log(2)
    per_character = bits / sum(len(caption) + 1 for caption in captions)
    stored = report["worlds"]["captions"]["floor_on_test_rows"]
    assert stored == pytest.approx(per_character, abs=1e-4)
    many = WORLDS["captions"](replace(TINY, test_rows=400))
    cost = many.bits(torch.zeros(400))["above_floor"]["mean"]
    assert -cost == pytest.approx(distribution.bits().per_character, rel=0.05)


def test_the_baselines_lie_in_their_order(report):
    for world, classes in (("captions", 25), ("digits", 17), ("binary", 2)):
        bits = list(report["worlds"][world]["yardsticks"].values())
        assert bits[0] == round(math.log2(classes), 4)
        assert bits == sorted(bits, reverse=True)
        assert bits[-1] > report["worlds"][world].get("floor", 0)


def test_the_baselines_count_as_many_captions_as_a_network_sees():
    world = WORLDS["captions"](TINY)
    assert len(world.counted) == TINY.recipe.steps * TINY.recipe.batch_size
    assert not (world.counted[:6] == world.test).all()


def test_samples_are_counted_and_shown(report):
    distribution = CaptionDistribution("seen")
    for name, run in report["runs"].items():
        shown = run["samples"]["shown"]
        if name.startswith("captions"):
            assert len(shown) == TINY.samples
            parts = (run["samples"]["parsed"], run["samples"]["possible"])
            assert [part["total"] for part in parts] == [TINY.samples] * 2
            assert parts[1]["right"] == sum(distribution.probability(text) > 0 for text in shown)
        else:
            classes = report["worlds"][name.partition("/")[0]]["num_codes"]
            assert len(shown) == family_worlds.SHOWN
            assert {len(text) for text in shown} == {64}
            assert set("".join(shown)) <= set(family_worlds.LEVELS[:classes])


def test_the_data_would_be_accepted():
    world = WORLDS["captions"](TINY)
    samples = world.samples(captions_of(50))
    assert samples["parsed"]["right"] == samples["possible"]["right"] == 50
    assert len(samples["shown"]) == family_worlds.SHOWN
    assert samples["parsed"]["interval_95"] == pytest.approx([0.9287, 1.0], abs=1e-3)


def test_parse_lets_more_pass_than_the_grammar_says():
    world = WORLDS["captions"](TINY)
    rows = encode(["a red circle on white", "a  red circle", "a orange ring", "a rde circle", ""])
    samples = world.samples(rows)
    assert [samples[key]["right"] for key in ("parsed", "possible")] == [3, 1]
    assert parse("a orange ring").count == 1


def test_pictures_are_written_pixel_by_pixel():
    data = digits()
    strings = WORLDS["digits"](TINY).samples(data.test)["shown"]
    images = family_pictures.to_grey(strings, 17) * 16
    assert images.shape == (12, 8, 8)
    assert (images.reshape(12, 64).round() == data.test[:12].numpy()).all()
    flat = family_pictures.side_by_side(images)
    assert (flat[:, 9:17] == images[1]).all()
    assert (flat[:, 8] == 0).all()


def test_worlds_measure_on_held_out_rows():
    for name, data in (("digits", digits()), ("binary", binarised(digits()))):
        world = WORLDS[name](TINY)
        assert world.test.tolist() == data.test[:6].tolist()
        batch = world.rows(20, generator=torch.Generator().manual_seed(0))
        train = {tuple(row) for row in data.train.tolist()}
        assert {tuple(row) for row in batch.tolist()} <= train


def test_a_ratio_of_rows_of_one_length_is_the_mean_per_token():
    nats = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = family_worlds.ratio(nats / math.log(2), torch.full((50,), 7.0).double())
    assert found == pytest.approx(bits_per_token(nats, 7))


def test_the_error_of_a_ratio_is_the_spread_of_ratios():
    """3,000 data sets of 60 rows: within 5 %, where chance alone spreads by 1.3 %."""
    generator = torch.Generator().manual_seed(0)
    size = 20 + 60 * torch.rand(3000, 60, generator=generator, dtype=torch.float64)
    cost = 0.5 * size + 3 * torch.randn(3000, 60, generator=generator, dtype=torch.float64)
    found = [family_worlds.ratio(c, s) for c, s in zip(cost, size, strict=True)]
    spread = float(torch.tensor([bits.mean for bits in found]).std())
    told = sum(bits.standard_error for bits in found) / 3000
    assert told == pytest.approx(spread, rel=0.05)


def test_letters_are_alike_if_they_have_the_same_neighbours():
    """Counted by a loop; and vowels lie near vowels."""
    rows = captions_of(300)
    following = torch.zeros(25, 25, dtype=torch.float64)
    before = torch.zeros(25, 25, dtype=torch.float64)
    for caption in decode(rows):
        letters = [ALPHABET.index(letter) for letter in caption] + [END]
        for first, second in pairwise(letters):
            following[first, second] += 1
            before[second, first] += 1
    counts = torch.cat(
        [part / part.sum(dim=1, keepdim=True).clamp(min=1) for part in (following, before)], dim=1
    )
    found = family.letter_embeddings(rows, 25)
    torch.testing.assert_close(found, counts.sqrt())
    assert following[END].sum() == 0
    vowels = [ALPHABET.index(letter) for letter in "aeiou"]
    near = neighbour_rates(found, 4)[vowels] > 0
    assert near[:, vowels].sum() > 2 * near.sum() * len(vowels) / 25


@pytest.mark.parametrize("name", list(RUNS))
def test_the_kernels_forget_the_data_and_begin_gently(name):
    """At the size of the command: at most 0.002 bits are left at T, and level 1 moves under 5 %."""
    run = RUNS[name]
    kind = world_of(name)
    world, num_timesteps = WORLDS[kind](replace(TINY, test_rows=30)), BUDGETS[kind].num_timesteps
    process = run.kernel(world.num_codes, num_timesteps, **run.options)
    assert process.num_codes == world.num_codes
    assert process.num_timesteps == num_timesteps
    assert float(prior_term(process, world.test).mean()) / math.log(2) < 2e-3
    stay = process.log_marginal(world.test, 1).exp().gather(-1, world.test[..., None])
    assert 0.95 < float(stay.mean()) < 1 - 1e-4


def test_rows_are_drawn_from_the_prior_through_every_level():
    """A single token with its true denoiser comes out with its own distribution: five standard
    errors."""
    process = uniform_kernel(3, 4, alpha_bar=linear)
    told = []

    def denoise(x_t, t):
        told.append((t, x_t.bincount(minlength=3) if x_t.ndim == 1 else x_t[:, 0].bincount()))
        return one_token().denoiser(process)(x_t, t)

    generator = torch.Generator().manual_seed(0)
    rows = family.draw_rows(process, denoise, (20_000, 1), generator=generator)
    assert [t for t, _ in told] == [4, 3, 2, 1]
    for counts, distribution in (
        (told[0][1], [1 / 3] * 3),
        (rows[:, 0].bincount(), [0.7, 0.2, 0.1]),
    ):
        for count, p in zip(counts.tolist(), distribution, strict=True):
            assert abs(count / 20_000 - p) < 5 * (p * (1 - p) / 20_000) ** 0.5


def test_a_run_measured_again_is_the_same(report):
    name = "digits/gaussian-logistic"
    again = family.measure(name, WORLDS["digits"](TINY), TINY)
    assert json.loads(json.dumps(again)) == report["runs"][name]
    other = replace(TINY, recipe=replace(TINY.recipe, seed=1))
    assert family.measure(name, WORLDS["digits"](other), other)["bits"] != again["bits"]


def test_a_finished_command_does_nothing(folder, monkeypatch):
    before = (folder / family.NAME).read_text()
    monkeypatch.setattr(family, "measure", None)
    family.main(folder, budgets=ALL_TINY)
    assert (folder / family.NAME).read_text() == before


class Stopped(Exception):
    """Ctrl-C, or a machine that went down."""


@pytest.fixture
def measured(monkeypatch):
    """A `measure` that costs nothing and is stopped at the third run."""
    names = []

    def measure(name, world, budget):
        if len(names) == 2:
            raise Stopped
        names.append(name)
        bits = {"mean": float(len(names)), "standard_error": 0.0}
        return {"settings": RUNS[name].settings(budget), "bits": bits}

    monkeypatch.setattr(family, "measure", measure)
    return names


def test_a_stopped_command_goes_on_with_the_runs_that_are_missing(tmp_path, measured):
    first, second, third, *_ = RUNS
    with pytest.raises(Stopped):
        family.main(tmp_path, budgets=ALL_TINY)
    assert measured == [first, second]
    stored = json.loads((tmp_path / family.NAME).read_text())["runs"]
    assert list(stored) == [first, second]
    measured[:] = []
    with pytest.raises(Stopped):
        family.main(tmp_path, budgets=ALL_TINY)
    assert measured == [third, list(RUNS)[3]]
    now = json.loads((tmp_path / family.NAME).read_text())["runs"]
    assert [now[name] for name in stored] == list(stored.values())
    assert [file.name for file in tmp_path.iterdir()] == [family.NAME]


def test_runs_with_other_settings_are_measured_again(tmp_path, measured):
    only = ["digits/gaussian"]
    family.main(tmp_path, only, ALL_TINY)
    family.main(tmp_path, only, ALL_TINY)
    assert measured == only
    family.main(tmp_path, only, dict.fromkeys(WORLDS, replace(TINY, width=16)))
    assert measured == only * 2


def test_one_run_can_be_asked_for_and_takes_its_position(tmp_path, measured):
    family.main(tmp_path, ["binary/absorbing"], ALL_TINY)
    family.main(tmp_path, ["digits/uniform"], ALL_TINY)
    report = json.loads((tmp_path / family.NAME).read_text())
    assert list(report["runs"]) == ["digits/uniform", "binary/absorbing"]
    assert set(report["worlds"]) == {"binary", "digits"}


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "family.json"
    whole = family.experiment(ALL_TINY)
    whole.write({"runs": {}}, file)
    before = file.read_text()
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(Stopped))
    with pytest.raises(Stopped):
        whole.write({"runs": {}, "more": 1}, file)
    assert file.read_text() == before


# several processes, one file


class Told:
    """A world that only says what it is."""

    def describe(self):
        return {"unit": "bits"}


def experiment(measure):
    """Three runs of two worlds, without any network."""
    return Experiment(
        "a command",
        ("letters/a", "letters/b", "digits/a"),
        settings=lambda name: {"of": name},
        open_world=lambda kind: Told(),
        measure=lambda name, world: {"settings": {"of": name}, "found": measure(name)},
    )


def held_by_another_process(lock):
    code = """
import sys, filelock
lock = filelock.FileLock(sys.argv[1])
try:
    lock.acquire(blocking=False)
except filelock.Timeout:
    sys.exit(7)
"""
    run = subprocess.run([sys.executable, "-c", code, lock.lock_file], check=False)
    assert run.returncode in (0, 7)
    return run.returncode == 7


def test_a_run_can_be_claimed_once_at_a_time(tmp_path):
    file = tmp_path / "file.json"
    with claimed(file, "letters/a") as first:
        assert first
        with claimed(file, "letters/a") as second:
            assert not second
        assert held_by_another_process(lock_for(file, "letters/a"))  # nor has the refusal freed it
        with claimed(file, "letters/b") as other, claimed(tmp_path / "b.json", "letters/a") as far:
            assert other
            assert far
        assert not held_by_another_process(lock_for(file, "letters/b"))
    assert not held_by_another_process(lock_for(file, "letters/a"))
    with claimed(file, "letters/a") as again:
        assert again
    assert list(tmp_path.iterdir()) == []


def test_one_file_has_one_lock_by_whatever_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = {lock_for(file, "x").lock_file for file in (Path("a.json"), tmp_path / "a.json")}
    assert len(paths) == 1
    assert lock_for(Path("a.json"), "y").lock_file not in paths


def test_a_claim_ends_with_an_exception(tmp_path, monkeypatch):
    """Also while the lock itself lives on: it is let go, not only forgotten."""
    file, alive = tmp_path / "file.json", []

    def kept(*which):
        alive.append(lock_for(*which))
        return alive[-1]

    monkeypatch.setattr(resumable, "lock_for", kept)

    def stop(name):
        raise Stopped

    with pytest.raises(Stopped), claimed(file, "letters/a"):
        raise Stopped
    with pytest.raises(Stopped):
        experiment(stop).go_on(file, ["letters/a"])
    assert not file.exists()
    assert len(alive) == 2
    for name in ("letters/a", "written"):
        assert not held_by_another_process(lock_for(file, name))
    assert experiment(len).go_on(file, ["letters/a"])["runs"]["letters/a"]["found"] == 9


def test_a_file_that_cannot_be_written_is_not_locked_for_ever(tmp_path, monkeypatch):
    file = tmp_path / "file.json"
    monkeypatch.setattr(Experiment, "write", lambda *_: (_ for _ in ()).throw(Stopped))
    with pytest.raises(Stopped):
        experiment(len).go_on(file, ["letters/a"])
    for name in ("letters/a", "written"):
        assert not held_by_another_process(lock_for(file, name))


def test_what_another_process_adds_meanwhile_is_kept(tmp_path):
    """The other one starts while the first run is measured, and does all the rest."""
    file, seen = tmp_path / "file.json", []

    def other(name):
        seen.append(("other", name))
        return 2

    def first(name):
        seen.append(("first", name))
        report = experiment(other).go_on(file, experiment(other).names)
        assert list(report["runs"]) == ["letters/b", "digits/a"]
        return 1

    report = experiment(first).go_on(file, experiment(first).names)
    assert seen == [("first", "letters/a"), ("other", "letters/b"), ("other", "digits/a")]
    found = {name: run["found"] for name, run in report["runs"].items()}
    assert list(found.items()) == [("letters/a", 1), ("letters/b", 2), ("digits/a", 2)]
    assert report == json.loads(file.read_text())
    assert report["worlds"] == {"letters": {"unit": "bits"}, "digits": {"unit": "bits"}}
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]


def test_nobody_writes_between_the_reading_and_the_writing(tmp_path, monkeypatch):
    file, locked = tmp_path / "file.json", []

    def spied(kind, original):
        def spy(self, *given):
            locked.append((kind, held_by_another_process(lock_for(file, "written"))))
            return original(self, *given)

        return spy

    for kind in ("read", "write"):
        monkeypatch.setattr(Experiment, kind, spied(kind, getattr(Experiment, kind)))
    experiment(len).go_on(file, ["letters/a"])
    # what is missing; what is there to be added to; the new file; what is handed back
    assert locked == [("read", False), ("read", True), ("write", True), ("read", False)]


def test_an_empty_file_is_read_as_no_runs(tmp_path):
    found = experiment(len).read(tmp_path / "file.json")
    assert found == {"command": "a command", "worlds": {}, "runs": {}}


def test_the_command_refuses_runs_that_it_does_not_know(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["family", "--only", "captions/gaussian"])
    with pytest.raises(SystemExit):
        runpy.run_path(family.__file__, run_name="__main__")
    assert "captions/gaussian" in capsys.readouterr().err


def test_both_pictures_are_drawn(folder):
    for name in ("family_bits.png", "family_samples.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 600


def test_the_picture_of_bits_shows_every_number(report):
    rows = family_pictures.bits_of("captions", report)
    runs = [name.partition("/")[2] for name in RUNS if name.startswith("captions")]
    assert list(rows) == [
        *("uniform guess", "1-gram", "3-gram", "5-gram"),
        *runs,
        "floor: the entropy",
    ]
    absorbing = report["runs"]["captions/absorbing"]["bits"]
    assert rows["absorbing"][:2] == (absorbing["mean"], absorbing["standard_error"])
    assert rows["floor: the entropy"][0] == report["worlds"]["captions"]["floor"]
    assert list(family_pictures.bits_of("binary", report))[-2:] == ["binomial", "absorbing"]


@pytest.fixture(scope="module")
def stored():
    return json.loads((FIGURES / family.NAME).read_text())


def test_the_stored_runs_are_those_of_the_command(stored):
    assert list(stored["runs"]) == list(RUNS)
    assert (FIGURES / "family_bits.png").exists()
    assert (FIGURES / "family_samples.png").exists()


@pytest.mark.parametrize("name", list(RUNS))
def test_a_stored_run_lies_between_the_floor_and_a_uniform_guess(name, stored):
    world, bits = stored["worlds"][world_of(name)], stored["runs"][name]["bits"]["mean"]
    assert world.get("floor", 0) < bits < world["yardsticks"]["uniform guess"]
