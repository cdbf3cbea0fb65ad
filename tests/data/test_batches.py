"""Batch i is a function of (seed, process, i), whoever asks for it and when."""

import json

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from vqlearn.data.batches import NumberedBatches, Scenes
from vqlearn.data.image_folder import ImageFolder
from vqlearn.data.scenes.captions import parse
from vqlearn.data.scenes.world import HELD_OUT_PAIRS
from vqlearn.probability.random import random_stream


def numbers(*names):
    return torch.rand(4, generator=random_stream(*names)).tolist()


def test_streams_repeat_and_differ_by_every_name():
    assert numbers("data", 0, 1) == numbers("data", 0, 1)
    names = [("data", 0, 1), ("noise", 0, 1), ("data", 1, 1), ("data", 0, 2), ("data", 1, 0)]
    assert len({tuple(numbers(*name)) for name in names}) == len(names)


def scenes(_):
    return Scenes(32, "seen")


def folder(path):
    lines = [json.dumps({"file_name": f"{grey}.png", "text": str(grey)}) for grey in range(20)]
    for grey in range(20):
        Image.new("L", (8, 8), grey).save(path / f"{grey}.png")
    (path / "metadata.jsonl").write_text("\n".join(lines))
    return ImageFolder(path, 8)


@pytest.mark.parametrize("source", [scenes, folder])
def test_batches_do_not_depend_on_those_before_nor_on_who_loads_them(source, tmp_path):
    batches = NumberedBatches(source(tmp_path), 4, seed=5, process=1)
    alone = [batches[i] for i in (4, 3)][::-1]
    for workers in (0, 2):
        loader = DataLoader(batches, sampler=range(3, 5), batch_size=None, num_workers=workers)
        for loaded, expected in zip(loader, alone, strict=True):
            assert torch.equal(loaded.images, expected.images)
            assert loaded.captions == expected.captions


def test_seeds_and_processes_see_other_scenes():
    made = [NumberedBatches(Scenes(32, "seen"), 4, *who)[0].captions for who in ((0, 0), (0, 1))]
    made.append(NumberedBatches(Scenes(32, "seen"), 4, 1, 0)[0].captions)
    assert len(set(map(tuple, made))) == 3


def test_scenes_keep_size_and_composition():
    for composition in ("seen", "held_out", "any"):
        batch = Scenes(64, composition).batch(100, generator=random_stream("x"))
        assert batch.images.shape == (100, 3, 64, 64)
        held_out = [
            any((o.colour, o.shape) in HELD_OUT_PAIRS for o in parse(caption).objects)
            for caption in batch.captions
        ]
        assert all(held_out) == (composition == "held_out")
        assert any(held_out) == (composition != "seen")


def test_the_vocabulary_comes_from_what_may_be_seen():
    captions = Scenes(32, "seen").captions()
    assert captions == Scenes(32, "seen").captions()
    pairs = {(o.colour, o.shape) for each in captions for o in parse(each).objects}
    assert not pairs & HELD_OUT_PAIRS
