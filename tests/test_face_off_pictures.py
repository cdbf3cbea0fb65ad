"""Pictures of the face-off: what is drawn of a report made by hand."""

import matplotlib.pyplot as plt
import pytest
from face_off_reports import put, whole_report
from PIL import Image

from vqlearn.face_off import pictures
from vqlearn.face_off.results import LABELS, Seeds


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw one picture; returns its panels."""
    kept, save = [], pictures._save

    def keep(figure, file):
        kept.append(figure.axes)
        save(figure, file)

    monkeypatch.setattr(pictures, "_save", keep)

    def draw(picture, report):
        file = tmp_path / "picture.png"
        picture(report, file)
        with Image.open(file) as image:
            assert image.size[0] > 500
        return kept[-1]

    return draw


def points(axes, label):
    """Places, means and lower and upper ends of the bars of one contender."""
    (container,) = [each for each in axes.containers if each.get_label() == LABELS[label]]
    line, _, (bars,) = container.lines
    ends = [tuple(y for _, y in segment) for segment in bars.get_segments()]
    return list(line.get_xdata()), list(line.get_ydata()), ends


def test_equal_seeds_have_bars_of_no_length():
    """The mean of three equal numbers can be rounded to one above or below all of them."""
    equal = Seeds(dict.fromkeys(range(3), 0.05))
    assert equal.mean != 0.05
    axes = plt.figure().gca()
    pictures._bars(axes, [0], [equal])
    plt.close("all")


def test_quality_is_drawn_for_every_number_of_calls(drawn):
    """With all numbers of calls there is one seed, with the usual one there are three."""
    report = whole_report()
    path = ("held_out", "drawn")
    put(report, "quality", "absorbing", (*path, "guided 25", "share"), (0.2, 0.3, 0.7))
    put(report, "quality", "absorbing", (*path, "guided 100", "share"), (0.9,))
    put(report, "quality", "raster", (*path, "guided", "share"), (0.1, 0.2, 0.3))
    seen, held_out = drawn(pictures.draw_quality, report)
    places, means, ends = points(held_out, "absorbing")
    assert places == [100, 50, 25, 10, 5]
    assert means == pytest.approx([90, 50, 40, 50, 50])
    assert ends[2] == pytest.approx((20, 70))
    assert ends[0] == pytest.approx((90, 90))
    levels = {line.get_label(): line.get_ydata()[0] for line in held_out.lines}
    assert levels[LABELS["raster"]] == pytest.approx(20)
    assert levels[LABELS["imagebart"]] == 50
    (legend,) = seen.figure.legends
    labels = {text.get_text() for text in legend.get_texts()}
    assert labels == set(LABELS.values()) - {LABELS["direct"]}


def test_costs_are_drawn_for_every_length(drawn):
    report = whole_report()
    for n in (16, 64, 256, 1024):
        report["runs"][f"cost/imagebart/{n}"]["seconds"]["32"] = n / 8
    panels = drawn(pictures.draw_costs, report)
    lines = {line.get_label(): line for line in panels[2].lines}
    assert list(lines["imagebart"].get_xdata()) == [16, 64, 256, 1024]
    assert list(lines["imagebart"].get_ydata()) == [2, 8, 32, 128]
    assert list(panels[1].lines[1].get_ydata()) == [1.0] * 4
    assert list(panels[0].lines[1].get_ydata()) == [2e9] * 4


def test_errors_are_drawn_from_none_to_two_in_five(drawn):
    report = whole_report()
    put(report, "errors", "absorbing", ("none", "share"), (0.6, 0.7, 0.8))
    put(report, "errors", "absorbing", ("one", "lost changed"), (0.1, 0.2, 0.3))
    put(report, "errors", "absorbing", ("0.4", "mended"), (0.0, 0.0, 0.3))
    sentences, changed, mended = drawn(pictures.draw_errors, report)
    ticks = [text.get_text() for text in sentences.get_xticklabels()]
    assert ticks == ["none", "one", "5 %", "10 %", "20 %", "40 %"]
    assert points(sentences, "absorbing")[1] == pytest.approx([70, 50, 50, 50, 50, 50])
    places, means, ends = points(changed, "absorbing")
    assert places == [1, 2, 3, 4, 5]
    assert means == pytest.approx([20, 10, 10, 10, 10])
    assert ends[0] == pytest.approx((10, 30))
    assert points(mended, "absorbing")[1] == pytest.approx([25, 25, 25, 25, 10])


def test_directions_are_drawn_side_by_side(drawn):
    report = whole_report()
    put(report, "directions", "causal", ("held_out", "left", "share"), (0.1, 0.2, 0.3))
    seen, held_out = drawn(pictures.draw_directions, report)
    sides = [text.get_text() for text in seen.get_xticklabels()]
    assert sides == ["upper", "lower", "left", "right"]
    assert points(held_out, "causal")[1] == pytest.approx([50, 50, 20, 50])
    assert points(seen, "causal")[1] == [50] * 4


def test_forcing_is_drawn_row_by_row(drawn):
    """The mean of the seeds, each row of the grid alone."""
    report = whole_report()
    rows = ([1.0, 4.0], [2.0, 5.0], [6.0, 6.0])
    put(report, "forcing", "raster", ("raster", "own by row"), rows)
    put(report, "forcing", "vq-diffusion", ("raster", "data by row"), rows)
    (axes,) = drawn(pictures.draw_forcing, report)
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines[LABELS["raster"]].get_xdata()) == [1, 2]
    assert list(lines[LABELS["raster"]].get_ydata()) == [3.0, 5.0]
    assert list(lines["true rows"].get_ydata()) == [3.0, 5.0]
    assert list(lines[LABELS["absorbing"]].get_ydata()) == [2.0, 3.0]


def test_a_contender_looks_the_same_everywhere(drawn):
    """And no two look alike."""
    looks = {(style["marker"], style["color"]) for style in pictures.STYLES.values()}
    assert len(looks) == len(LABELS)
    report = whole_report()
    panels = [drawn(draw, report)[0] for draw in (pictures.draw_quality, pictures.draw_errors)]
    for name in ("vq-diffusion", "absorbing"):
        lines = [
            container.lines[0]
            for axes in panels
            for container in axes.containers
            if container.get_label() == LABELS[name]
        ]
        assert {(line.get_marker(), line.get_color()) for line in lines} == {
            (pictures.STYLES[name]["marker"], pictures.STYLES[name]["color"])
        }
        assert len(lines) == 2
