"""From nothing to the first image: loading, importing, whole processes."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from bench.case import DIFFUSERS, Case, Setting
from bench.pairs import Alone, Comparison, alone, compare
from bench.store import ROOT
from bench.twins import ITHQ_WIDTH, SCENES, SMALL, load_ours, load_theirs, write_twins
from torch import nn

from vqlearn.transformer.denoiser import DenoiserConfig

PROMPT = "a small red circle above a large blue square"
IMPORT_TORCH = "import torch"
IMPORT_THEIRS = (
    "from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion "
    "import VQDiffusionPipeline"
)
IMPORT_OURS = "from vqlearn import VQDiffusionPipeline"


def python(*arguments: str) -> str:
    """What a new Python prints. Raises `CalledProcessError` if it ends with an error."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, *arguments]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return run.stdout


def loading(config: DenoiserConfig, setting: Setting, *, use: bool = False) -> Comparison:
    """Read a checkpoint from a folder that both have read before, to the CPU.

    diffusers maps its files into memory: a weight is read when it is used for the first time. With
    `use` every weight of both is used once.
    """
    done = every_weight if use else lambda pipeline: None
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_twins(folder, config)
        theirs, ours = lambda: done(load_theirs(folder)), lambda: done(load_ours(folder))
        return compare(theirs, ours, setting.pairs)


@torch.no_grad()
def every_weight(pipeline) -> float:
    """The sum of all weights of a pipeline."""
    networks = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    return sum(weight.sum().item() for part in networks for weight in part.parameters())


def loading_scenes(setting: Setting) -> Comparison:
    """Read the shipped scenes; ours also looks at their digests."""
    return compare(lambda: load_theirs(SCENES), lambda: load_ours(SCENES), setting.pairs)


def generating(setting: Setting) -> Comparison:
    """The command, beside a program with diffusers: each with its own number of steps."""
    with TemporaryDirectory() as folder:
        out = str(Path(folder) / "out.png")
        theirs = ("-m", "bench.process", "theirs", str(SCENES), "100", "1", setting.device)
        ours = ("-m", "vqlearn", "generate", PROMPT, "--out", out, "--device", setting.device)
        return compare(lambda: python(*theirs), lambda: python(*ours), setting.pairs)


def importing(theirs: str, setting: Setting) -> Comparison:
    """A Python that imports our pipeline and ends, beside one that imports something else."""
    return compare(lambda: python("-c", theirs), lambda: python("-c", IMPORT_OURS), setting.pairs)


def help_text(setting: Setting) -> Alone:
    """A process that prints the help of the command."""
    return alone(lambda: python("-m", "vqlearn", "--help"), setting.pairs)


CASES = {
    "load/scenes": Case("load the shipped scenes", DIFFUSERS, loading_scenes),
    "load/small": Case(
        "load 256 tokens, width 256, 8 layers", DIFFUSERS, lambda s: loading(SMALL, s)
    ),
    "load/ithq-width": Case(
        "load 1,024 tokens, width 1,408, 4 layers", DIFFUSERS, lambda s: loading(ITHQ_WIDTH, s)
    ),
    "load/ithq-width-used": Case(
        "load 1,024 tokens, width 1,408, 4 layers, and use every weight once",
        DIFFUSERS,
        lambda s: loading(ITHQ_WIDTH, s, use=True),
    ),
    "start/generate": Case(
        "`vqlearn generate`: one image, 25 exact steps, theirs 100", DIFFUSERS, generating
    ),
    "start/import": Case(
        "a process that imports the pipeline",
        DIFFUSERS,
        lambda s: importing(IMPORT_THEIRS, s),
    ),
    "start/import-torch": Case(
        "a process that imports the pipeline",
        "one that imports torch",
        lambda s: importing(IMPORT_TORCH, s),
    ),
    "start/help": Case("`vqlearn --help`", "", help_text),
}
