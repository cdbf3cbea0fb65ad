"""How fast is it here? `make bench` prints a table, and one ratio: the step back beside diffusers'.

The threads are torch's own choice: set OMP_NUM_THREADS to measure fewer.
"""

import platform
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import VQDiffusionScheduler
from einops import rearrange
from torch.utils.benchmark import Timer

from vqlearn import VQDiffusionPipeline
from vqlearn.data.batches import Scenes
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import build_schedule, released
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.random import random_stream
from vqlearn.training.loop import Run
from vqlearn.training.recipes import RECIPES
from vqlearn.training.stages.diffusion import diffusion_task

SECONDS = 3.0


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
    for steps in (10, 25, 100):
        draw = lambda steps=steps: pipeline(["a red circle"] * 16, steps, output_type="np")  # noqa: E731
        report(f"pictures in {steps} steps with guidance, 16 at once", 16, draw)
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save_pretrained(folder)
        step = training_step(Path(folder), device)
        report("training of the denoiser", RECIPES["diffusion"].batch_size, step)


if __name__ == "__main__":
    main()
