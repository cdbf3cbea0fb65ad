"""Train several stages in one folder, as the command does."""

from types import SimpleNamespace

import torch
from accelerate import Accelerator
from torch import nn

from vqlearn.data.batches import Scenes
from vqlearn.training.loop import Run, best_accelerator
from vqlearn.training.stages import order


def train_stages(
    folder, recipes, options=None, *, data="scenes", image_size=32, start_from=None, **accelerator
):
    """Returns the names of the stages that were finished before."""
    source, kept = order.open_source(data, image_size), []
    for name, recipe in recipes.items():
        device = best_accelerator(project_dir=folder / "logs", **accelerator)
        run = Run(folder, source, recipe, device, start_from=start_from)
        if not order.train(name, run, **(options or {}).get(name, {})):
            kept.append(name)
    return kept


class Counting(nn.Module):
    """A network whose only weight is 0 at first."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def counting_task(folder, recipe, losses):
    """A task of one weight, with losses of one's own: `losses(network, batch, step)`."""
    return SimpleNamespace(
        run=Run(folder, Scenes(16, "seen"), recipe, Accelerator(cpu=True)),
        network=Counting(),
        muon_weights=[],
        config={},
        extra_state=[],
        losses=losses,
        after_step=lambda step, seen: None,
    )
