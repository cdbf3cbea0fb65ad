"""Write the records that `test_frozen.py` compares with. Only when behaviour is meant to change.

    PYTHONPATH=tests OMP_NUM_THREADS=1 .venv/bin/python -m frozen.record         # all
    PYTHONPATH=tests OMP_NUM_THREADS=1 .venv/bin/python -m frozen.record raster  # or any other

Others are the kinds, scenes, and training, which `test_training.py` compares with.

A kind that has a record keeps its weights and inputs; to draw them anew, delete the file.
"""

import hashlib
import json
import sys

import torch
from frozen.kinds import KINDS, TEXT_LENGTH, TEXT_WIDTH, Kind, Numbers, seeded
from frozen.scenes import EVERYWHERE, HERE, processor, scene_tokens
from frozen.store import RECORDS, RENAMES, SCENES, TRACES, load_record, load_weights, save_record
from frozen.training import TRAINERS, trace
from torch import nn

ROWS = 20


def weights_by_name(network: nn.Module) -> Numbers:
    """Large random weights that depend on nothing but the names and the shapes."""

    def draw(name: str, shape: torch.Size) -> torch.Tensor:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])
        return 0.5 * torch.randn(shape, dtype=torch.float64, generator=seeded(seed))

    return {name: draw(name, x.shape) for name, x in sorted(network.state_dict().items())}


def inputs(kind: Kind, network: nn.Module) -> Numbers:
    """Rows, and what else this kind reads: text states, levels, corrupted rows."""
    generator, config = seeded(0), network.config
    x_0 = torch.randint(config.num_codes, (ROWS, config.num_positions), generator=generator)
    given = {"x_0": x_0}
    if kind.hears_text:
        size = (ROWS + 1, TEXT_LENGTH, TEXT_WIDTH)
        states = torch.randn(size, dtype=torch.float64, generator=generator)
        given |= {"text": states[1:], "null": states[:1]}
    if kind.process is not None:
        process = kind.process()
        t = torch.randint(1, process.num_timesteps + 1, (ROWS,), generator=generator)
        given |= {"t": t, "x_t": process.corrupt(x_0, t, generator=generator)}
    return given


def record_kind(name: str) -> None:
    kind = KINDS[name]
    network = kind.fresh()
    if (RECORDS / f"{name}.safetensors").exists():
        weights, given, _ = load_record(name)
    else:
        weights, given = weights_by_name(network), inputs(kind, network)
    load_weights(network, weights, RENAMES.get(name, {}))
    save_record(name, weights, given, kind.ask(network, given))


def record_scenes() -> None:
    tokens = {" ".join(run): scene_tokens(*run) for run in EVERYWHERE + HERE}
    SCENES.write_text(json.dumps({"processor": processor(), "tokens": tokens}, indent=1) + "\n")


def record_training() -> None:
    traces = {name: trace(name)._asdict() for name in TRAINERS}
    TRACES.write_text(json.dumps(traces, indent=1) + "\n")


if __name__ == "__main__":
    RECORDS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or [*KINDS, "scenes", "training"]:
        print(name)
        if name == "scenes":
            record_scenes()
        elif name == "training":
            record_training()
        else:
            record_kind(name)
