"""The figures of a model: counted right, repeatable, and able to tell good from bad."""

import json
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import binomtest
from support.command import run_command
from support.training import train_stages

from vqlearn import VQDiffusionPipeline
from vqlearn.data.scenes.sampling import scene_batch
from vqlearn.evaluation import prompts as evaluate
from vqlearn.evaluation.prompts import Evaluation
from vqlearn.evaluation.scene_reader import prompt_accuracy
from vqlearn.probability.estimates import wilson_interval
from vqlearn.text.clip import contrastive_loss
from vqlearn.training.recipes import Recipe

QUICK = Evaluation(num_inference_steps=2, prompts=6)


@pytest.fixture(scope="module")
def pipeline():
    return VQDiffusionPipeline.from_pretrained("scenes")


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (5, 300), (257, 300)])
def test_intervals_are_those_of_scipy(right, total):
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize(("right", "total"), [(1, 0), (-1, 4), (5, 4)])
def test_impossible_counts_are_refused(right, total):
    with pytest.raises(ValueError, match=f"{right} right of {total}"):
        wilson_interval(right, total)


def test_true_scenes_are_all_right_and_wrong_captions_are_not(pipeline):
    batch = scene_batch(40, generator=torch.Generator().manual_seed(1), composition="any")
    true = evaluate.score(pipeline, None, batch.images, batch.captions)
    assert true.right == true.total == 40
    assert set(true.by_attribute) == {
        "count",
        "colour",
        "shape",
        "size",
        "relation",
        "background",
    }
    assert all(part.share == 1 for part in true.by_attribute.values())
    wrong = evaluate.score(pipeline, None, batch.images.roll(1, 0), batch.captions)
    assert wrong.right < 5
    assert wrong.clip_score is None


def test_the_report_counts_what_it_says(pipeline, short_probe):
    found = evaluate.evaluate(pipeline, None, QUICK)
    for composition in ("seen", "held_out"):
        part = found[composition]
        assert [each.total for each in (part.model, part.ceiling, part.floor)] == [6, 6, 6]
        assert part.model.calls_per_image == 2 * 2, "two steps, with and without the sentence"
        assert part.ceiling.right >= part.floor.right
        assert part.floor.right == 0
        assert 0 < part.bound_bits_per_token < 8.6, "8.6 bits name one of 384 codes"
        assert 0 <= part.token_bits_given_pixels < 8.6
    unguided = evaluate._generated(
        pipeline,
        None,
        scene_batch(3, generator=torch.Generator().manual_seed(1), composition="seen"),
        Evaluation(3, guidance_scale=1.0, prompts=3),
    )
    assert unguided.calls_per_image == 3


def test_the_generator_in_tokens_is_counted_by_hand():
    """Two squares, 8 times each: one always gets token 5, the other 0 to 7, so 3 bits of it."""
    tokens = torch.stack([torch.full((8,), 5), torch.arange(8)]).T  # (images, 2 x 1 squares)
    vqvae = SimpleNamespace(
        config=SimpleNamespace(downsampling_factor=4), encode=lambda pictures: tokens
    )
    images = torch.zeros(8, 3, 4, 8)
    images[..., 4:] = 1
    stand_in = SimpleNamespace(vqvae=vqvae, device="cpu", dtype=torch.float32)
    assert evaluate.token_bits_given_pixels(stand_in, images) == pytest.approx(1.5)


def test_pictures_do_not_depend_on_how_many_are_drawn(pipeline, monkeypatch):
    captions = ["a red circle", "a small blue square on white", "a large green ring"]
    together = evaluate.generate(pipeline, captions, QUICK)
    monkeypatch.setattr(evaluate, "IMAGES_AT_ONCE", 2)
    apart = evaluate.generate(pipeline, captions, QUICK)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)
    assert not torch.equal(together[0], together[1])


def test_the_floor_is_the_same_network_with_other_weights(pipeline):
    floor = evaluate.untrained(pipeline)
    weight = "to_logits.weight"
    assert not torch.equal(
        floor.denoiser.state_dict()[weight], pipeline.denoiser.state_dict()[weight]
    )
    again = evaluate.untrained(pipeline).denoiser.state_dict()[weight]
    assert torch.equal(floor.denoiser.state_dict()[weight], again)
    assert floor.vqvae is pipeline.vqvae


def test_a_trained_clip_prefers_the_right_caption(pipeline, tmp_path):
    """80 batches of 32 are enough to hear the colours."""
    recipe = Recipe(80, 32, learning_rate=1e-3, ema_decay=0.5, warmup_steps=10)
    train_stages(tmp_path, {"text": recipe})
    from vqlearn.checkpoints import folder as files

    clip = files.load_clip(tmp_path)
    pipeline = VQDiffusionPipeline.from_pretrained("scenes")
    pipeline.text_encoder = files.load_text_encoder(tmp_path)
    batch = scene_batch(100, generator=torch.Generator().manual_seed(2), composition="seen")
    right = evaluate.clip_score(pipeline, clip, batch.images, batch.captions)
    wrong = evaluate.clip_score(pipeline, clip, batch.images.roll(1, 0), batch.captions)
    assert -100 <= wrong < right - 5
    assert right <= 100


def test_contrastive_loss_by_hand():
    similarity = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    rows = (-torch.log_softmax(similarity, 1).diagonal()).mean()
    columns = (-torch.log_softmax(similarity, 0).diagonal()).mean()
    assert contrastive_loss(similarity).item() == pytest.approx(((rows + columns) / 2).item())
    assert contrastive_loss(similarity) > contrastive_loss(torch.diag(torch.full((2,), 9.0)))


def test_the_ceiling_is_the_round_trip(pipeline):
    batch = scene_batch(60, generator=torch.Generator().manual_seed(3), composition="any")
    again = evaluate.round_trip(pipeline, batch.images)
    assert again.shape == batch.images.shape
    assert again.min() >= 0
    assert again.max() <= 1
    assert (again - batch.images).square().mean() < 0.01
    assert prompt_accuracy(again, batch.captions).right > 30


def test_the_command_prints_json_and_writes_it(tmp_path, monkeypatch, capsys, short_probe):
    command, file = ["evaluate", "--steps", 1, "--prompts"], tmp_path / "deep" / "e.json"
    code, stdout, _ = run_command(monkeypatch, capsys, *command, 3, "--out", file)
    report = json.loads(stdout)
    assert code == 0
    assert report == json.loads(file.read_text())
    assert list(report)[:5] == ["steps", "guidance", "truncation", "prompts", "seed"]
    for composition in ("seen", "held_out"):
        part, share = report[composition], {"right", "total", "share", "interval_95"}
        others = {"bound_bits_per_token", "chance_bits_per_token", "text"}
        assert set(part) == {"model", "ceiling", "floor", *others}
        ceiling = {*share, "unreadable", "by_attribute", "clip_score"}
        assert set(part["ceiling"]) == ceiling
        assert set(part["model"]) == {*ceiling, "calls_per_image", "seconds_per_image"}
        assert all(set(each) == share for each in part["model"]["by_attribute"].values())
    code, _, stderr = run_command(monkeypatch, capsys, *command, 0)
    assert code == 1
    assert stderr.splitlines()[-1] == "vqlearn: --prompts is 0; allowed: 1 to 100000"
