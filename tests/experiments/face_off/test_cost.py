"""What an image costs: operations counted by hand from the shapes, and what the clock is told."""

import time

import pytest
import torch

from vqlearn.autoregressive.decoding import without_cache
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.experiments.face_off import costs
from vqlearn.experiments.face_off.costs import COSTS, CostRun, Way, measure_cost, operations
from vqlearn.experiments.systems import IMAGEBART_SIZE, RASTER_SIZE
from vqlearn.probability.model import Conditioning, Sampling
from vqlearn.training.sizes import Size

L, C, K = 32, 128, 384  # text states, their width, codes


def product(*sizes):
    """Multiplications and additions of one matrix product, (m, k) times (k, n)."""
    m, k, n = sizes
    return 2 * m * k * n


def attention(queries, keys, width):
    """Scores and mixing, all heads together."""
    return product(queries, width, keys) + product(queries, keys, width)


def feed_forward(n, width):
    return 2 * product(n, width, 4 * width)


def raster_by_hand(n):
    """The text once, then token after token: position i sees the text and i + 1 positions."""
    d, layers = 128, 5
    text = 4 * product(L, d, d) + attention(L, L, d) + feed_forward(L, d)
    total = product(L, C, d) + layers * text
    for i in range(n):
        token = 4 * product(1, d, d) + attention(1, L + i + 1, d) + feed_forward(1, d)
        total += layers * token + product(1, d, K)
    return total


def without_cache_by_hand(n):
    """The text and the whole row for every token."""
    d, layers = 128, 5
    text = 4 * product(L, d, d) + attention(L, L, d) + feed_forward(L, d)
    row = 4 * product(n, d, d) + attention(n, L + n, d) + feed_forward(n, d)
    return n * (product(L, C, d) + layers * (text + row) + product(n, d, K))


def prefixes_by_hand(lengths):
    """The text, the start and the prefix, for the token after each prefix."""
    d, layers, total = 128, 5, 0
    text = 4 * product(L, d, d) + attention(L, L, d) + feed_forward(L, d)
    for n in (length + 1 for length in lengths):
        row = 4 * product(n, d, d) + attention(n, L + n, d) + feed_forward(n, d)
        total += product(L, C, d) + layers * (text + row) + product(n, d, K)
    return total


def imagebart_by_hand(n):
    """Two scales: the encoder once, the decoder token after token."""
    d, layers, m = 76, 3, L + n
    encoder = 4 * product(m, d, d) + attention(m, m, d) + feed_forward(m, d)
    scale = product(L, C, d) + layers * (encoder + 2 * product(m, d, d))
    for i in range(n):
        looks = 4 * product(1, d, d) + attention(1, i + 1, d)
        looks += 2 * product(1, d, d) + attention(1, m, d)
        scale += layers * (looks + feed_forward(1, d)) + product(1, d, K)
    return 2 * scale


def denoiser_by_hand(n):
    """One call: levels, tokens, text."""
    d, layers = 96, 5
    levels = 2 * product(1, d, 2 * d)
    itself = 4 * product(n, d, d) + attention(n, n, d)
    text = 2 * product(n, d, d) + 2 * product(L, C, d) + attention(n, L, d)
    return layers * (levels + itself + text + feed_forward(n, d)) + product(n, d, K)


@pytest.mark.parametrize("n", [16, 64])
def test_operations_are_those_of_the_shapes(n):
    assert operations(COSTS["raster"], n) == raster_by_hand(n)
    assert operations(COSTS["imagebart"], n) == imagebart_by_hand(n)
    assert operations(COSTS["diffusion 5"], n) == 5 * denoiser_by_hand(n)


def test_guided_is_twice_as_much_and_calls_count():
    assert operations(COSTS["raster guided"], 16) == 2 * raster_by_hand(16)
    assert operations(COSTS["diffusion 5 guided"], 16) == 10 * denoiser_by_hand(16)
    for calls in (10, 25):
        assert operations(COSTS[f"diffusion {calls}"], 16) == calls * denoiser_by_hand(16)


@pytest.mark.parametrize(("n", "part"), [(16, 1), (256, 1 / 16)])
def test_without_a_cache_each_token_reads_all(n, part):
    """256 tokens are counted as 16 times 16 calls."""
    found = operations(COSTS["raster without cache"], n)
    assert found == pytest.approx(without_cache_by_hand(n), rel=1e-12)
    assert COSTS["raster without cache"].part(n) == part
    assert COSTS["raster without cache"].part(64) == 1


