"""A program that prints how much memory loading a denoiser takes, and the size of its weights."""

PEAK = """
import resource, sys, torch
from pathlib import Path
from vqlearn.checkpoints.folder import KINDS
from vqlearn.checkpoints.modules import Wanted, load_module
load = lambda name: load_module(
    Path(sys.argv[1]) / name / "transformer", KINDS["transformer"], Wanted(torch.float16)
)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
load("small")
before = peak()
denoiser = load("large")
weights = sum(w.numel() * w.element_size() for w in denoiser.parameters())
print((peak() - before) / weights, weights / 2**20)
"""
