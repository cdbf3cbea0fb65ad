"""How fast is it here? `make bench` prints a table, and ratios: a step beside diffusers', rules.

The threads are torch's own choice: set OMP_NUM_THREADS to measure fewer.
"""

import json
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import VQDiffusionScheduler
from einops import rearrange
from PIL import Image
from support.denoisers import RELEASED, random_inputs
from torch.utils.benchmark import Timer

from vqlearn import VQDiffusionPipeline
from vqlearn.data import ImageFolder
from vqlearn.data.batches import Scenes
from vqlearn.diffusion import reveal, sampler
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.reveal.unmasking import unmasking_step
from vqlearn.diffusion.schedule import build_schedule, released
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.random import random_stream
from vqlearn.training.loop import Run, fit
from vqlearn.training.recipes import RECIPES
from vqlearn.training.tasks.diffusion import diffusion_task
from vqlearn.training.tasks.tokens import tokens_task
from vqlearn.transformer.denoiser import Denoiser

SECONDS = 3.0
FILES = {"12 megapixels": (4000, 3000), "32 pixels": (32, 32)}
ALTERNATIONS, TOKEN_STEPS = 10, 40
RULES = {
    "fixed count": reveal.fixed_count(10),
    "purity, r = 0": reveal.purity(10),
    "purity, r = 1": reveal.purity(10, 1.0),
    "top purity": reveal.top_purity(10),
    "confidence": reveal.confidence(10),
    "Halton": reveal.halton(10, 32, 32),
    "entropy bound": reveal.entropy_bound(1.0),
}


def seconds(work) -> float:
    """The median time of one call, measured for about three seconds."""
    return Timer("work()", globals={"work": work}).blocked_autorange(min_run_time=SECONDS).median


def report(what: str, pictures: int, work) -> None:
    """One line: images in a second."""
    print(f"{what:<48}{pictures / seconds(work):>12,.1f} pictures/s", flush=True)


def training_step(folder: Path, device: str):
    """One step of the diffusion stage without its optimizer, on the tokens of `folder`."""
    recipe, source = RECIPES["diffusion"], Scenes(32, "seen")
    accelerator = Accelerator(cpu=device == "cpu")
    run = Run(folder, source, recipe, accelerator)
    task = diffusion_task(run)
    batch = source.batch(recipe.batch_size, generator=random_stream("bench"))
    return lambda: task.losses(task.network, batch, 0)[0]["loss"].backward()


