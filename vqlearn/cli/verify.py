"""Does a checkpoint run here as it should? One report, one sheet of images.

    vqlearn verify microsoft/vq-diffusion-ithq

The report holds what nobody can know without these files and this device: the digests of the
files, how far each step is from diffusers' own classes on the same weights, the seconds and the
memory of an image.
"""

import hashlib
import importlib.util
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from vqlearn.checkpoints.configs import write_denoiser_config, write_vqvae_config
from vqlearn.checkpoints.digests import file_digests
from vqlearn.checkpoints.layout import PARTS
from vqlearn.checkpoints.renames import DENOISER_RENAMES, VQVAE_RENAMES, Table, rename_to_diffusers
from vqlearn.cli.doctor import PACKAGES, installed_version
from vqlearn.diffusion import all_masked
from vqlearn.pipeline import VQDiffusionPipeline
from vqlearn.probability import Conditioning
from vqlearn.tokens import from_network_range

PROMPTS = (
    "A teddy bear playing in the pool.",
    "A red house on a hill, oil painting.",
    "a small red circle above a large blue square",
    "a large green ring to the left of a small yellow heart on a grey background",
)
GUIDANCE = 2.0
TRUNCATION = 0.9
VISITED = 5
NOT_THEIRS = ("_class_name", "quantizer")  # how tokens are chosen makes no difference to decoding


def verify(
    pipeline: VQDiffusionPipeline, folder: Path, steps: int
) -> tuple[dict[str, Any], list[Image.Image]]:
    """The report, ready for JSON, and the images of four fixed captions; image i has seed i.

    Raises `ValueError` for a number of steps that the checkpoint does not allow.
    """
    pictures, cost = _draw(pipeline, steps)
    report = {
        "versions": {name: installed_version(name) for name in PACKAGES},
        "device": _device_name(pipeline.device),
        "dtype": str(pipeline.dtype),
        "steps": steps,
        "guidance": GUIDANCE,
        "truncation": TRUNCATION,
        "parameters": sum(weight.numel() for part in _parts(pipeline) for weight in _weights(part)),
        **cost,
        "agreement_with_diffusers": agreement(pipeline),
        "pictures": [
            {"prompt": prompt, "seed": seed, "sha256": hashlib.sha256(image.tobytes()).hexdigest()}
            for seed, (prompt, image) in enumerate(zip(PROMPTS, pictures, strict=True))
        ],
        "files": file_digests(folder, PARTS),
    }
    return report, pictures


def agreement(pipeline: VQDiffusionPipeline) -> list[dict[str, float]] | str:
    """At five levels of one draw: how far is each step from diffusers' classes?

    Their classes are built in memory around the same weights, so nothing is there twice. A line
    holds the level, and the largest differences in the probability of a clean token, in that of a
    token one level lower, and, at level 1, in a decoded image (0 to 1).
    """
    if importlib.util.find_spec("diffusers") is None:
        return "not compared: diffusers is not installed"
    theirs = _DiffusersParts(pipeline)
    condition = pipeline.conditioning([PROMPTS[0]], guided=False)
    tokens = _tokens_of_one_draw(pipeline)
    last = pipeline.process.num_timesteps
    levels = sorted({round(1 + (last - 1) * i / (VISITED - 1)) for i in range(VISITED)})
    lines = [_compare_step(pipeline, theirs, condition, tokens[t], t) for t in levels]
    with torch.no_grad():
        decoded = pipeline.vqvae.decode(tokens[0]), theirs.decode(tokens[0])
    lines[0]["picture"] = _furthest(*decoded)
    return lines


