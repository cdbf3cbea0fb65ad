"""Both sides of a case do the same work; every case runs, small. Nothing is timed for its time."""

from dataclasses import replace

import pytest
import torch
from bench import (
    distributions,
    generation,
    images,
    raster,
    rules,
    starting,
    training,
)
from bench.case import Setting, images_per_second
from bench.pairs import Alone
from einops import rearrange
from support.accelerate_state import forget_accelerate

from vqlearn.autoregressive.raster_transformer import RasterTransformerConfig
from vqlearn.diffusion import reveal

pytestmark = pytest.mark.filterwarnings("ignore:.*Transformer2DModel:FutureWarning")
TWO = Setting(pairs=2)


@pytest.mark.parametrize("noise", ["fast", "exact"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("guidance", [5.0, 1.0])
def test_generation_asks_both_for_the_same(tiny, monkeypatch, noise, dtype, guidance):
    made, make = [], generation.make_twins
    monkeypatch.setattr(generation, "make_twins", lambda *a: made.append(make(*a)) or made[-1])
    options = {"steps": 3, "guidance": guidance, "dtype": dtype, "noise": noise}
    theirs, ours = generation.generate("cpu", config=tiny, **options)
    (twins,) = made
    rows, asked = [], []
    twins.theirs.transformer.register_forward_hook(lambda _, given, out: rows.append(len(out[0])))
    scores = twins.ours.denoiser.quick_scores
    monkeypatch.setattr(
        twins.ours.denoiser,
        "quick_scores",
        lambda x_t, t, text, positions: (
            asked.append((len(text), positions)) or scores(x_t, t, text, positions)
        ),
    )
    assert theirs().shape == ours().shape == (1, 8, 8, 3)
    count = 2 if guidance > 1 else 1
    assert {*rows} == {captions for captions, _ in asked} == {count}
    assert len(rows) == 3
    assert len(asked) <= 3 if noise == "fast" else len(asked) == 3
    assert {positions is not None for _, positions in asked} == {noise == "fast"}


def test_four_scenes_with_each_sides_own_steps(monkeypatch):
    theirs, ours = generation.default_to_default("cpu", theirs_steps=2, ours_steps=1)
    assert theirs().shape == ours().shape == (4, 32, 32, 3)


def test_truncation_keeps_the_same_codes():
    theirs, ours = (run() for run in distributions.truncate("cpu", num_codes=40, positions=30))
    kept = ~rearrange(theirs, "b k n -> b n k").isneginf()
    assert torch.equal(kept, ~ours.isneginf())
    assert 0 < (~kept).sum() < kept.numel()


def test_the_reverse_step_is_the_same():
    theirs, ours = (run() for run in distributions.reverse_step("cpu", num_codes=40, positions=30))
    torch.testing.assert_close(rearrange(theirs, "b k n -> b n k").exp(), ours.exp().float())


def test_a_training_step_has_the_same_loss_and_gradient(tiny, monkeypatch):
    made, make = [], training.denoiser_twins
    monkeypatch.setattr(training, "denoiser_twins", lambda *a: made.append(make(*a)) or made[-1])
    losses = [run() for run in training.denoiser_step("cpu", config=tiny, batch=2)]
    torch.testing.assert_close(*losses)
    ((theirs, ours),) = made
    torch.testing.assert_close(theirs.out.weight.grad, ours.to_logits.weight.grad)


def test_a_codebook_step_has_the_same_tokens_loss_gradient_and_codes():
    """Three steps: the later ones see what the moving averages did to the codes."""
    theirs, ours = training.codebook_step("cpu", num_codes=5, code_dim=3, vectors=40)
    first = theirs()[1]
    ours()
    for _ in range(2):
        (their_loss, their_tokens, their_gradient), (loss, tokens, gradient) = theirs(), ours()
        assert torch.equal(their_tokens.flatten(), tokens.flatten())
        torch.testing.assert_close((loss, gradient), (their_loss, their_gradient))
    assert not torch.equal(first, their_tokens)


def test_gpt2_has_as_many_weights_and_gives_as_many_tokens():
    networks = raster.gpt2(raster.CONFIG), raster.RasterTransformer(raster.CONFIG)
    sizes = [raster.size(network) for network in networks]
    assert abs(sizes[0] / sizes[1] - 1) < 0.01


def test_both_rasters_draw_from_the_plain_distribution():
    """400 codes, nearly equally likely: 300 draws find more than the 50 likeliest."""
    config = RasterTransformerConfig(400, 4, None, 0, width=8, num_layers=2, num_heads=2)
    for run in raster.sample("cpu", config=config, count=300):
        tokens = run()
        assert tokens.shape == (300, 4)
        assert min(len(column.unique()) for column in tokens.T) > 100


def test_loading_importing_and_the_help(tiny, monkeypatch):
    ran = []
    monkeypatch.setattr(starting, "python", lambda *arguments: ran.append(arguments))
    assert len(starting.loading(tiny, TWO).ratios) == 2
    used, every_weight = [], starting.every_weight
    monkeypatch.setattr(starting, "every_weight", lambda each: used.append(every_weight(each)))
    assert len(starting.loading(tiny, TWO, use=True).ratios) == 2
    assert used == pytest.approx(used[:1] * 6, rel=1e-4)
    assert len(starting.importing("import torch", TWO).ratios) == 2
    assert ran[:2] == [("-c", "import torch"), ("-c", starting.IMPORT_OURS)]
    assert len(starting.help_text(TWO).ours) == 2
    assert len(starting.generating(TWO).ratios) == 2
    assert ran[-1][:3] == ("-m", "bench.process", "theirs")
    assert ran[-2][:3] == ("-m", "vqlearn", "generate")


def test_a_python_of_its_own_finds_both_packages():
    found = starting.python("-c", "import bench.pairs, vqlearn; print(vqlearn.__file__)")
    assert found.strip() == str(starting.ROOT / "vqlearn" / "__init__.py")


def test_a_rule_is_measured_with_the_network_beside_a_plain_step(tiny, monkeypatch):
    config = replace(tiny, num_embeds_ada_norm=100)
    monkeypatch.setattr(rules, "seconds_of_network", lambda config, setting: 1000.0)
    found = rules.a_step(reveal.purity(3), TWO, config)
    assert len(found.ratios) == 2
    assert min(found.theirs + found.ours) > 1000
    assert found.ratio.median == pytest.approx(1, abs=0.01)


def test_the_network_is_timed_for_all_its_blocks(tiny, monkeypatch):
    config = replace(tiny, num_layers=7, num_embeds_ada_norm=100)
    monkeypatch.setattr(rules, "alone", lambda work, times: [Alone((3.0, 1.0, 2.0)), work()][0])
    assert rules.seconds_of_network.__wrapped__(config, TWO) == 14


def test_images_per_second_are_those_of_one_run():
    for make, options in (
        (images.scenes, {"side": 32}),
        (images.tokens, {"side": 32}),
        (images.generation, {"steps": 1, "noise": "fast"}),
        (images.training, {}),
    ):
        found = images_per_second(make, 2, **options)(TWO)
        assert found.unit == "images/s"
        assert len(found.ours) == 2
        assert min(found.ours) > 0
    forget_accelerate()
    slow = images_per_second(lambda device, count: lambda: sum(range(10**6)), 1)(TWO)
    assert max(slow.ours) < 1000


def test_photographs_and_small_files_are_trained_on_in_turn(monkeypatch):
    monkeypatch.setattr(images, "PHOTOGRAPH", (64, 48))
    names, opened = [], images.ImageFolder
    watched = lambda folder, size: names.append(folder.name) or opened(folder, size)  # noqa: E731
    monkeypatch.setattr(images, "ImageFolder", watched)
    recipe = replace(images.TOKEN_STEPS, steps=1, batch_size=2)
    assert len(images.photographs(TWO, recipe, 3).ratios) == 2
    forget_accelerate()
    assert names == ["32", "64"]