def noise_folder(folder: Path, size: Sequence[int], count: int = 20) -> Path:
    """Images of random squares, as JPEG, with their captions."""
    folder.mkdir()
    lines, generator = [], np.random.default_rng(0)
    for number in range(count):
        squares = generator.integers(256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(squares).resize(size).save(folder / f"{number}.jpg")
        lines.append(json.dumps({"file_name": f"{number}.jpg", "text": f"squares {number}"}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def photographs_beside_small_files(device: str) -> None:
    """The stage "tokens" on large files and on small ones in turn, once both have been read.

    They have become the same squares of pixels by then, so the size of a file must not matter.
    """
    recipe = replace(RECIPES["tokens"], steps=TOKEN_STEPS)
    rates = {name: [] for name in FILES}
    with tempfile.TemporaryDirectory() as folder:
        sources = {
            name: ImageFolder(noise_folder(Path(folder) / name, size), 32)
            for name, size in FILES.items()
        }
        for number in range(ALTERNATIONS):
            for name, source in sources.items():
                out = Path(folder) / f"{name}, {number}"
                task = tokens_task(Run(out, source, recipe, Accelerator(cpu=device == "cpu")))
                begin = time.perf_counter()
                fit("tokens", task)
                passed = time.perf_counter() - begin
                rates[name].append(recipe.steps * recipe.batch_size / passed)
    for name, found in rates.items():
        print(f"tokens from files of {name:<27}{median(found):>12,.1f} pictures/s", flush=True)


def posterior_beside_diffusers(num_codes: int = 4096, level: int = 50) -> None:
    """One step back for 1,024 tokens on the CPU, both from the same predicted distribution and the
    same tokens."""
    ours = MaskAndReplace(build_schedule(released(num_codes, 100)))
    theirs = VQDiffusionScheduler(num_vec_classes=num_codes + 1, num_train_timesteps=100)
    generator = random_stream("bench", "posterior")
    log_p_x0 = log_normalise(torch.randn(1, 1024, num_codes, generator=generator))
    x_0 = torch.randint(num_codes, (1, 1024), generator=generator)
    x_t = ours.corrupt(x_0, level, generator=generator)
    classes_first = rearrange(log_p_x0, "b n k -> b k n").contiguous()
    t = torch.tensor([level - 1])
    milliseconds = 1e3 * seconds(lambda: ours.log_reverse(log_p_x0, x_t, level - 1, level))
    of_theirs = 1e3 * seconds(lambda: theirs.q_posterior(classes_first, x_t, t))
    print(f"step back, {num_codes + 1:,} classes, 1,024 tokens{milliseconds:>18,.1f} ms")
    ratio = of_theirs / milliseconds
    print(f"the same in diffusers{of_theirs:>39,.1f} ms, {ratio:.1f} times as long", flush=True)


@torch.no_grad()
def rules_beside_a_step(device: str, level: int = 50) -> None:
    """What an unmasking rule adds to a step of the released size: network, then a plain step.

    The network is timed with one block, times its number of blocks.
    """
    network = Denoiser(replace(RELEASED, num_layers=1)).to(device).eval()
    process = MaskAndReplace(build_schedule(released(RELEASED.num_codes, 100)))
    generator = random_stream("bench", "rules")
    x_0 = torch.randint(RELEASED.num_codes, (1, 1024), generator=generator)
    x_t = process.corrupt(x_0, level, generator=generator).to(device)
    text = random_inputs(RELEASED, batch=1, length=77)[-1].to(device, torch.float32)
    asked = RELEASED.num_layers * seconds(lambda: network(x_t, level, text))
    scores = torch.randn(1, 1024, RELEASED.num_codes, generator=generator)
    log_p_x0 = log_normalise(scores.to(device))
    plain = seconds(lambda: sampler.step(process, log_p_x0, x_t, (level, level - 1)))
    print(f"a plain step: network {asked:.2f} s, tokens {1e3 * plain:.0f} ms")
    for name, rule in RULES.items():
        told = (process, lambda *_: log_p_x0, x_t, rule, 0)
        more = seconds(lambda told=told: unmasking_step(*told)) - plain
        print(f"{name:<48}{more / (asked + plain):>+17.1%} of a step", flush=True)


def main() -> None:
    """Scenes, tokens, the step back, images by number of steps, training."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    print(f"{name}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}")
    for side in (32, 64):
        source = Scenes(side, "any")
        make = lambda source=source: source.batch(128, generator=random_stream("bench"))  # noqa: E731
        report(f"scenes of {side} pixels with captions", 128, make)
    pipeline = VQDiffusionPipeline.from_pretrained("scenes").to(device)
    images = source.batch(64, generator=random_stream("bench")).images.to(device)
    report("64 pixels into tokens", 64, lambda: pipeline.vqvae.encode(images))
    posterior_beside_diffusers()
    rules_beside_a_step(device)
    for steps in (10, 25, 100):
        draw = lambda steps=steps: pipeline(["a red circle"] * 16, steps, output_type="np")  # noqa: E731
        report(f"pictures in {steps} steps with guidance, 16 at once", 16, draw)
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save_pretrained(folder)
        step = training_step(Path(folder), device)
        report("training of the denoiser", RECIPES["diffusion"].batch_size, step)
    photographs_beside_small_files(device)


if __name__ == "__main__":
    main()