@pytest.mark.parametrize(("n", "part"), [(16, 1), (64, 1), (256, 1 / 16)])
def test_prefixes_of_all_lengths_or_of_some_that_stand_for_them(n, part):
    found = operations(COSTS["raster, prefix only"], n)
    lengths = range(n) if part == 1 else range(8, 256, 16)
    assert found == pytest.approx(prefixes_by_hand(lengths) / part, rel=1e-12)
    assert found == pytest.approx(prefixes_by_hand(range(n)), rel=0.005)
    assert COSTS["raster, prefix only"].part(n) == part


def test_a_prefix_alone_gives_the_distribution_of_the_whole_sequence():
    network = costs.fresh("raster", 16, "cpu")
    text = torch.randn(2, L, C, generator=torch.Generator().manual_seed(0))
    alone = costs.read_prefix(network, text)
    whole = without_cache(lambda x: network.log_probs(x, Conditioning(text)), 16)
    rows = torch.randint(K, (2, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for length in (0, 1, 9, 15):
            prefix = rows[:, :length]
            torch.testing.assert_close(alone(prefix), whole(prefix), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "calls"), [("diffusion 5", 5), ("diffusion 25 guided", 50)])
def test_a_few_calls_stand_for_all_of_a_long_row(name, calls):
    """Counted as often as they would be made: 256 tokens with 4 calls, 64 with all of them."""
    assert operations(COSTS[name], 256) == pytest.approx(calls * denoiser_by_hand(256), rel=1e-12)


@pytest.mark.parametrize(
    ("n", "made"), [(16, {5: 5, 25: 25}), (64, {5: 5, 10: 10}), (81, {5: 4, 25: 4, 100: 4})]
)
def test_a_diffusion_takes_four_steps_for_a_long_sequence(n, made, monkeypatch):
    told = []

    def sample(self, count, condition, *, sampling, generator):
        told.append((count, sampling))
        return torch.zeros(1)

    monkeypatch.setattr(DiffusionModel, "sample", sample)
    for guidance, name in (((), ""), ((1.5, 0.9), " guided")):
        for calls, few in made.items():
            way = COSTS[f"diffusion {calls}{name}"]
            way.sample(n, 3)
            assert told.pop() == (3, Sampling(*guidance, num_inference_steps=few))
            assert way.part(n) == few / calls


def test_a_cache_pays():
    """With one, operations grow about as the tokens do; without, faster than their square.

    The counts by hand are those that are measured, as the tests above say.
    """
    for growing, factor in ((raster_by_hand, (3, 5.5)), (without_cache_by_hand, (10, 32))):
        for n in (64, 256):
            assert factor[0] < growing(4 * n) / growing(n) < factor[1]
    for n in (16, 64, 256, 1024):
        assert without_cache_by_hand(n) > n / 4 * raster_by_hand(n)


def test_a_long_row_is_read_in_part():
    n, calls = 256, []
    network = costs.fresh("raster", n, "cpu")
    hook = network.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0].shape))
    drawn = COSTS["raster without cache"].sample(n, 1)
    hook.remove()
    assert drawn.shape == (1, 16)
    assert calls == 16 * [(1, n)]  # the whole row each time


@pytest.mark.parametrize("name", list(COSTS))
def test_every_way_draws_whole_rows(name):
    drawn = COSTS[name].sample(16, 2)
    assert drawn.shape == (2, 16)
    assert ((0 <= drawn) & (drawn < K)).all()


class Clock(Way):
    """Sampling takes the next of these seconds, times its count; a part stands for all."""

    __setattr__ = object.__setattr__  # a way is frozen

    def __init__(self, lasts, part=1.0):
        self.now, self.lasts, self.drawn, self.share = 0.0, iter(lasts), [], part

    def part(self, n):
        return self.share

    def sample(self, n, count, device="cpu"):
        assert device == "cpu"
        self.now += next(self.lasts) * count
        self.drawn.append((n, count))
        return torch.zeros(count, n, dtype=torch.long)


