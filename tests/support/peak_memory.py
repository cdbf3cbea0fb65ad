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

PEAK_OF_A_TRAINING_FILE = """
import json, os, re, sys
from pathlib import Path
from vqlearn.released import read_training_file
def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
def read(file):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, copied = memory("VmHWM"), memory("RssAnon")
    content = read_training_file(file)
    names = memory("VmHWM") - before
    kept = [dict(content.raw), dict(content.ema)]
    sums = [weight.sum() for weights in kept for weight in weights.values()]
    weights, copied = memory("VmHWM") - before, memory("RssAnon") - copied
    return {"names": names, "weights": weights, "copied": copied}
folder = Path(sys.argv[1])
read(folder / "small.pth")
print(json.dumps(read(folder / "large.pth")))
"""
"""A program that prints the peaks of memory (MB) for the names and the weights of a training file.

"copied" is the memory that no file backs.
"""

PEAK_OF_A_CONVERSION = """
import json, re, sys
from pathlib import Path
from vqlearn.released import convert
from vqlearn.released.conversion import used_codes
def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
used_codes.DIGESTS.clear()  # the released list is not here
def peak(folder):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory("VmRSS")
    options = {"used_codes": folder / "used.pt", "tokenizer": folder / "clip"}
    convert([folder / "model.pth"], folder / "out", **options)
    return memory("VmHWM") - before
folder = Path(sys.argv[1])
peak(folder / "small")
taken = peak(folder / "large")
written = sum(file.stat().st_size for file in (folder / "large/out").rglob("*.safetensors"))
print(json.dumps({"peak": taken, "written": written}))
"""
"""A program that prints the bytes that a conversion takes at its peak, and those that it writes."""
