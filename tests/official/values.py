"""Numbers for synthetic checkpoints: random everywhere, so that no term of a model is hidden."""

import hashlib
import math
from collections import OrderedDict

import torch
from official.keys import Shapes
from official.sizes import DenoiserSizes
from torch import Tensor

NORMS = ("ln1", "ln1_1", "ln2", "ln_1", "ln_2", "ln_final", "to_logits.0")
NORMS += ("norm", "norm1", "norm2", "norm_out", "ln_f")


def linear_schedule(steps: int) -> tuple[Tensor, Tensor]:
    """Share kept and share masked after 1 … T steps, in double precision."""
    place = torch.arange(steps, dtype=torch.float64) / (steps - 1)
    return 0.99999 + place * (0.000009 - 0.99999), 0.000009 + place * (0.99999 - 0.000009)


def schedule_buffers(sizes: DenoiserSizes) -> dict[str, Tensor]:
    """The buffers `log_*` of a model with K codes. After entry T of the totals: no step at all."""
    total_keep, total_mask = linear_schedule(sizes.steps)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    keep = total_keep / torch.cat([one, total_keep[:-1]])
    mask = 1 - (1 - total_mask) / (1 - torch.cat([zero, total_mask[:-1]]))
    total_keep, total_mask = torch.cat([total_keep, one]), torch.cat([total_mask, zero])
    shares = {
        "at": keep,
        "bt": (1 - keep - mask) / sizes.codes,
        "ct": mask,
        "cumprod_at": total_keep,
        "cumprod_bt": (1 - total_keep - total_mask) / sizes.codes,
        "cumprod_ct": total_mask,
        "1_min_ct": 1 - mask,
        "1_min_cumprod_ct": 1 - total_mask,
    }
    return {f"log_{name}": share.log().float() for name, share in shares.items()}


def value(key: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random numbers of the size that the entry has in a trained model, in single precision."""
    noise = torch.randn(shape, generator=generator)
    module, _, last = key.rpartition(".")
    if last == "mask":
        return torch.ones(shape).tril()
    if key == "Lt_count" or last == "cluster_size":
        return (100 * noise.abs()).round()
    if key == "Lt_history":
        return noise.abs()
    if module.endswith(NORMS):
        return 0.3 * noise + (1.0 if last == "weight" else 0.0)
    if "bias" in last:
        return 0.2 * noise
    if last.startswith("embedding") or module == "quantize.embedding":
        return 0.4 * noise  # a codebook, about as large as what is quantized
    table = "emb" in last or module.endswith(("emb", "embed", "embedding"))
    if table or len(shape) == 1:
        return noise
    gain = 3.0 if module.endswith(("to_logits.1", "quantize.proj")) else 1.0
    return gain * noise / math.prod(shape[1:]) ** 0.5


def filled(shapes: Shapes, seed: int | None, part: str) -> dict[str, Tensor]:
    """Tensors of these shapes and types: without a seed on the meta device, else random.

    Each depends on the seed, on the name of the part and on its own key, and on nothing else.
    """
    if seed is None:
        return {
            key: torch.empty(shape, dtype=dtype, device="meta")
            for key, (shape, dtype) in shapes.items()
        }
    tensors = {}
    for key, (shape, dtype) in shapes.items():
        digest = hashlib.sha256(f"{seed} {part} {key}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))
        tensors[key] = value(key, shape, generator).to(dtype)
    return tensors


def as_saved(tensors: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
    """As `state_dict()` returns it: ordered, with the versions of the modules beside it."""
    state = OrderedDict(tensors)
    modules = {""} | {key.rpartition(".")[0] for key in tensors}
    state._metadata = OrderedDict((module, {"version": 1}) for module in sorted(modules))
    return state
