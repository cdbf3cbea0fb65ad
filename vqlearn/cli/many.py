"""Images of many prompts in a folder: each has a seed of its own, so the work can be stopped,
shared among processes and taken up again, and comes out the same.

    out/metadata.jsonl     {"file_name": "000000.png", "text": "a red circle", "seed": 0}, …
    out/000000.png         as large as the model makes them
    out/batch.json         what all of it was made with

That is a folder of images as `vqlearn train --data` and `vqlearn evaluate --data` take it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from tqdm.auto import tqdm

from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.layout import PARTS
from vqlearn.cli.models import open_model
from vqlearn.pipeline import TextToImagePipeline, VQDiffusionPipeline
from vqlearn.probability import Sampling
from vqlearn.probability.checks import shown
from vqlearn.storage import atomic_write, write_json, write_text
from vqlearn.training import record

METADATA, CHOICES = "metadata.jsonl", "batch.json"


@dataclass(frozen=True)
class Job:
    """One image: its file, its prompt, and its seed."""

    file_name: str
    text: str
    seed: int


def read_prompts(file: Path) -> list[str]:
    """One prompt a line, or of a `.jsonl` file the "text" of every line; empty lines do not count.

    Raises `ValueError` that names the line for what is no prompt, and if there are none.
    """
    prompts = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            text = line.decode("utf-8-sig").strip()
            if text:
                prompts.append(_text_of(json.loads(text)) if file.suffix == ".jsonl" else text)
        except ValueError as error:
            raise ValueError(
                f"{file} line {number} is {shown(line.decode(errors='replace'))}; allowed: "
                + ('{"text": "a prompt"}' if file.suffix == ".jsonl" else "text in UTF-8")
            ) from error
    if not prompts:
        raise ValueError(f"{file} has no prompt; allowed: one a line")
    return prompts


def _text_of(line: object) -> str:
    text = line.get("text") if isinstance(line, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"text is {text!r}")
    return text


def jobs_of(prompts: Sequence[str], images: int, seed: int) -> list[Job]:
    """So many images of each prompt; image i of them all has the seed SEED + i."""
    texts = [prompt for prompt in prompts for _ in range(images)]
    return [Job(f"{i:06d}.png", text, seed + i) for i, text in enumerate(texts)]


def make_images(
    model: tuple[str, str | None],
    jobs: Sequence[Job],
    folder: Path,
    sampling: Sampling,
    batch_size: int,
) -> None:
    """Make the images that are not there yet; each process takes every so-manieth.

    `model`: the name of a checkpoint, and its dtype, None: as stored.
    Raises `ValueError` for a folder that holds images of other prompts or another model.
    """
    state = PartialState()
    with state.main_process_first():
        if state.is_main_process:
            begin(folder, jobs, choices(*model, sampling))
    own = jobs[state.process_index :: state.num_processes]
    missing = [job for job in own if not (folder / job.file_name).exists()]
    if missing:
        name, dtype = model
        pipeline = open_model(name, state.device, dtype)
        bar = {**pipeline.progress_bar_config, "disable": not state.is_main_process}
        pipeline.set_progress_bar_config(disable=True)
        for some in in_parts(missing, batch_size, bar):
            write_images(pipeline, some, folder, sampling)
    state.wait_for_everyone()


def choices(model: str, dtype: str | None, sampling: Sampling) -> dict[str, Any]:
    """What decides the images, besides the jobs."""
    digest = record.digest_of(resolve(model), PARTS)
    return {"model": digest, "dtype": dtype, **asdict(sampling)}


def begin(folder: Path, jobs: Sequence[Job], chosen: dict[str, Any]) -> None:
    """Write what the folder will hold. Raises `ValueError` if it holds something else."""
    lines = "".join(json.dumps(asdict(job), ensure_ascii=False) + "\n" for job in jobs)
    metadata, settings = folder / METADATA, folder / CHOICES
    if metadata.exists() or settings.exists():
        before = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {}
        same = metadata.exists() and metadata.read_text(encoding="utf-8") == lines
        if not same or before != chosen:
            different = [name for name in chosen if before.get(name) != chosen[name]]
            raise ValueError(
                f"--out is {str(folder)!r}, which holds images of other "
                f"{', '.join(different) or 'prompts or seeds'}; allowed: a new folder"
            )
        return
    write_json(settings, chosen)
    write_text(metadata, lines)


def in_parts(jobs: Sequence[Job], size: int, options: dict[str, Any]) -> Iterator[Sequence[Job]]:
    """Parts of `size`, with a progress bar."""
    with tqdm(total=len(jobs), unit=" images", **options) as bar:
        for first in range(0, len(jobs), size):
            yield jobs[first : first + size]
            bar.update(min(size, len(jobs) - first))


def write_images(
    pipeline: TextToImagePipeline, jobs: Sequence[Job], folder: Path, sampling: Sampling
) -> None:
    """Generate these images together; no one depends on the others."""
    quick = {"noise": "fast"} if isinstance(pipeline, VQDiffusionPipeline) else {}
    images = pipeline(
        [job.text for job in jobs],
        **asdict(sampling),
        **quick,
        generator=[torch.Generator().manual_seed(job.seed) for job in jobs],
    ).images
    for job, image in zip(jobs, images, strict=True):
        with atomic_write(folder / job.file_name) as part:
            image.save(part)
