"""A finished stage learns on, up to more steps in all: what stays, what is new, what is told.

Of a finished stage there are weights, and no optimizers; its learning rate was a cosine down to the
last step. So it learns on as from a new beginning: from the weights that were kept, which are a
running mean, with a new warm-up and a new cosine over the steps that are added. That is not what as
many steps at once would have given, and `training.json` says so: `steps` are all of them, and
`lengthened` has the recipe of each time they became more. Batches and noise are new as well: they
have the next seed.

The highest learning rate is that of the recipe. The command takes a tenth of the stage's own unless
it is told another: twice that with which the cosine ended, so that little is unlearned.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vqlearn.training import record
from vqlearn.training.loop import Run
from vqlearn.training.state import FOLDER

RATE = 0.1  # of the learning rate of the stage's recipe
ITS_OWN = (
    *("steps", "batch_size", "learning_rate", "ema_decay", "warmup_steps", "seed"),
    *("processes", "mixed_precision"),
)
"""The choices that may be others than before; they are told in `lengthened`."""


def state_name(stage: str) -> str:
    """Under which name the states of a lengthening lie: apart from those of a first training."""
    return f"{stage}-lengthened"


def is_begun(stage: str, folder: Path) -> bool:
    """Is there a state of a lengthening, which was stopped?"""
    return any((folder / FOLDER / state_name(stage)).glob("[0-9]*"))


def choices_before(stage: str, folder: Path, parts: Iterable[str], total: int) -> record.Choices:
    """With which choices the stage was trained so far.

    Raises `ValueError` if they are not known, or if it has more than `total` steps already.
    """
    # While the new weights are written, the record is still that of the old ones.
    begun = is_begun(stage, folder)
    before = record.told(folder, stage) if begun else record.read(folder, stage, parts)
    if before is None:
        raise ValueError(
            f"lengthen is True; allowed: for a stage that was trained in {folder}, with a record "
            f"of its choices; there is none of {stage}"
        )
    if total < before["steps"]:
        raise ValueError(
            f"steps is {total}; allowed: more than the {before['steps']} that {stage} has"
        )
    return before


def run_of(run: Run, before: record.Choices) -> Run:
    """The run of the steps that are added; it has a state before its result is written."""
    more = run.recipe.steps - before["steps"]
    seeds = [before["seed"], *(entry["seed"] for entry in before.get("lengthened", ()))]
    recipe = replace(
        run.recipe,
        steps=more,
        seed=max(seeds) + 1,
        save_every=min(run.recipe.save_every, more),
    )
    return replace(run, recipe=recipe)


def check_same(stage: str, folder: Path, before: record.Choices, now: record.Choices) -> None:
    """Raise `ValueError` if more than the recipe is to be another one."""
    found = record.differing(before, now)
    if names := [name for name in found if name not in (*ITS_OWN, "lengthened")]:
        raise ValueError(
            f"{folder} holds finished {stage}; {record.difference(before, now, names)}, when it is "
            "lengthened"
        )


def choices_after(before: record.Choices, added: record.Choices) -> record.Choices:
    """What is told of the stage once the added steps are done."""
    entry = {name: added[name] for name in ITS_OWN}
    steps, times = before["steps"] + added["steps"], before.get("lengthened", [])
    return {**before, "steps": steps, "lengthened": [*times, entry]}
