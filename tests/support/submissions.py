"""A course of three small exercises, and submissions to it."""

import json
import math

import torch

from vqlearn.course.exercise import Exercise, Mistake, Property

MEAN = """
def weighted_mean(x, weights):
    return (x * weights).sum(-1) / weights.sum(-1)
"""
LIFE = """
import math

def half_life(rate):
    return math.log(2) / rate
"""
COUNT = """
def count_masks(tokens, mask):
    return (tokens == mask).sum(dim=1)
"""
UNNORMALISED = """
def weighted_mean(x, weights):
    return torch.einsum("bn,bn->b", x, weights)
"""
IMPORT = "import torch\n"
SOLUTION = IMPORT + MEAN + LIFE + COUNT


def weighted_mean(x, weights):
    """Of (b, n) with weights (b, n), along the last axis."""
    return torch.einsum("bn,bn->b", x, weights / weights.sum(dim=1, keepdim=True))


def half_life(rate):
    """Levels until half is gone."""
    return math.log(2) / rate


def count_masks(tokens, mask):
    """How many masks each sequence has."""
    return torch.stack([(row == mask).sum() for row in tokens])


def _pairs(generator):
    """Two calls of `weighted_mean`."""
    return [
        tuple(torch.rand(2, b, n, generator=generator, dtype=torch.float64).unbind())
        for b, n in ((2, 3), (1, 4))
    ]


def _tokens(generator):
    return [(torch.randint(0, 4, (3, 20), generator=generator), 3)]


EXERCISES = {
    one.id: one
    for one in (
        Exercise(
            "weighted_mean",
            2,
            4,
            weighted_mean,
            _pairs,
            (
                Mistake("sum", "the weights were not normalised", lambda x, w: (x * w).sum(-1)),
                Mistake("axis", "the mean goes over the batch", lambda x, w: (x * w).mean(0)),
            ),
            (
                Property(
                    "a mean of positive numbers is positive",
                    lambda arguments, results: bool((results[0] > 0).all()),
                ),
            ),
            differentiable=(0,),
        ),
        Exercise(
            "half_life",
            2,
            2,
            half_life,
            lambda generator: [(0.5,), (float(torch.rand((), generator=generator)),)],
            (Mistake("base", "the logarithm has base 2", lambda rate: 1 / rate),),
        ),
        Exercise(
            "count_masks",
            3,
            3,
            count_masks,
            _tokens,
            (Mistake("others", "all others were counted", lambda x, m: (x != m).sum(1)),),
        ),
    )
}


def code_cell(text, grade_id="", **nbgrader):
    """A cell as nbgrader makes it; without a grade_id one that a student added."""
    about = {"schema_version": 3, "grade_id": grade_id, "solution": True, "locked": False}
    metadata = {"nbgrader": {**about, **nbgrader}} if grade_id else {}
    lines = text.strip("\n").splitlines(keepends=True)
    return {"cell_type": "code", "metadata": metadata, "source": lines, "outputs": []}


def locked_cell(text, grade_id="setup"):
    return code_cell(text, grade_id, solution=False, locked=True)


def notebook(*cells):
    """The text of a notebook; a string becomes a cell that a student added."""
    made = [code_cell(one) if isinstance(one, str) else one for one in cells]
    text = {"cell_type": "markdown", "metadata": {}, "source": "# Exercises\nimport nothing"}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [text, *made]})


def exercise_notebook(mean=MEAN, life=LIFE):
    """A notebook of lesson 2 as a student hands it in."""
    return notebook(
        locked_cell("import torch\nfrom vqlearn.course import check", "setup_02"),
        code_cell(mean, "weighted_mean"),
        locked_cell("assert check(weighted_mean)", "test_weighted_mean"),
        code_cell(life, "half_life"),
        locked_cell("assert check(half_life)", "test_half_life"),
    )


def written(folder, **files):
    """The folder with these texts; `ada__py` is the file ada.py, `ada__x__py` the file ada/x.py."""
    for name, text in files.items():
        *folders, stem, suffix = name.split("__")
        file = folder.joinpath(*folders, f"{stem}.{suffix}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder
