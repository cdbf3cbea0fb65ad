"""Train several stages in one folder, as the command does."""

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