class _DiffusersParts:
    """diffusers' transformer, VQ network and scheduler with the weights of a pipeline."""

    def __init__(self, pipeline: VQDiffusionPipeline) -> None:
        import diffusers

        denoiser, vqvae, schedule = pipeline.denoiser, pipeline.vqvae, pipeline.schedule
        self.transformer = _around(
            denoiser,
            DENOISER_RENAMES,
            lambda: diffusers.Transformer2DModel(
                **_options(write_denoiser_config(denoiser.config))
            ),
        )
        self.vqvae = _around(
            vqvae,
            VQVAE_RENAMES,
            lambda: diffusers.VQModel(**_options(write_vqvae_config(vqvae.config))),
        )
        self.scheduler = diffusers.VQDiffusionScheduler(**vars(schedule))
        self.scheduler.set_timesteps(schedule.num_train_timesteps, device=pipeline.device)

    def log_p_x0(self, x_t: Tensor, t: int, text: Tensor) -> Tensor:
        """(b, k, n), as the transformer gives it."""
        timestep = torch.tensor(t - 1, device=x_t.device)
        return self.transformer(x_t, encoder_hidden_states=text, timestep=timestep).sample

    def decode(self, x_0: Tensor) -> Tensor:
        """RGB in 0 to 1, (b, 3, h, w)."""
        side = math.isqrt(x_0.shape[1])
        shape = (len(x_0), side, side, self.vqvae.config.vq_embed_dim)
        entries = self.vqvae.quantize.get_codebook_entry(x_0, shape=shape)
        return from_network_range(self.vqvae.decode(entries, force_not_quantize=True).sample)


def _around(network: nn.Module, renames: Table, build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        theirs = build()
    state = rename_to_diffusers(network.state_dict(), renames)
    theirs.load_state_dict({name: state[name] for name in theirs.state_dict()}, assign=True)
    return theirs.eval()


def _options(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in NOT_THEIRS}


@torch.no_grad()
def _compare_step(
    pipeline: VQDiffusionPipeline,
    theirs: _DiffusersParts,
    condition: Conditioning,
    x_t: Tensor,
    t: int,
) -> dict[str, float]:
    ours = pipeline.model.denoiser(condition)(x_t, t)
    reference = theirs.log_p_x0(x_t, t, condition.text)
    line = {"level": t, "clean_token": _furthest(ours.exp(), _class_last(reference).exp())}
    if t > 1:
        lower = pipeline.process.log_reverse(ours, x_t, t - 1, t)
        p_x0 = rearrange(ours.float(), "b n k -> b k n")
        posterior = theirs.scheduler.q_posterior(p_x0, x_t, t - 1)
        line["one_level_lower"] = _furthest(lower.exp(), _class_last(posterior).exp())
    return line


def _class_last(values: Tensor) -> Tensor:
    return rearrange(values, "b k n -> b n k")


def _furthest(ours: Tensor, theirs: Tensor) -> float:
    return (ours.double().cpu() - theirs.double().cpu()).abs().max().item()


def _tokens_of_one_draw(pipeline: VQDiffusionPipeline) -> dict[int, Tensor]:
    """x_t at every level t = T..0, (1, n)."""
    last, positions = pipeline.process.num_timesteps, pipeline.denoiser.config.num_positions
    tokens = {last: all_masked(pipeline.process, (1, positions), device=pipeline.device)}
    pipeline(
        PROMPTS[0],
        num_inference_steps=last,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        callback=lambda i, timestep, x_t: tokens.update({timestep: x_t}),
    )
    return tokens


def _draw(pipeline: VQDiffusionPipeline, steps: int) -> tuple[list[Image.Image], dict[str, float]]:
    on_cuda = pipeline.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    pictures = pipeline(
        list(PROMPTS),
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        truncation_rate=TRUNCATION,
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))],
    ).images
    seconds = (time.perf_counter() - begin) / len(PROMPTS)
    memory = torch.cuda.max_memory_allocated() if on_cuda else psutil.Process().memory_info().rss
    return pictures, {"seconds_per_picture": round(seconds, 3), "memory_bytes": memory}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _parts(pipeline: VQDiffusionPipeline) -> list[nn.Module]:
    return [pipeline.vqvae, pipeline.denoiser, pipeline.text_encoder.model, pipeline.null_text]


def _weights(part: nn.Module) -> list[Tensor]:
    return list(part.state_dict().values())
