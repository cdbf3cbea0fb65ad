"""The scene reader, a rule-based evaluator: which scene an image shows, and if it is as asked.

The reader sees pixels only, never the prompt: `object_search` finds the background and the objects,
then the scene found is drawn again, and if drawing and image differ too much the answer is
None, "unreadable". So generated images are scored without a learned judge.

    accuracy = prompt_accuracy(images, captions)
    accuracy.share, accuracy.interval_95, accuracy.by_attribute["colour"].share
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from vqlearn.data.scenes import Scene, parse, render
from vqlearn.data.scenes.captions import Description
from vqlearn.data.scenes.world import BACKGROUND_RGB, INVERSE, relation_between
from vqlearn.evaluation.object_search import SIDE, find_background, find_objects
from vqlearn.probability import wilson_interval

BORDER_TOLERANCE = 0.2  # largest mean RGB distance of the border from its named colour
MOST_UNEXPLAINED = 0.35  # largest |image - drawing|^2 / |image - background|^2
DIGITS = 4  # of shares
CHUNK = 128  # images read at once: bounds the memory to about 300 MB


def _unexplained(images: Tensor, background: Tensor, scenes: Sequence[Scene]) -> list[float]:
    """The share of |image - background|^2 that the drawn scene leaves over."""
    left = (images - render(scenes, image_size=SIDE)) ** 2
    difference = (images - rearrange(background, "b c -> b c 1 1")) ** 2
    left, difference = (reduce(x, "b c h w -> b", "sum") for x in (left, difference))
    return (left / difference).tolist()


def _read_chunk(images: Tensor) -> list[Scene | None]:
    names, border_distance = find_background(images)
    background = torch.tensor([BACKGROUND_RGB[name] for name in names]).reshape(-1, 3)
    found = {}
    for row, objects in enumerate(find_objects(images, background)):
        if len(objects) in (1, 2) and border_distance[row] <= BORDER_TOLERANCE:
            relation = relation_between(*objects) if len(objects) == 2 else None
            found[row] = Scene(tuple(objects), relation, names[row])
    scenes: list[Scene | None] = [None] * len(images)
    if found:
        rows = list(found)
        shares = _unexplained(images[rows], background[rows], list(found.values()))
        for row, share in zip(rows, shares, strict=True):
            scenes[row] = found[row] if share <= MOST_UNEXPLAINED else None
    return scenes


@torch.no_grad()
def read(images: Float[Tensor, "b 3 h w"]) -> list[Scene | None]:
    """Recover the scene of each image (RGB in 0 to 1, square, any size); None: unreadable.

    Unreadable is an image with a border of no named background, with no object or more than
    two, or with too much that the scene found does not explain. Centres are good to half a pixel
    at 32 pixels; the order of two objects means nothing. Other sizes are resized to 32 pixels.
    Cost: about 3 ms an image on two idle cores.
    Raises `ValueError` for images that are not square.
    """
    if images.shape[-2] != images.shape[-1]:
        raise ValueError(f"images are {tuple(images.shape[-2:])}; allowed: height equal to width")
    images = images.float().cpu()
    if images.shape[-1] != SIDE:
        images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
    return [scene for chunk in images.split(CHUNK) for scene in _read_chunk(chunk)]


def _attributes(seen: Scene | Description) -> dict[str, tuple]:
    """Every attribute, for all objects in order; None where a caption does not name it."""
    of_objects = {
        name: tuple(getattr(thing, name) for thing in seen.objects)
        for name in ("colour", "shape", "size")
    }
    others = {"relation": (seen.relation,), "background": (seen.background,)}
    return {"count": (len(seen.objects),), **of_objects, **others}


def _compare(scene: Scene | None, asked: Description) -> dict[str, bool]:
    """For each named attribute: is it right, in the better of the two orders of the objects?

    Every attribute is wrong where the scene is unreadable or has another number of objects.
    """
    named = {name: values for name, values in _attributes(asked).items() if any(values)}
    if scene is None or len(scene.objects) != len(asked.objects):
        return dict.fromkeys(named, False)
    orders = [scene]
    if scene.relation is not None:
        orders.append(Scene(scene.objects[::-1], INVERSE[scene.relation], scene.background))
    results = []
    for found in map(_attributes, orders):
        pairs = {name: zip(values, found[name], strict=True) for name, values in named.items()}
        results.append({name: all(a in (None, f) for a, f in pairs[name]) for name in named})
    return max(results, key=lambda right: sum(right.values()))


def agrees(scene: Scene | None, caption: str | Description) -> bool:
    """Whether the scene has the number of objects and every attribute that the caption names.

    What the caption leaves out is free. None (unreadable) agrees with nothing.
    Raises `ValueError`, as `parse` does, for a caption outside the grammar.
    """
    asked = parse(caption) if isinstance(caption, str) else caption
    return all(_compare(scene, asked).values())


@dataclass(frozen=True)
class Share:
    """So many of `total` independent trials came out right."""

    right: int
    total: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return round(self.right / self.total, DIGITS)

    @property
    def interval_95(self) -> tuple[float, float]:
        """Between which shares the truth lies in 95 of 100 such counts."""
        low, high = wilson_interval(self.right, self.total)
        return round(low, DIGITS), round(high, DIGITS)


@dataclass(frozen=True)
class Accuracy(Share):
    """How many images show everything that their captions name; `unreadable` ones show no scene.

    `by_attribute` (count, colour, shape, size, relation, background): of the captions that name it,
    those whose images have it right for all objects. An image that is unreadable or has a wrong
    count has nothing right.
    """

    unreadable: int
    by_attribute: dict[str, Share]


def prompt_accuracy(images: Float[Tensor, "b 3 h w"], captions: Sequence[str]) -> Accuracy:
    """Read every image and compare it with its caption.

    Raises `ValueError` if the numbers of images and captions differ, or as `parse` and `read` do.
    """
    if len(images) != len(captions):
        raise ValueError(f"there are {len(captions)} captions; allowed: {len(images)}, the images")
    asked = [parse(caption) for caption in captions]
    scenes = read(images)
    found = [_compare(scene, each) for scene, each in zip(scenes, asked, strict=True)]
    named = Counter(name for result in found for name in result)
    correct = Counter(name for result in found for name, is_right in result.items() if is_right)
    by_attribute = {name: Share(correct[name], total) for name, total in named.items()}
    right = sum(all(result.values()) for result in found)
    return Accuracy(right, len(scenes), scenes.count(None), by_attribute)
