"""How seconds grow: exponents, their intervals, and the plot."""

import pytest
from bench import growth, page
from bench.case import Result
from bench.growth_plot import PLOT, plot
from bench.machine import Machine
from bench.pairs import Comparison
from bench.store import Results
from PIL import Image

MACHINE = Machine("CPU", 2, (), 1, {"torch": "2.0"})


def power(sizes, exponent):
    return {size: 3 * size**exponent for size in sizes}


def test_the_exponent_of_a_power_is_found_and_its_interval_is_narrow():
    low, value, high = growth.exponent(power([64, 256, 1024, 4096], 1.5))
    assert value == pytest.approx(1.5)
    assert high - low < 1e-6


def test_where_growth_is_no_power_the_interval_is_wide():
    low, value, high = growth.exponent({size: 1000 + size**2 for size in (8, 32, 128, 512)})
    assert 0 < value < 2
    assert high - low > 0.5


def grown():
    results = Results()
    for size in growth.AXES["tokens"]:
        pair = Comparison((0.001 * size**2,) * 3, (0.001 * size,) * 3)
        results = results.including("cpu", f"growth/tokens-{size}", Result(MACHINE, pair))
    return results


def test_growth_is_that_of_the_stored_medians():
    table = page.growth_table(grown())
    assert "| tokens | 2.00 (2.00 to 2.00) | 1.00 (1.00 to 1.00) | A |" in table
    assert f"]({PLOT})" in table
    assert "steps |" not in table


def test_two_sizes_have_no_interval():
    results = grown()
    few = dict(list(results.devices["cpu"].items())[:2])
    assert page.growth_table(Results(devices={"cpu": few})) == ""


def test_the_plot_is_written_where_something_was_measured(tmp_path):
    plot(Results(), tmp_path / PLOT)
    assert not (tmp_path / PLOT).exists()
    plot(grown(), tmp_path / PLOT)
    with Image.open(tmp_path / PLOT) as image:
        assert image.width > image.height > 300
