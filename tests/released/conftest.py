"""Small official checkpoints, each written and converted once."""

from functools import cache
from typing import NamedTuple

import pytest
from official import reading
from support.official_files import OfficialFile, save_official
from torch import Tensor

from vqlearn.pipeline import load_pipeline
from vqlearn.pipeline.reverse_steps import ReverseSteps
from vqlearn.released import convert


class Converted(NamedTuple):
    """An official file, its weights as the second implementation takes them, and our pipeline."""

    official: OfficialFile
    state: dict[str, Tensor]
    codec: dict[str, Tensor]
    pipeline: ReverseSteps


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """The small checkpoint of a name, converted."""

    @cache
    def of(name: str) -> Converted:
        folder = tmp_path_factory.mktemp(name)
        official = save_official(folder, name)
        convert([official.file], folder / "out", **official.options)
        pipeline = load_pipeline(folder / "out")
        pipeline.set_progress_bar_config(disable=True)
        content = official.content
        state, codec = reading.diffusion_part(content), reading.codec_part(content)
        return Converted(official, state, codec, pipeline)

    return of
