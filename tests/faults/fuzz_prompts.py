"""Prompts of all kinds of text through the shipped model; the memory of the process stays flat.

A prompt survives if images come out, or if it is refused by name; any other error is foreign.
"""

import logging
import random
import unicodedata

import numpy as np
import psutil
import torch

from vqlearn import VQDiffusionPipeline

WORDS = ("a small red circle", "above", "a large blue square", "&amp;#39;", "<|endoftext|>", "!")
ODD = ("", " ", "\0", "\ud800", "\u2028", "e\u0301", "\U0001f600", "\u202e", "\ufeff", "\t\n\r")
GROWTH = 30e6  # bytes; the first calls fill caches and are not counted


def soak(count: int, seed: int) -> dict[str, int]:
    """How many prompts were tried, gave an image or were refused; and the bytes of growth."""
    pipe, dice = VQDiffusionPipeline.from_pretrained("scenes"), random.Random(seed)
    pipe.set_progress_bar_config(disable=True)
    logging.getLogger("vqlearn").setLevel(logging.ERROR)  # long prompts are cut with a warning
    found = {"tried": 0, "survived": 0, "foreign": 0}
    memory = before = psutil.Process().memory_info().rss
    try:
        for index in range(count):
            if index == count // 5:
                before = psutil.Process().memory_info().rss
            found["tried"] += 1
            found["survived" if is_handled(pipe, random_prompt(dice), index) else "foreign"] += 1
        memory = psutil.Process().memory_info().rss
    finally:
        logging.getLogger("vqlearn").setLevel(logging.NOTSET)
    return {**found, "lost": int(memory - before > GROWTH)}


def is_handled(pipe: VQDiffusionPipeline, prompt: str, seed: int) -> bool:
    """One image of finite pixels, or an error that names the prompt."""
    try:
        generator = torch.Generator().manual_seed(seed)
        image = pipe(prompt, 1, 1.5, generator=generator, output_type="np").images
    except (TypeError, ValueError) as error:
        return "allowed:" in str(error) and len(str(error)) <= 400
    except Exception:
        return False
    return image.shape == (1, 32, 32, 3) and bool(np.isfinite(image).all())


def random_prompt(dice: random.Random) -> str:
    """Words, odd characters, any characters, or a very long text."""
    kind = dice.randrange(4)
    if kind == 0:
        return " ".join(dice.choices(WORDS, k=dice.randrange(1, 8)))
    if kind == 1:
        return "".join(dice.choices((*ODD, *WORDS), k=dice.randrange(1, 6)))
    if kind == 2:
        points = (dice.randrange(0x110000) for _ in range(dice.randrange(1, 40)))
        return unicodedata.normalize(dice.choice(("NFC", "NFD")), "".join(map(chr, points)))
    return dice.choice((*ODD, *WORDS)) * dice.randrange(1, 3000)
