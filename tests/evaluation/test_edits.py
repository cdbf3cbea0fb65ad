"""The measure of edits: what counts as kept, what a mask covers, and how far a token reaches."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support.tiny import write_diffusers_folder

from vqlearn import VQDiffusionPipeline
from vqlearn.data.scenes import parse, render
from vqlearn.data.scenes.drawing import coverage
from vqlearn.data.scenes.world import SceneObject
from vqlearn.evaluation import Evaluation
from vqlearn.evaluation.edits import (
    box_mask,
    evaluate_edits,
    sampled_edits,
    stays,
    token_reach,
)
from vqlearn.evaluation.scene_reader import agrees

EDITS = sampled_edits(40)


class Painter:
    """A pipeline that paints the scene that was asked for, or leaves the image as it is."""

    image_size = 32

    def __init__(self, *, paints):
        self.paints = paints

    def inpaint(self, images, masks, prompts, **options):
        edits = [edit for edit in EDITS if edit.prompt in prompts]
        new = torch.cat([painted(edit) for edit in edits]) if self.paints else images
        found = torch.where(masks[:, None], new, images)
        return SimpleNamespace(images=found.permute(0, 2, 3, 1).numpy())

    def edit(self, images, prompts, level, **options):
        assert len(options["generator"]) == len(prompts)
        return SimpleNamespace(images=torch.rand_like(images).permute(0, 2, 3, 1).numpy())


def painted(edit):
    """The scene of an edit after it."""
    (asked,) = (thing for thing in parse(edit.prompt).objects if not matches(thing, edit.stays))
    new = replace(edit.changes, colour=asked.colour, shape=asked.shape)
    objects = tuple(new if thing == edit.changes else thing for thing in edit.scene.objects)
    return render([replace(edit.scene, objects=objects)])


def matches(description, thing):
    return (description.colour, description.shape) == thing.pair


def test_one_object_changes_inside_its_mask_and_the_prompt_asks_for_it():
    for edit in EDITS:
        assert set(edit.scene.objects) == {edit.stays, edit.changes}
        assert not agrees(edit.scene, edit.prompt)
        mask = box_mask(edit.changes, 32)
        inside, outside = coverage([edit.changes, edit.stays], image_size=32)
        assert inside[~mask].max() < 0.1  # the soft corners of a small triangle
        assert (outside[mask] == 0).all()
        assert mask.sum() in (8**2, 12**2)
    assert {edit.scene.objects.index(edit.changes) for edit in EDITS} == {0, 1}
    assert sampled_edits(3) == EDITS[:3]
    assert sampled_edits(3, seed=1) != EDITS[:3]


def test_a_perfect_painter_a_lazy_one_and_noise_are_told_apart():
    evaluation = Evaluation(prompts=40)
    perfect = evaluate_edits(Painter(paints=True), evaluation)
    assert min(perfect.kept.right, perfect.satisfied.right, perfect.both.right) >= 39
    lazy = evaluate_edits(Painter(paints=False), evaluation)
    assert lazy.kept.right >= 39
    assert (lazy.satisfied.right, lazy.both.right) == (0, 0)
    noise = evaluate_edits(Painter(paints=False), evaluation, level=50)
    assert (noise.kept.right, noise.satisfied.right, noise.kept.total) == (0, 0, 40)


def test_an_object_is_kept_if_it_is_where_it_was():
    edit = EDITS[0]
    assert stays(edit.scene, edit.stays)
    assert not stays(None, edit.stays)
    for change in ({"size": "small" if edit.stays.size == "large" else "large"}, {"x": 0.99}):
        assert not stays(edit.scene, replace(edit.stays, **change))
    assert stays(edit.scene, replace(edit.stays, y=edit.stays.y + 1 / 20))
    assert not stays(edit.scene, SceneObject("moon", "cyan", "small", 0.5, 0.5))


def test_how_far_a_token_reaches_is_measured_from_its_square(tmp_path):
    """With a decoder that paints each square and three pixels around it."""
    pipe = VQDiffusionPipeline.from_pretrained(write_diffusers_folder(tmp_path / "model"))
    images = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def pixels(tokens):
        grid = tokens.reshape(-1, 1, 4, 4).double()
        grid = grid.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        blurred = torch.nn.functional.avg_pool2d(grid, 7, 1, 3)
        return (grid + blurred).expand(-1, 3, -1, -1)

    pipe.pixels = pixels
    generator = torch.Generator().manual_seed(1)
    found = token_reach(pipe, images, threshold=1e-9, generator=generator)
    assert found.tolist() == [3] * 30
    largest = token_reach(pipe, images, threshold=100.0, generator=generator)
    assert largest.tolist() == [0] * 30


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="count is 0; allowed: 1 or more"):
        sampled_edits(0)
    with pytest.raises(TypeError, match="threshold is 'x'; allowed: a number"):
        token_reach(None, None, threshold="x", generator=None)
