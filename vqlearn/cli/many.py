"""Images of many prompts in a folder: each has a seed of its own, so the work can be stopped,
shared among processes and taken up again.

    out/metadata.jsonl     {"file_name": "000000.png", "text": "a red circle", "seed": 0}, …
    out/000000.png         as large as the model makes them
    out/batch.json         what all of it is made with

That is a folder of images as `vqlearn train --data` and `vqlearn evaluate --data` take it.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from vqlearn.checkpoints import resolve
from vqlearn.checkpoints.layout import PARTS
from vqlearn.cli.models import open_text_model
from vqlearn.pipeline import TextToImagePipeline, VQDiffusionPipeline
from vqlearn.pipeline.arguments import checked_prompts
from vqlearn.probability import Sampling
from vqlearn.probability.checks import check_integer, shown
from vqlearn.storage import atomic_write, write_json, write_text
from vqlearn.training import record
from vqlearn.training.loop import best_accelerator
from vqlearn.training.processes import holding, in_main_process

METADATA, CHOICES, LOCK = "metadata.jsonl", "batch.json", ".lock"
LINES = {".txt": "a prompt", ".jsonl": '{"text": "a prompt"}'}
"""The endings of files of prompts, and what a line of each is."""


@dataclass(frozen=True)
class Job:
    """One image: its file, its prompt, and its seed."""

    file_name: str
    text: str
    seed: int


def read_prompts(file: Path) -> list[str]:
    """One prompt a line, or of a `.jsonl` file the "text" of every line; empty lines do not count.

    Raises `ValueError` for another ending, for what is no prompt, with the number of its line, and
    if there are none.
    """
    kind = file.suffix.lower()
    if kind not in LINES:
        raise ValueError(f"PROMPTS is {shown(str(file))}; allowed: a file *.txt or *.jsonl")
    prompts = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            text = line.decode("utf-8-sig").strip()
            if text:
                prompts += checked_prompts(_text_of(json.loads(text)) if kind != ".txt" else text)
        except (ValueError, TypeError, RecursionError) as error:
            seen = shown(line.decode(errors="replace"))
            raise ValueError(
                f"{file} line {number} is {seen}; allowed: {LINES[kind]}, in UTF-8"
            ) from error
    if not prompts:
        raise ValueError(f"{file} has no prompt; allowed: one a line")
    return prompts


def _text_of(line: object) -> str:
    text = line.get("text") if isinstance(line, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"text is {text!r}")
    return text.strip()


def jobs_of(prompts: Sequence[str], images: int, seed: int) -> list[Job]:
    """So many images of each prompt; image i of them all has the seed SEED + i."""
    texts = [prompt for prompt in prompts for _ in range(images)]
    return [Job(f"{i:06d}.png", text, seed + i) for i, text in enumerate(texts)]


def make_images(
    model: tuple[str, str | None, str | None],
    jobs: Sequence[Job],
    folder: Path,
    settings_for: Callable[[Sampling | None], Sampling],
    batch_size: int,
) -> None:
    """Make the images that are not there yet; of n processes each makes every n-th of them.

    `model`: the name of a checkpoint, the device (None: the best, another one for each process) and
    the dtype (None: as stored). `settings_for`: of what a checkpoint recommends, the settings of
    sampling. Nothing is written before all of it can be used.

    Raises `BlockingIOError` if another command works in the folder, and `ValueError` if the folder
    holds anything else than a part of these images.
    """
    accelerator, (name, device, dtype) = best_accelerator(), model
    pipeline = open_text_model(name, accelerator.device if device is None else device, dtype)
    sampling = settings_for(pipeline.recommended)
    if isinstance(pipeline, VQDiffusionPipeline):
        check_integer("--steps", sampling.num_inference_steps, 1, pipeline.process.num_timesteps)
    bar = {**pipeline.progress_bar_config, "disable": not accelerator.is_main_process}
    pipeline.set_progress_bar_config(disable=True)
    refusal = f"--out is {str(folder)!r}, in which another command works; allowed: another folder"
    with holding(folder / LOCK, accelerator, refusal):
        chosen = choices(name, pipeline, sampling)
        in_main_process(accelerator, partial(begin, folder, jobs, chosen))
        missing = [job for job in jobs if not _is_made(folder / job.file_name)]
        accelerator.wait_for_everyone()  # all share the same list: nobody has made any of it yet
        own = missing[accelerator.process_index :: accelerator.num_processes]
        for some in in_parts(own, batch_size, bar):
            write_images(pipeline, some, folder, sampling)
        accelerator.wait_for_everyone()


def choices(name: str, pipeline: TextToImagePipeline, sampling: Sampling) -> dict[str, Any]:
    """What decides the images, besides the jobs."""
    digest = record.digest_of(resolve(name), PARTS)
    return {"model": digest, "dtype": str(pipeline.dtype), **asdict(sampling), **noise_of(pipeline)}


def noise_of(pipeline: TextToImagePipeline) -> dict[str, str]:
    """VQ-Diffusion has a quick way to the same distribution."""
    return {"noise": "fast"} if isinstance(pipeline, VQDiffusionPipeline) else {}


def begin(folder: Path, jobs: Sequence[Job], chosen: Mapping[str, Any]) -> None:
    """Write what the folder will hold. Raises `ValueError` if it holds something else."""
    lines = "".join(json.dumps(asdict(job), ensure_ascii=False) + "\n" for job in jobs)
    chosen = {**chosen, "prompts and seeds": hashlib.sha256(lines.encode()).hexdigest()[:16]}
    settings = folder / CHOICES
    if settings.exists():
        before = _read(settings)
        if different := [name for name in chosen if before.get(name) != chosen[name]]:
            raise ValueError(
                f"--out is {str(folder)!r}, which holds images of other {', '.join(different)}; "
                "allowed: a new folder"
            )
    elif foreign := [each.name for each in folder.iterdir() if each.name != LOCK]:
        raise ValueError(
            f"--out is {str(folder)!r}, which holds {shown(min(foreign))} and no {CHOICES}; "
            "allowed: a new folder"
        )
    write_json(settings, chosen)
    write_text(folder / METADATA, lines)


def _read(settings: Path) -> dict[str, Any]:
    try:
        found = json.loads(settings.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{settings} is damaged; allowed: as it was written, or a new folder")
    return found


def _is_made(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def in_parts(jobs: Sequence[Job], size: int, options: Mapping[str, Any]) -> Iterator[Sequence[Job]]:
    """Parts of `size`, with a progress bar."""
    with tqdm(total=len(jobs), unit=" images", **options) as bar:
        for first in range(0, len(jobs), size):
            yield jobs[first : first + size]
            bar.update(min(size, len(jobs) - first))


def write_images(
    pipeline: TextToImagePipeline, jobs: Sequence[Job], folder: Path, sampling: Sampling
) -> None:
    """Generate these images together; each has random numbers of its own."""
    images = pipeline(
        [job.text for job in jobs],
        **asdict(sampling),
        **noise_of(pipeline),
        generator=[torch.Generator().manual_seed(job.seed) for job in jobs],
    ).images
    for job, image in zip(jobs, images, strict=True):
        with atomic_write(folder / job.file_name) as part:
            image.save(part)
