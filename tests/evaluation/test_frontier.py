"""The frontier: its rules, evaluations counted at the network, scores counted by hand."""

import json

import pytest
import torch
from support.command import run_command
from support.tiny import WORDS, write_diffusers_folder

from vqlearn import VQDiffusionPipeline
from vqlearn.data.scenes import parse, scene_batch
from vqlearn.diffusion.reveal import ancestral, entropy_bound, fixed_count
from vqlearn.evaluation import frontier
from vqlearn.evaluation.diversity import true_pairs
from vqlearn.evaluation.frontier_rules import RULES, STEPS, FrontierRule, Sizes, counted
from vqlearn.evaluation.prompts import Evaluation

LEVELS, TOKENS = 10, 16
QUICK = (FrontierRule("fixed count", counted(fixed_count), (2,)),)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = write_diffusers_folder(tmp_path_factory.mktemp("frontier") / "model")
    return VQDiffusionPipeline.from_pretrained(folder)


def call(pipe, rule, guidance_scale=1.5):
    with frontier.evaluations(pipe, rule) as needed:
        pipe(WORDS, guidance_scale=guidance_scale, truncation_rate=0.9, rule=rule, output_type="np")
    return needed


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_no_rule_takes_more_evaluations_than_it_says(tiny, rule):
    sizes = Sizes(LEVELS, 4)
    for steps in rule.steps:
        needed = call(tiny, rule.make(sizes, steps), guidance_scale=1.0)
        images = len(WORDS)
        if rule.name == "entropy bound":
            assert images <= sum(needed) <= images * TOKENS
        elif "ancestral" in rule.name:
            assert sum(needed) == images * min(steps, LEVELS)
        elif rule.name == "fixed counts, slow start":
            assert sum(needed) == images * min(steps, TOKENS)
        else:
            assert sum(needed) == images * -(-TOKENS // -(-TOKENS // steps))


def test_64_tokens_in_the_numbers_of_steps_that_are_measured():
    sizes = Sizes(100, 8)
    assert [-(-64 // sizes.tokens(steps)) for steps in STEPS] == [64, 22, 10, 5]
    assert [len(sizes.levels(steps, "even")) - 1 for steps in STEPS] == [100, 25, 10, 5]


def test_finished_images_do_not_count(tiny):
    assert call(tiny, fixed_count(5)) == call(tiny, fixed_count(5), guidance_scale=1.0) == [2] * 4
    assert call(tiny, ancestral([10, 4, 0])) == [2] * 2, "every level, masked tokens or not"
    latents = torch.full((2, TOKENS), tiny.process.mask)
    latents[0, 3:] = 0  # 3 MASK tokens against 16
    rule = fixed_count(4)
    with frontier.evaluations(tiny, rule) as needed:
        tiny(WORDS, guidance_scale=1.0, rule=rule, latents=latents, output_type="np")
    assert needed == [2, 1, 1, 1]
    assert not tiny.denoiser.token_embedding._forward_pre_hooks


def test_an_entropy_bound_needs_other_numbers_for_each_image(tiny):
    needed = call(tiny, entropy_bound(0.0), guidance_scale=1.0)
    assert needed == sorted(needed, reverse=True)


def test_scores_are_those_of_the_pairs():
    captions = ["a small red circle on white", "a blue square", "a blue square"]
    (a, b), (c, d), (e, _) = true_pairs(
        [parse(caption) for caption in captions], generator=torch.Generator().manual_seed(0)
    )
    point = frontier.score([a, b, c, a, None, None], captions)
    assert point.right_images == "210"
    assert point.shares.tolist() == [1, 0.5, 0]
    assert point.accuracy.value == pytest.approx(0.5)
    assert point.accuracy.high - point.accuracy.low > 0.5, "3 prompts, not 6 images"
    assert point.diversity == {}
    assert frontier.score([a, b, c, d, e, e], captions).diversity["all"].pairs == 3


def test_true_scenes_are_right_and_as_diverse_as_the_world():
    pipeline = VQDiffusionPipeline.from_pretrained("scenes")
    found = frontier.measure_true_scenes(pipeline, Evaluation(prompts=20))
    for point in found.values():
        assert point.accuracy.value > 0.75
        assert 0.6 < point.diversity["all"].value < 1.4


@pytest.fixture
def quick(monkeypatch):
    """The command with one rule, two steps and two prompts takes a second."""
    monkeypatch.setattr(frontier.measure_rules, "__defaults__", (QUICK,))


def test_the_command_prints_json_and_writes_it(quick, tmp_path, monkeypatch, capsys):
    file = tmp_path / "deep" / "frontier.json"
    arguments = ("--frontier", "--prompts", 2, "--seed", 1, "--out", file)
    code, stdout, _ = run_command(monkeypatch, capsys, "evaluate", *arguments)
    report = json.loads(stdout)
    assert code == 0
    assert report == json.loads(file.read_text())
    settings = {name: report.pop(name) for name in ("guidance", "truncation", "prompts", "seed")}
    assert settings == {"guidance": 1.5, "truncation": 0.9, "prompts": 2, "seed": 1}
    assert report.pop("images") == frontier.IMAGES == 2
    assert list(report) == ["fixed count"]
    for part in report["fixed count"]["2"].values():
        assert (part["steps"], part["evaluations"]) == (2, 4)
        assert len(part["right_images"]) == 2
        assert part["share"] == sum(map(int, part["right_images"])) / 4
        low, high = part["interval_95"]
        assert low <= part["share"] <= high


def test_images_do_not_depend_on_how_many_are_drawn(monkeypatch):
    pipeline = VQDiffusionPipeline.from_pretrained("scenes")
    captions = scene_batch(
        3, generator=torch.Generator().manual_seed(1), composition="any"
    ).captions
    rule = fixed_count(32)
    together = frontier._generate(pipeline, rule, captions, 0, Evaluation())
    apart = [
        frontier._generate(pipeline, rule, [c], i, Evaluation()) for i, c in enumerate(captions)
    ]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=0)
    assert not torch.equal(together[0], together[1]), "two images of one prompt"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", 10], "--steps is 10; allowed with --frontier: none, rules have their own"),
        (["--data", "folder"], "--data is 'folder'; allowed with --frontier: 'scenes'"),
        (["--prompts", 0], "--prompts is 0; allowed: 1 to 100000"),
    ],
)
def test_options_that_do_not_apply_are_refused(monkeypatch, capsys, options, message):
    code, _, stderr = run_command(monkeypatch, capsys, "evaluate", "--frontier", *options)
    assert (code, stderr.splitlines()[-1]) == (1, f"vqlearn: {message}")


def test_other_models_are_refused(tiny, tmp_path, monkeypatch, capsys):
    tiny.save_pretrained(tmp_path / "other")
    code, _, stderr = run_command(
        monkeypatch, capsys, "evaluate", "--frontier", "--model", tmp_path / "other"
    )
    assert code == 1
    assert "the model was not trained on scenes" in stderr
