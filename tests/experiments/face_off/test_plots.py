"""Images of the face-off: what is drawn of a report made by hand."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from support.face_off_reports import put, put_right, typed, whole_report

from vqlearn.experiments import style
from vqlearn.experiments.face_off.results import plots, tables
from vqlearn.experiments.face_off.results.claims import CLAIMS
from vqlearn.experiments.face_off.study import STUDY
from vqlearn.experiments.style import LABELS
from vqlearn.experiments.systems import SYSTEMS
from vqlearn.probability.estimates import Estimate


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def plotted(name, report):
    """The panels of one plot."""
    return plots.plot(typed(report), name).axes


def points(axes, label):
    """Places, means and lower and upper ends of the bars of one system."""
    (container,) = [each for each in axes.containers if each.get_label() == LABELS[label]]
    line, _, (bars,) = container.lines
    ends = [tuple(y for _, y in segment) for segment in bars.get_segments()]
    return list(line.get_xdata()), list(line.get_ydata()), ends


def test_a_share_of_nothing_has_a_bar_of_positive_length():
    """Rounding can put the end of an interval on the wrong side of its value."""
    axes = plt.figure().gca()
    plots._bars(axes, [0], [{0: Estimate.of_share(0, 100)}], "raster")
    _, _, ((low, high),) = points(axes, "raster")
    assert low == pytest.approx(0)
    assert high == pytest.approx(3.7, abs=0.1)


def test_accuracy_is_drawn_against_both_costs():
    """Guided diffusion is a line over its steps; AR has a point plain and one guided."""
    report = whole_report()
    put_right(report, "absorbing", "held_out", (True, 100), (0.9,))
    put_right(report, "raster", "held_out", (False, None), (0.1, 0.2, 0.3))
    report["cost/diffusion 100 guided/64"]["result"]["seconds_per_image"]["1"] = 7.0
    report["cost/raster guided/64"]["result"]["operations_per_image"] = 500_000_000
    seen, _, operations, seconds = plotted("equal_cost", report)
    x, y, _ = points(operations, "raster")
    assert x == [2e9, 5e8]
    assert y == pytest.approx([20, 50])
    x, y, ends = points(seconds, "absorbing")
    assert x == [7.0, 1.0, 1.0, 1.0, 1.0]
    assert y == pytest.approx([90, 50, 50, 50, 50])
    assert ends[0][0] < 90 < ends[0][1]
    assert len(points(seconds, "imagebart")[0]) == 1
    (legend,) = seen.figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {LABELS[name] for name in SYSTEMS}


def test_claims_are_drawn_with_their_intervals_and_seeds(stored_folder):
    report = STUDY.read(stored_folder)
    for axes, unit in zip(plots.plot(report, "claims").axes, ("points", "bits"), strict=True):
        shown = [claim for claim in CLAIMS if claim.effect and claim.unit == unit]
        texts = [re.sub(r"\W", "", label.get_text()) for label in axes.get_yticklabels()]
        assert texts == [re.sub(r"\W", "", claim.text) for claim in shown]
        seeds = [list(line.get_xdata()) for line in axes.lines]
        for claim, container in zip(shown, axes.containers, strict=True):
            (bar,) = container.lines[2][0].get_segments()
            found = claim.effect(report)
            assert [x for x, _ in bar] == pytest.approx(found.estimate[1:])
            assert list(found.seeds.values) in seeds


def test_the_gallery_shows_true_scenes_and_those_that_were_drawn(tmp_path, monkeypatch):
    report, shown, close = whole_report(), [], plt.close
    for i, name in enumerate(LABELS):
        if name != "direct":
            rows = [" ".join([str(i)] * 64)] * 6
            put(report, "quality", name, ("by_composition", "held_out", "shown"), (rows,) * 3)
    monkeypatch.setattr(plt, "close", lambda figure: shown.append(figure))
    plots.plot_gallery(typed(report), tmp_path / "gallery.png")
    (figure,) = shown
    close(figure)
    names = [name for name in LABELS if name != "direct"]
    left, right = figure.axes[::2], figure.axes[1::2]
    labels = [axes.texts[0].get_text() for axes in left]
    assert labels == ["true scenes", *map(LABELS.get, names)]
    pixels = [axes.images[0].get_array() for axes in (*left, *right)]
    assert {each.shape for each in pixels} == {(32, 6 * 33, 3)}
    for composition, strip in zip(
        ("seen", "held_out"), (pixels[0], pixels[len(left)]), strict=True
    ):
        scenes = tables.shown_scenes(composition)
        true = scenes.images[0].movedim(0, 2).numpy()
        np.testing.assert_allclose(strip[:, :32], true, atol=1e-6)
        assert all(each in tables.prompts_shown(typed(report)) for each in scenes.captions[:6])
    sampled = [each.tobytes() for each in pixels]
    assert len(set(sampled[1 : len(left)])) == 1  # all sampled the same
    assert len(set(sampled[len(left) :])) == len(left)  # here each another code, in its own row


def test_costs_are_drawn_for_every_length():
    report = whole_report()
    for n in (16, 64, 256, 1024):
        report[f"cost/imagebart/{n}"]["result"]["seconds_per_image"]["32"] = n / 8
    panels = plotted("costs", report)
    lines = {line.get_label(): line for line in panels[2].lines}
    assert list(lines["ImageBART, 2 scales"].get_xdata()) == [16, 64, 256, 1024]
    assert list(lines["ImageBART, 2 scales"].get_ydata()) == [2, 8, 32, 128]
    assert list(panels[1].lines[1].get_ydata()) == [1.0] * 4
    assert list(panels[0].lines[1].get_ydata()) == [2e9] * 4


def test_errors_are_drawn_from_none_to_two_in_five():
    report = whole_report()
    put(report, "errors", "absorbing", ("untouched", "share"), (0.6, 0.7, 0.8))
    put(report, "errors", "absorbing", ("by_amount", "one", "changed_share"), (0.1, 0.2, 0.3))
    put(report, "errors", "absorbing", ("by_amount", "0.4", "corrected_share"), (0.0, 0.0, 0.3))
    captions, changed, corrected = plotted("errors", report)
    ticks = [text.get_text() for text in captions.get_xticklabels()]
    assert ticks == ["none", "one", "5 %", "10 %", "20 %", "40 %"]
    assert points(captions, "absorbing")[1] == pytest.approx([70, 50, 50, 50, 50, 50])
    positions, means, ends = points(changed, "absorbing")
    assert positions == [1, 2, 3, 4, 5]
    assert means == pytest.approx([20, 10, 10, 10, 10])
    assert ends[0] == pytest.approx((13.5, 28.6), abs=0.5)
    assert points(corrected, "absorbing")[1] == pytest.approx([25, 25, 25, 25, 10])


def test_directions_are_drawn_side_by_side():
    report = whole_report()
    put(
        report,
        "directions",
        "causal",
        ("held_out", "left", "accuracy", "share"),
        (0.1, 0.2, 0.3),
    )
    seen, held_out = plotted("directions", report)
    sides = [text.get_text() for text in seen.get_xticklabels()]
    assert sides == ["upper", "lower", "left", "right"]
    assert points(held_out, "causal")[1] == pytest.approx([50, 50, 20, 50])
    assert points(seen, "causal")[1] == [50] * 4


def test_forcing_is_drawn_row_by_row():
    """The mean of the seeds, each row of the grid alone."""
    report = whole_report()
    rows = ([1.0, 4.0], [2.0, 5.0], [6.0, 6.0])
    put(report, "forcing", "raster", ("raster", "own_by_row"), rows)
    put(report, "forcing", "vq-diffusion", ("raster", "data_by_row"), rows)
    (axes,) = plotted("exposure_bias", report)
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines[LABELS["raster"]].get_xdata()) == [1, 2]
    assert list(lines[LABELS["raster"]].get_ydata()) == [3.0, 5.0]
    assert list(lines["data"].get_ydata()) == [3.0, 5.0]
    assert list(lines[LABELS["absorbing"]].get_ydata()) == [2.0, 3.0]


def test_a_system_looks_the_same_everywhere():
    """And no two look alike."""
    looks = {(style["marker"], style["color"]) for style in style.SYSTEMS.values()}
    assert len(looks) == len(LABELS)
    report = whole_report()
    panels = [plotted(name, report)[0] for name in ("equal_cost", "errors")]
    for name in ("vq-diffusion", "absorbing"):
        lines = [
            each.lines[0] if each in axes.containers else each
            for axes in panels
            for each in (*axes.lines, *axes.containers)
            if each.get_label() == LABELS[name]
        ]
        assert {(line.get_marker(), line.get_color()) for line in lines} == {
            (style.SYSTEMS[name]["marker"], style.SYSTEMS[name]["color"])
        }
        assert len(lines) == 2


def test_every_plot_of_the_page_is_made(tmp_path, stored_folder):
    plots.plot_all(typed(whole_report()), tmp_path)
    page = (stored_folder / "comparison.md").read_text()
    names = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    for folder in (tmp_path, stored_folder):
        for name in names:
            with Image.open(folder / name) as image:
                assert min(image.size) > 400
