"""A program that prints how much memory loading a denoiser takes, and the size of its weights."""

PEAK = """
import resource, sys, torch
from pathlib import Path
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.modules import Wanted
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
files.load_denoiser(Path(sys.argv[1]) / "small", Wanted(torch.float16))
before = peak()
denoiser = files.load_denoiser(Path(sys.argv[1]) / "large", Wanted(torch.float16))
weights = sum(w.numel() * w.element_size() for w in denoiser.parameters())
print((peak() - before) / weights, weights / 2**20)
"""
