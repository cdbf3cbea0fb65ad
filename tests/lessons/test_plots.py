"""The plots of lessons: a legend names what occurs, and nothing else."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch

from vqlearn.lessons import plots

K = 5
PATCHES = torch.linspace(0, 1, K).view(K, 1, 1, 1).expand(K, 3, 2, 2)
CLEAN = torch.tensor([0, 1, 2, 3])
MASKED, CHANGED = torch.tensor([0, 1, 2, K]), torch.tensor([0, 1, 2, 4])


@pytest.fixture
def legend(monkeypatch):
    """What the legend of token grids says; nothing opens a window."""
    mpl.use("Agg")
    monkeypatch.setattr(plt, "show", lambda: None)

    def names(*tokens, **settings):
        panels = {str(i): each for i, each in enumerate(tokens)}
        plots.token_grids(panels, PATCHES, "caption", **settings)
        return [text.get_text() for legend in plt.gcf().legends for text in legend.get_texts()]

    yield names
    plt.close("all")


def test_the_legend_of_token_grids_names_what_occurs(legend):
    given = torch.tensor([True, False, False, False])
    assert legend(CLEAN, CLEAN, clean=CLEAN) == []
    assert legend(CLEAN, MASKED) == ["masked"]
    assert legend(CLEAN, MASKED, clean=CLEAN) == ["masked"]
    assert legend(CLEAN, CHANGED, clean=CLEAN) == ["replaced"]
    assert legend(MASKED, CHANGED, clean=CLEAN, framed="changed") == ["masked", "changed"]
    assert legend(CLEAN, given=given) == ["given"]
