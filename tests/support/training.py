"""Train several stages in one folder, as the command does; and trainings of a moment."""

import json
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn

from vqlearn.data import batches
from vqlearn.data.batches import Scenes
from vqlearn.data.folder_options import DEFAULT_READING
from vqlearn.text import build_text_model
from vqlearn.tokens import VQVAEConfig
from vqlearn.training.loop import Run, best_accelerator, fit
from vqlearn.training.recipes import RECIPES, Recipe
from vqlearn.training.stages import order
from vqlearn.training.tasks import diffusion, text, tokens
from vqlearn.transformer import DenoiserConfig


def train_stages(
    folder,
    recipes,
    options=None,
    *,
    data="scenes",
    image_size=32,
    reading=DEFAULT_READING,
    start_from=None,
    **accelerator,
):
    """Returns the names of the stages that were finished before."""
    source, kept = order.open_source(data, image_size, reading), []
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
        begin=lambda: None,
        losses=losses,
        after_step=lambda step, seen: None,
    )


def make_small(change=setattr):
    """Networks of the stages that train in a moment, of the same make; `change` may undo it."""
    vqvae = VQVAEConfig((8, 8, 8), 1, 8, 48, 16, 4, (), ())

    def denoiser_config(*, num_codes, side, text_width, num_timesteps, size):
        return DenoiserConfig(2, 8, 1, text_width, True, num_codes + 1, side, num_timesteps)

    def text_model(tokenizer, **sizes):
        return build_text_model(tokenizer, width=16, layers=2, heads=4)

    change(tokens, "vqvae_config", lambda *sizes: vqvae)
    change(diffusion, "denoiser_config", denoiser_config)
    change(text, "build_text_model", text_model)
    change(batches, "VOCABULARY_CAPTIONS", 64)


SIX_STEPS = Recipe(steps=6, batch_size=1, learning_rate=0.1, ema_decay=0.9, save_every=2)


def short_task(folder, at=lambda step: None, recipe=SIX_STEPS):
    """Six steps of two matrices, one by Muon and one by Adam, that know nothing but their step.

    `at(step)` is called in the middle of each.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))

    def losses(network, batch, step):
        at(step)
        given = torch.randn(4, 8, generator=torch.Generator().manual_seed(step))
        return {"loss": network(given).square().mean()}, None

    return SimpleNamespace(
        run=Run(folder, Scenes(16, "seen"), recipe, Accelerator(cpu=True)),
        network=network,
        muon_weights=[network[0].weight],
        config={},
        extra_state=[],
        begin=lambda: None,
        losses=losses,
        after_step=lambda step, seen: None,
    )


def stopped_training(folder, at_step=5):
    """The folder of the states of a short training that broke off; its last is of step 4."""

    class BreakOffError(Exception):
        pass

    def break_off(step):
        if step == at_step:
            raise BreakOffError

    with suppress(BreakOffError):
        fit("short", short_task(folder, break_off))
    return folder / ".training" / "short"


def use_small_networks(monkeypatch):
    """`make_small` for one test; returns short recipes."""
    make_small(monkeypatch.setattr)
    names = order.VQ_DIFFUSION
    return {name: replace(RECIPES[name], steps=2, batch_size=2) for name in names}


def write_images(folder, colours, captions=None):
    """A folder of images of one colour each, as `--data` takes it."""
    folder.mkdir()
    lines = []
    for colour, caption in zip(colours, captions or colours, strict=True):
        Image.new("RGB", (16, 16), colour).save(folder / f"{colour}.png")
        lines.append(json.dumps({"file_name": f"{colour}.png", "text": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder
