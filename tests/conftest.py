"""Every test runs with the array annotations of vqlearn checked at run time.

Not those of modules that check by hand what users pass: the tests want to see their messages.
"""

import pytest
from jaxtyping import install_import_hook
from support import typecheck

ROOMS = (
    *("probability.log_probs", "probability.random", "probability.filters"),
    *("probability.estimates", "tokens", "text.encoder", "text.null_text", "text.clip"),
    *("diffusion", "transformer", "continuous", "autoregressive", "data"),
    *(f"checkpoints.{file}" for file in ("configs", "digests", "folder", "modules")),
    *(f"checkpoints.{file}" for file in ("renames", "shipped", "weights")),
    *("evaluation.scene_reader", "evaluation.object_search", "evaluation.caption_entropy"),
    *("evaluation.counting", "experiments.face_off"),
)

install_import_hook([f"vqlearn.{room}" for room in ROOMS], f"{typecheck.__name__}.check")


@pytest.fixture
def short_probe(monkeypatch):
    """The linear reader of text learns from few captions: its shares mean little."""
    from vqlearn.evaluation import text_probe

    monkeypatch.setattr(text_probe, "LEARNED_FROM", 400)
    monkeypatch.setattr(text_probe, "TRIED_ON", 50)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine that has the released model, small."""
    from support.released_hub import released

    with released(tmp_path, monkeypatch) as hub:
        yield hub


@pytest.fixture
def file_server(monkeypatch):
    """A server of files on this machine. Nobody waits between attempts to fetch one."""
    from support.file_server import serving_files

    from vqlearn.released import fetching

    monkeypatch.setattr(fetching.time, "sleep", lambda seconds: None)
    with serving_files() as server:
        yield server
