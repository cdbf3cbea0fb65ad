"""What a command asks for, looked at before any work: which stages, with which options, where to.

Raises `TypeError` or `ValueError` that names the option.
"""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.layout import VQVAE_FOLDER
from vqlearn.data import Source
from vqlearn.data.folder_options import DEFAULT_READING, Reading
from vqlearn.diffusion.schedule import SCHEDULES
from vqlearn.probability.checks import check_choice, check_integer, shown
from vqlearn.storage import as_path, check_output_folder
from vqlearn.tokens import QUANTIZERS
from vqlearn.training.loop import Run, best_accelerator, check_workers
from vqlearn.training.recipes import RECIPES, Recipe
from vqlearn.training.said_once import said_once
from vqlearn.training.sizes import SMALL, Sizes, sizes_of
from vqlearn.training.stages import kept, lengthening, order
from vqlearn.training.stages.estimate import tell_time
from vqlearn.training.stages.order import SCENES, STAGES, VQ_DIFFUSION
from vqlearn.training.state import TrainingState
from vqlearn.training.tasks.captioned import COME_FIRST, check_come_first
from vqlearn.training.tasks.start import check_fits, goes_on, is_textless

RUNS = Path("runs")
CHOICES = {"quantizer": QUANTIZERS, "schedule": SCHEDULES}
"""What an option of a stage may be, where it is a word."""
SIZES = {each.name for each in fields(Sizes)}
OF_SIZES = {**{name: {name} for name in SIZES}, "width": {"size"}, "layers": {"size"}}
DECIDES = {"preset": SIZES, **OF_SIZES}
"""The options for sizes, and the fields of `Sizes` that each decides."""

Options = dict[str, dict[str, Any]]
Numbers = float | Mapping[str, float] | None
"""Of a recipe: one for all stages, one for each by its name, or that of the stage's own recipe."""


@dataclass(frozen=True)
class Plan:
    """A stage, or "all" of VQ-Diffusion, to be trained in one folder: what `vqlearn train` does.

    `recipe` has fields of `Recipe`, `options` those of the stages' tasks and of `sizes_of`,
    `machine` those of `best_accelerator`, `reading` those of a folder of images. What is left out,
    or None, is as in the command. `tokenizer` is a folder whose VQ network is taken instead of the
    stage "tokens".
    """

    stage: str = "all"
    data: str = SCENES
    image_size: int = 32
    recipe: Mapping[str, Numbers] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 0
    start_from: str | None = None
    preview: int | None = None
    reading: Reading = DEFAULT_READING
    tokenizer: str | None = None

    @said_once()
    def train(self, out: str | Path | None = None, *, lengthen: bool = False) -> Path:
        """Train in `out`, by default in a folder for these data; returns it.

        With `lengthen` the stage is finished and learns on: see `stages.lengthening`.
        """
        self._check_tokenizer()
        options = options_of(self.stage, self.start_from, self.options, self.tokenizer)
        recipes = recipes_of(list(options), self.recipe)
        if lengthen:
            recipes = longer(self.stage, recipes, self.recipe)
        check_workers(self.workers)
        self._check_preview()
        start = None if self.start_from is None else resolve(self.start_from)
        tokenizer = None if self.tokenizer is None else resolve(self.tokenizer)
        if start is not None:
            options = beside(start, options, self.options)
            recipes = {name: recipes[name] for name in options}
        folder = folder_of(self.stage, self.data) if out is None else as_path("out", out)
        order.check_data(
            self.data, self.image_size, downsample_of(options, start or tokenizer or folder)
        )
        order.check_reading(self.data, self.reading)
        machine = {**self.machine, "project_dir": folder / "logs"}
        best_accelerator(**machine)
        check_output_folder("out", folder)
        for stage in map(STAGES.get, options):
            if stage.is_finished(folder):
                kept.check_sizes(folder, stage.parts, sizes_asked(self.options))
        source = order.open_source(self.data, self.image_size, self.reading)
        taken = () if tokenizer is None else ("tokens",)
        check_start([*taken, *options], folder, source, start)
        quiet = best_accelerator(**{**machine, "log_with": None})
        run = Run(folder, source, next(iter(recipes.values())), quiet, start_from=start)
        if tokenizer is not None:
            order.take_tokenizer(tokenizer, run)
        tell_time(run, recipes, options)
        for name, recipe in recipes.items():
            device, preview = best_accelerator(**machine), self.preview or 0
            run = Run(folder, source, recipe, device, self.workers, start, preview)
            order.train(name, run, lengthen=lengthen, **options[name])
        return folder

    def _check_tokenizer(self) -> None:
        """It stands for the stage "tokens", and a checkpoint to start from has one of its own."""
        if self.tokenizer is None:
            return
        seen = f"tokenizer is {shown(self.tokenizer)}"
        if self.stage == "tokens":
            raise ValueError(f"{seen}; allowed: none for the stage 'tokens'")
        if self.start_from is not None:
            raise ValueError(f"{seen}; allowed: none with start_from {shown(self.start_from)}")

    def _check_preview(self) -> None:
        if self.preview is None:
            return
        check_integer("preview", self.preview, 1)
        if self.stage == "text":
            raise ValueError(
                f"preview is {self.preview}; allowed: none for the stage 'text', it has no pictures"
            )


