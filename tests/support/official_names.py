"""From a converted folder back to an official file: the inverse of the conversion, written apart.

It knows the plan's sources by their shapes alone: an official weight is ours with other axes, with
more or fewer rows, three of ours on top of each other (CLIP), or the larger one of two (all codes,
and those that are used).
"""

import torch
from safetensors.torch import load_file


def official_state(folder, plan):
    """The weights of a training file, all converted ones, by their names in the model."""
    found = {}
    for part in plan.parts:
        weights = load_file(folder / part.folder / f"{part.stem}.safetensors")
        for name, source in part.weights.items():
            found.setdefault(source.key, []).append((name, source.shape, weights[name]))
    return {key: _joined(entries) for key, entries in found.items()}


def _joined(entries):
    shape = entries[0][1]
    values = [value for _, _, value in entries]
    if len(values) == 3:
        order = ("q_proj", "k_proj", "v_proj")
        named = {next(p for p in order if p in name): value for name, _, value in entries}
        return torch.cat([named[name] for name in order])
    value = max(values, key=torch.numel)
    missing = shape[0] - len(value)  # of the positions, rows that no position has
    if missing > 0:
        value = torch.cat([value, torch.zeros(missing, *value.shape[1:])])
    return value[: shape[0]].reshape(shape)  # without the mean class
