"""What stored runs are known by: words that stay as they are, whatever the code is called today.

A run counts as measured while its stored settings are those of the code. So no name of a function,
a class or a field may get into settings by itself: another name would throw the run away.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vqlearn.training import Recipe, Size


@dataclass(frozen=True)
class Named:
    """A part of a run, such as a network, and the id that settings have for it: never change it."""

    id: str
    make: Callable[..., Any]

    def __call__(self, *given: Any, **options: Any) -> Any:
        return self.make(*given, **options)


def size_settings(size: Size) -> dict[str, int]:
    """How large is a network?"""
    return {"width": size.width, "num_layers": size.num_layers, "num_heads": size.num_heads}


def recipe_settings(recipe: Recipe) -> dict[str, float]:
    """What of a recipe decides the weights: how often the state is written does not."""
    return {
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "ema_decay": recipe.ema_decay,
        "seed": recipe.seed,
        "warmup_steps": recipe.warmup_steps,
    }
