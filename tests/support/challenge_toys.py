"""A small version of the challenge: few prompts, and its example samplers."""

from pathlib import Path

import torch

from vqlearn.challenge import ScenesTask
from vqlearn.course.submissions import Cell, Submission

EXAMPLES = Path(__file__).parents[2] / "notebooks" / "challenge"
BASELINE = (EXAMPLES / "baseline.py").read_text("utf-8")
MASK, NUM_POSITIONS = 384, 64


def small_task(word="public", prompts=3):
    return ScenesTask(word, prompts)


def submission(text, name="ada"):
    """A .py file with this text."""
    return Submission(name, f"{name}.py", "", (Cell("the file", text),))


def masks(count):
    return torch.full((count, NUM_POSITIONS), MASK)


def unmask_all_at_once(network, num_images):
    """One evaluation, every token the likeliest."""
    return network(masks(num_images), 100).argmax(-1)