def options_of(
    stage: str,
    start_from: str | None,
    given: Mapping[str, Any],
    tokenizer: str | None = None,
) -> Options:
    """The options of each stage that is asked for. One that no stage takes is refused."""
    check_choice("stage", stage, ("all", *STAGES))
    trained = VQ_DIFFUSION if tokenizer is None else VQ_DIFFUSION[1:]
    names = trained if stage == "all" else (stage,)
    takes = {name: set(inspect.signature(STAGES[name].task).parameters) for name in names}
    given = {option: value for option, value in given.items() if value is not None}
    for option, value in given.items():
        if option in CHOICES:
            check_choice(option, value, CHOICES[option])
    beside_tokenizer = "" if tokenizer is None else f" with the tokenizer {shown(tokenizer)}"
    _check_taken(given, takes, f"allowed: none for the stage {stage!r}{beside_tokenizer}")
    if stage == "tokens" and start_from is not None:
        raise ValueError(f"start_from is {shown(start_from)}; allowed: none for 'tokens'")
    sizes = vars(sizes_of({option: given[option] for option in given if option in DECIDES}))
    others = {option: value for option, value in given.items() if option not in DECIDES}
    return {
        name: {option: value for option, value in {**sizes, **others}.items() if option in taken}
        for name, taken in takes.items()
    }


def sizes_asked(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options for sizes that are given; a preset gives all of them."""
    if given.get("preset") is None:
        return given
    sizes = sizes_of({option: given.get(option) for option in DECIDES})
    return {**vars(sizes), "width": sizes.size.width, "layers": sizes.size.num_layers}


def beside(start: Path, options: Options, given: Mapping[str, Any]) -> Options:
    """The options of the stages whose results are not taken from the checkpoint to start from.

    The others have none. An option that none of these stages takes is refused.
    """
    if is_textless(start):
        if "diffusion" not in options:
            raise ValueError(
                f"stage is {next(iter(options))!r}; allowed: 'diffusion', {start} is a model "
                "without text; its tokens alone are taken with --tokenizer"
            )
        options = {"diffusion": options["diffusion"]}
    left = {
        name: {} if STAGES[name].is_taken_from(start) or _goes_on(name, start) else own
        for name, own in options.items()
    }
    given = {option: value for option, value in given.items() if value is not None}
    _check_taken(given, left, f"allowed: none with start_from, {start} has its own")
    return left


def check_start(names: Collection[str], folder: Path, source: Source, start: Path | None) -> None:
    """Is all there that the token model among these stages needs, and does it fit the images?

    Raises `CheckpointError` or `ValueError` before anything is copied to the folder.
    """
    if "diffusion" in names and start is None and (is_textless(folder) or _has_begun_from(folder)):
        raise ValueError(f"start_from is None; allowed: that with which {folder} was trained")
    if "diffusion" in names and goes_on(start):
        check_fits(start, source)
    if set(names) & set(order.TOKEN_MODELS) and not is_textless(start):
        first = [name for name in COME_FIRST if name not in names]
        check_come_first(folder, source, first, [] if start is None else [start])


def _has_begun_from(folder: Path) -> bool:
    """Is there the state of a training that started from a checkpoint?"""
    state = TrainingState(folder, "diffusion", {})
    return state.latest() > 0 and state.config().get("start_from_name") is not None


def downsample_of(options: Options, there: Path) -> int:
    """The pixels of a token's side: of tokens that are to be trained, else of those in a folder."""
    chosen = options.get("tokens") or kept.sizes_of(there / VQVAE_FOLDER)
    return chosen.get("downsample", SMALL.downsample)


def _goes_on(name: str, start: Path) -> bool:
    return name == "diffusion" and goes_on(start)


def _check_taken(given: Mapping[str, Any], takes: Mapping[str, Collection], allowed: str) -> None:
    for option, value in given.items():
        decided = DECIDES.get(option, {option})
        if not any(decided & set(taken) for taken in takes.values()):
            raise ValueError(f"{option} is {shown(value)}; {allowed}")


def recipes_of(names: list[str], given: Mapping[str, Numbers]) -> dict[str, Recipe]:
    """The recipes of these stages, with the numbers that are given.

    A number is for all of them, or there is one for each stage that is named. Raises `ValueError`
    for a stage that is not among them.
    """
    for option, value in given.items():
        for stage in value if isinstance(value, Mapping) else ():
            check_choice(f"a stage of {option}", stage, names)
    return {name: replace(RECIPES[name], **_numbers_of(name, given)) for name in names}


def longer(
    stage: str, recipes: Mapping[str, Recipe], given: Mapping[str, Numbers]
) -> dict[str, Recipe]:
    """The recipe of a stage that learns on: a tenth of the learning rate, unless one is given."""
    if stage == "all":
        raise ValueError("lengthen is True; allowed: for one stage, not for 'all'")
    if given.get("learning_rate") is not None:
        return dict(recipes)
    rate = lengthening.RATE
    return {
        name: replace(recipe, learning_rate=rate * recipe.learning_rate)
        for name, recipe in recipes.items()
    }


def _numbers_of(name: str, given: Mapping[str, Numbers]) -> dict[str, float]:
    each = {
        option: value.get(name) if isinstance(value, Mapping) else value
        for option, value in given.items()
    }
    return {option: value for option, value in each.items() if value is not None}


def folder_of(stage: str, data: str) -> Path:
    """Where a checkpoint grows unless the user says it: `runs/scenes`, `runs/raster`, `runs/DATA`.

    Each data has a folder of its own, and in it every kind of token model.
    """
    own = "" if stage in ("all", *VQ_DIFFUSION) else stage
    if data == SCENES:
        return RUNS / (own or SCENES)
    name = as_path("data", data).resolve().name or "data"
    return RUNS / (f"{name}-{own}" if own else name)
