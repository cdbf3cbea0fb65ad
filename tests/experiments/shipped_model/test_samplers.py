"""Four samplers, two of them wrong: one of the others is the pipeline's."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from support.tiny import WORDS, write_diffusers_folder

from vqlearn import VQDiffusionPipeline
from vqlearn.diffusion.schedule import build_schedule, released
from vqlearn.evaluation.prompts import Evaluation
from vqlearn.experiments.shipped_model import samplers
from vqlearn.experiments.shipped_model.runs import weights_digest
from vqlearn.probability.random import random_stream

REPORT = Path(__file__).parents[3] / "figures" / "samplers.json"
STEPS, CALLS = 10, 4


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = write_diffusers_folder(tmp_path_factory.mktemp("samplers") / "model", grid=8)
    return VQDiffusionPipeline.from_pretrained(folder)


def tokens_of(pipe, plan):
    return samplers.sample_tokens(pipe, WORDS, plan, Evaluation(), first=3)


def test_the_exact_sampler_draws_the_tokens_of_the_pipeline(pipe):
    seen = []
    pipe(
        WORDS,
        **Evaluation(num_inference_steps=CALLS).call_options(),
        generator=[random_stream("evaluated picture", 0, position) for position in (3, 4)],
        callback=lambda i, timestep, tokens: seen.append(tokens),
    )
    start, *after = tokens_of(pipe, samplers.PLANS["slow start"](STEPS, CALLS))
    assert (start == pipe.process.mask).all()
    assert len(after) == len(seen) == CALLS
    assert all(torch.equal(a, b) for a, b in zip(after, seen, strict=True))


def test_the_wrong_samplers_make_as_many_calls_and_draw_something_else(pipe):
    exact = tokens_of(pipe, samplers.exact_plan(STEPS, CALLS))
    for plan in (samplers.wrong_prefix_plan, samplers.wrong_lagging_plan):
        wrong = tokens_of(pipe, plan(STEPS, CALLS))
        assert len(wrong) == len(exact)
        assert (wrong[-1] < pipe.process.mask).all()
        assert not torch.equal(wrong[-1], exact[-1])


def test_with_all_levels_the_four_are_one():
    for plan in samplers.PLANS.values():
        assert plan(STEPS, STEPS) == [(t, t, s) for t, s in pairwise(range(STEPS, -1, -1))]


def test_a_stride_of_10_that_lags_leaves_most_tokens_for_the_last_call():
    """On the released schedule, where the official code, with one call more, leaves 66 %."""
    gamma_bar = build_schedule(released(4)).gamma_bar
    left = 1.0
    for _, t, s in samplers.wrong_lagging_plan(100, 10)[:-1]:
        left *= float(gamma_bar[s] / gamma_bar[t])
    assert 0.6 < left < 0.8


def test_every_plan_is_measured_at_every_number_of_calls(pipe, monkeypatch):
    monkeypatch.setattr(samplers, "load_pipeline", lambda: pipe)
    runs = samplers.sampler_runs(prompts=3, calls=(2, CALLS))
    assert [run.id for run in runs][:2] == ["exact/2", "exact/4"]
    assert {run.plan for run in runs} == set(samplers.PLANS)
    for run in runs:
        found = run.measure(None)
        assert found.accuracy.total == run.settings()["prompts"] == 3
        assert found.revealed_in_last_call.total == 3 * 64


def test_the_stored_runs_are_of_the_weights_that_ship():
    stored = json.loads(REPORT.read_text())["runs"]
    assert len(stored) == len(samplers.PLANS) * len(samplers.CALLS)
    for run in stored.values():
        assert run["settings"]["weights_sha256"] == weights_digest()
        assert run["settings"]["prompts"] == samplers.PROMPTS