def test_seconds_are_the_median_for_one_picture_without_the_first(monkeypatch):
    clock = Clock([70, 3, 1, 2, 50, 5, 40, 6, 1, 70, 8, 50, 4, 1], part=0.25)
    monkeypatch.setattr(time, "process_time", lambda: clock.now)
    monkeypatch.setitem(COSTS, "fake", clock)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = measure_cost("fake", 64, batches=(1, 8))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert found.seconds_per_image == {"1": 2 / 0.25, "8": 6 / 0.25}
    assert found.operations_per_image == 0
    short = [(64, 1)] * 4 + [(64, 1)] + [(64, 8)] * 3 + [(64, 1)]
    assert clock.drawn == short
    long = measure_cost("fake", 81, batches=(1, 8))  # longer rows are drawn once
    assert long.seconds_per_image == {"1": 8 / 0.25, "8": 4 / 0.25}
    assert clock.drawn == short + [(81, 1)] * 3 + [(81, 8), (81, 1)]


def test_the_clock_counts_on_one_thread(monkeypatch):
    clock = Clock([1] * 5)
    monkeypatch.setitem(COSTS, "fake", clock)
    monkeypatch.setattr(costs, "operations", lambda cost, n: 0.0)
    timed, original = [], time.process_time

    def asked():
        timed.append(torch.get_num_threads())
        return original()

    monkeypatch.setattr(time, "process_time", asked)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    measure_cost("fake", 9, batches=(1,))
    torch.set_num_threads(threads)
    assert set(timed) == {1}


def test_nothing_is_made_while_the_clock_runs(monkeypatch):
    """Networks and schedules are there after the first drawing."""
    names = ("raster", "raster without cache", "imagebart", "diffusion 5")
    for name in names:
        COSTS[name].sample(16, 1)
    for part in ("Denoiser", "build_schedule", "MaskAndReplace"):
        monkeypatch.setattr(costs, part, None)
    for part in ("RasterTransformer", "ImageBART"):
        monkeypatch.setattr(costs.networks, part, None)
    for name in names:
        COSTS[name].sample(16, 1)


@pytest.mark.parametrize("name", ["raster", "diffusion 5 guided"])
def test_a_cost_is_a_run(name, monkeypatch):
    monkeypatch.setattr(costs, "BATCHES", (1,))
    run = CostRun(name, 16)
    assert run.id == f"cost/{name}/16"
    assert CostRun(name, 16, "cuda").id == f"cuda-cost/{name}/16"
    found = run.measure(None)
    assert found.seconds_per_image["1"] > 0
    assert found.operations_per_image == round(operations(COSTS[name], 16))


def test_the_settings_of_a_cost_are_the_sizes_of_the_networks(monkeypatch):
    """Another size or other batches are another run; so is another way or number of tokens."""
    run = CostRun("raster", 16)
    before = run.settings()
    for name, size in (("raster", RASTER_SIZE), ("imagebart", IMAGEBART_SIZE)):
        assert before[name] == {
            "width": size.width,
            "num_layers": size.num_layers,
            "num_heads": size.num_heads,
        }
    assert (before["denoiser"]["width"], before["batches"]) == (96, [1, 8, 32])
    assert (before["way"], before["tokens"]) == ("raster", 16)
    for part in ("raster", "imagebart", "denoiser"):
        with monkeypatch.context() as patch:
            patch.setitem(costs.SIZES, part, Size(8, 1, 2))
            assert run.settings() != before


CUDA_WAYS = ("raster", "raster without cache", "raster, prefix only", "imagebart", "diffusion 5")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CUDA_WAYS)
def test_cuda_draws_and_its_clock_waits(name):
    drawn = COSTS[name].sample(16, 2, "cuda")
    assert drawn.device.type == "cuda"
    assert torch.equal(drawn.cpu() // K, torch.zeros(2, 16, dtype=torch.long))
    found = measure_cost(name, 16, (1, 2), "cuda")
    assert found.operations_per_image is None  # the same as on the CPU
    assert found.seconds_per_image["1"] > found.seconds_per_image["2"] > 0


def test_on_cuda_the_wall_clock_counts_after_a_drawing_of_the_same_size(monkeypatch):
    """A device plans each size anew; and what is drawn is fetched before the clock is read."""
    now, asked = [0.0], []

    class Drawn:
        def cpu(self):
            now[0] += 5

    class OnDevice(Way):
        def sample(self, n, count, device):
            asked.append((n, count, device))
            now[0] += 2 * count
            return Drawn()

        def part(self, n):
            return 0.5

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setitem(COSTS, "fake", OnDevice("raster"))
    found = measure_cost("fake", 81, (1, 5), "cuda")
    assert found.seconds_per_image == {"1": 7 / 0.5, "5": 15 / 5 / 0.5}
    assert asked == [(81, 1, "cuda")] * 2 + [(81, 5, "cuda")] * 2
