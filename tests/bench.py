"""How fast is it here? `make bench` prints a table; nothing is compared with anything.

The threads are torch's own choice: set OMP_NUM_THREADS to measure fewer.
"""

import platform
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.benchmark import Timer

from vqlearn import VQDiffusionPipeline
from vqlearn.data.batches import Scenes, random_stream
from vqlearn.training.diffusion import DiffusionTrainee
from vqlearn.training.loop import Run
from vqlearn.training.recipes import RECIPES

SECONDS = 3.0


def seconds(work) -> float:
    """The median time of one call, measured for about three seconds."""
    return Timer("work()", globals={"work": work}).blocked_autorange(min_run_time=SECONDS).median


def report(what: str, pictures: int, work) -> None:
    """One line: pictures in a second."""
    print(f"{what:<48}{pictures / seconds(work):>12,.1f} pictures/s", flush=True)


def training_step(folder: Path, device: str):
    """One step of the diffusion stage without its optimizer, on the tokens of `folder`."""
    recipe, source = RECIPES["diffusion"], Scenes(32, "seen")
    accelerator = Accelerator(cpu=device == "cpu")
    run = Run(folder, source, "scenes", recipe, accelerator)
    trainee = DiffusionTrainee(run)
    batch = source.batch(recipe.batch_size, generator=random_stream("bench"))
    return lambda: trainee.losses(trainee.network, batch, 0)["loss"].backward()


def main() -> None:
    """Scenes, tokens, pictures by number of steps, training."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    print(f"{name}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}")
    for side in (32, 64):
        source = Scenes(side, "any")
        make = lambda source=source: source.batch(128, generator=random_stream("bench"))  # noqa: E731
        report(f"scenes of {side} pixels with captions", 128, make)
    pipeline = VQDiffusionPipeline.from_pretrained("scenes").to(device)
    images = 2 * source.batch(64, generator=random_stream("bench")).images.to(device) - 1
    report("64 pixels into tokens", 64, lambda: pipeline.vqvae.encode(images))
    for steps in (10, 25, 100):
        draw = lambda steps=steps: pipeline(["a red circle"] * 16, steps, output_type="np")  # noqa: E731
        report(f"pictures in {steps} steps with guidance, 16 at once", 16, draw)
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save_pretrained(folder)
        step = training_step(Path(folder), device)
        report("training of the denoiser", RECIPES["diffusion"].batch_size, step)


if __name__ == "__main__":
    main()
