"""Which tokens does the shipped model draw? 20 prompts, three settings, through the pipeline."""

import platform
from pathlib import Path

import torch

from vqlearn import VQDiffusionPipeline

PROMPTS = [
    "a small red circle above a large blue square",
    "a green ring",
    "a large yellow bar on a white background",
    "a purple tiny triangle to the left of an orange big cross",
    "a cyan moon below a red heart against a white background",
    "an orange disc on black",
    "a little blue crescent right of a green plus",
    "a red square",
    "a big red square on white",
    "a blue triangle over a yellow ring",
    "a yellow small heart beneath a large purple bar on a black background",
    "a green cross to the right of a tiny cyan circle",
    "a tiny orange bar",
    "a large purple ring under a small red triangle on white",
    "a cyan big square left of a blue little disc",
    "a red moon on top of a red circle",
    "a pink bar on brown",
    "an orange heart",
    "",
    "a small red circle above a large blue square on a white background " * 6,
]
SETTINGS = {
    "full": {"num_inference_steps": 100, "guidance_scale": 1.0, "truncation_rate": 1.0},
    "guided": {"num_inference_steps": 25, "guidance_scale": 1.5, "truncation_rate": 0.9},
    "reference": {"guidance_scale": 1.5, "truncation_rate": 0.9, "noise": "reference"},
}
EVERYWHERE = [("full", "float64"), ("guided", "float64")]
HERE = [("full", "float32"), ("guided", "float32"), ("reference", "float32")]
"""Float32 rounds in another way on another processor, and then other tokens may come out."""


def scene_tokens(setting: str, dtype: str) -> list[str]:
    """The tokens of each prompt, as the last call of the callback has them."""
    pipe = VQDiffusionPipeline.from_pretrained("scenes").to(getattr(torch, dtype))
    pipe.set_progress_bar_config(disable=True)
    one_each = [torch.Generator().manual_seed(i) for i in range(len(PROMPTS))]
    generator = torch.Generator().manual_seed(0) if setting == "reference" else one_each
    last = {}

    def keep(i: int, timestep: int, tokens: torch.Tensor) -> None:
        last["tokens"] = tokens

    pipe(PROMPTS, **SETTINGS[setting], generator=generator, output_type="np", callback=keep)
    return [" ".join(map(str, row)) for row in last["tokens"].tolist()]


def processor() -> dict[str, str | int]:
    """What float32 rounding depends on."""
    info = Path("/proc/cpuinfo")
    first = info.read_text().split("\n\n")[0] if info.exists() else ""
    facts = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    return {
        "machine": platform.machine(),
        "cpu": " ".join(named.get(key, "?") for key in ("model name", "cpu family", "model")),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
