"""Images of the face-off: what is drawn of a report made by hand."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from support.face_off_reports import put, put_right, typed, whole_report

from vqlearn.experiments import style
from vqlearn.experiments.face_off.results import plots, tables
from vqlearn.experiments.face_off.results.numbers import Seeds
from vqlearn.experiments.style import LABELS


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


def test_equal_seeds_have_bars_of_no_length():
    """The mean of three equal numbers can be rounded to one above or below all of them."""
    equal = Seeds(dict.fromkeys(range(3), 0.002))
    assert equal.percent().mean > max(equal.percent().values)
    axes = plt.figure().gca()
    plots._bars(axes, [0], [equal], "raster")
    plt.close("all")


def test_quality_is_drawn_for_every_number_of_calls():
    """The line is that of the first seed; points at the usual number of calls are the others."""
    report = whole_report()
    put_right(report, "absorbing", "held_out", (True, 25), (0.2, 0.3, 0.7))
    put_right(report, "absorbing", "held_out", (True, 100), (0.9,))
    put_right(report, "raster", "held_out", (True, None), (0.1, 0.2, 0.3))
    seen, held_out = plotted("quality", report)
    line, *points = of_colour(held_out, "absorbing")
    assert list(line.get_xdata()) == [100, 50, 25, 10, 5]
    assert list(line.get_ydata()) == pytest.approx([90, 50, 20, 50, 50])
    others = {tuple(each.get_xdata()): list(each.get_ydata()) for each in points}
    assert others.pop((25, 25)) == pytest.approx([30, 70])
    assert list(others) == [()]
    (level,) = of_colour(held_out, "raster")
    assert level.get_ydata()[0] == pytest.approx(20)
    band = held_out.patches[0].get_extents().transformed(held_out.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((10, 30))
    (legend,) = seen.figure.legends
    labels = {text.get_text() for text in legend.get_texts()}
    assert labels == set(LABELS.values()) - {LABELS["direct"]}


def of_colour(axes, name):
    """The lines of one system."""
    return [line for line in axes.lines if line.get_color() == style.SYSTEMS[name]["color"]]


def test_errors_above_are_drawn_row_by_row():
    report = whole_report()
    rows = ([0.1, 0.2], [0.3, 0.4], [0.2, 0.9])
    put(
        report,
        "downstream",
        "vq-diffusion",
        ("free", "by_amount", "0.1", "changed_share_by_row"),
        rows,
    )
    one, some = plotted("downstream", report)
    assert [one.get_title(), some.get_title()] == [
        "one wrong token in the upper half",
        "10 % wrong in the upper half",
    ]
    for line in one.lines[:3]:
        assert list(line.get_ydata()) == pytest.approx([20, 10])
    lines = {line.get_label(): line for line in some.lines[:3]}
    free = lines["VQ-Diffusion, released schedule, may change it"]
    assert list(free.get_ydata()) == pytest.approx([20, 50])
    assert list(free.get_xdata()) == [1, 2]
    kept = lines["VQ-Diffusion, released schedule, keeps the upper half"]
    assert (kept.get_color(), kept.get_linestyle()) == (free.get_color(), "--")
    assert some.lines[3].get_xdata()[0] == 1.5  # between the halves


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
    assert list(lines["imagebart"].get_xdata()) == [16, 64, 256, 1024]
    assert list(lines["imagebart"].get_ydata()) == [2, 8, 32, 128]
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
    assert ends[0] == pytest.approx((10, 30))
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
    assert list(lines["true sequences"].get_ydata()) == [3.0, 5.0]
    assert list(lines[LABELS["absorbing"]].get_ydata()) == [2.0, 3.0]


def test_a_system_looks_the_same_everywhere():
    """And no two look alike."""
    looks = {(style["marker"], style["color"]) for style in style.SYSTEMS.values()}
    assert len(looks) == len(LABELS)
    report = whole_report()
    panels = [plotted(name, report)[0] for name in ("quality", "errors")]
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
    page = (stored_folder / "face_off.md").read_text()
    names = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    for folder in (tmp_path, stored_folder):
        for name in names:
            with Image.open(folder / name) as image:
                assert min(image.size) > 400
