"""The size of the released model: 1.36 billion weights, 1,024 tokens. `make soak` runs these."""

import os
import subprocess
import sys

import pytest
import torch
from support.denoisers import RELEASED, build_reference, random_inputs
from support.peak_memory import PEAK

from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.renames import DENOISER_RENAMES, rename_to_diffusers
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("VQLEARN_FULL_SIZE") != "1",
        reason="20 GB and minutes: run `make soak`",
    ),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def random_denoiser(dtype: torch.dtype) -> Denoiser:
    """Random weights, made in their type: float64 alone takes 11 GB."""
    with torch.device("meta"):
        denoiser = Denoiser(RELEASED)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(weight.shape, generator=generator, dtype=dtype).mul_(0.02)
        for name, weight in denoiser.state_dict().items()
    }
    denoiser.load_state_dict(state, assign=True)
    return denoiser.eval()


@torch.no_grad()
def test_same_logits_as_diffusers_at_full_size():
    """Within 1e-9 in float64. Both networks hold the same tensors, so nothing is there twice."""
    ours = random_denoiser(torch.float64)
    with torch.device("meta"):
        reference = build_reference(RELEASED)
    state = rename_to_diffusers(ours.state_dict(), DENOISER_RENAMES)
    reference.load_state_dict(state, assign=True)
    seen = []
    reference.eval().out.register_forward_hook(lambda module, inputs, out: seen.append(out))
    x_t, _, text = random_inputs(RELEASED, batch=1, length=77)
    reference(x_t, text, torch.tensor(49))
    logits = ours(x_t, torch.tensor([50]), text)
    assert logits.shape == (1, 1024, 4096)
    torch.testing.assert_close(logits, seen[0], rtol=1e-9, atol=1e-9)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_loading_at_full_size_needs_little_more_than_the_weights(tmp_path):
    """5.4 GB in float32 on disk, 2.7 GB in float16 in memory: at most 1.3 times that."""
    files.save_network(random_denoiser(torch.float32), tmp_path / "large")
    small = DenoiserConfig(8, 8, 1, 512, True, 1025, 16, 100)
    files.save_network(Denoiser(small), tmp_path / "small")
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    times, megabytes = map(float, run.stdout.split())
    assert megabytes > 2500
    assert times < 1.3
