"""The model card of a converted checkpoint: what it is, where it is from, whose licences."""

from collections import Counter
from pathlib import Path

from vqlearn.checkpoints.configs import OURS_ALONE
from vqlearn.checkpoints.layout import (
    CLASS_FOLDER,
    CLASS_NAMES_FILE,
    DENOISER_FOLDER,
    TEXT_FOLDER,
    VQVAE_FOLDER,
)
from vqlearn.released.catalogue import CODE, TAMING
from vqlearn.released.conversion import codec
from vqlearn.released.conversion.plan import Plan

SIGN = "converted by `vqlearn convert` from the training file"
"""A text with these words is a card of ours."""
CARD = """# {label}, converted

A {kind}, {sign} `{label}`.
{layout}

{use}## What was converted

{converted} weights of the file are in the folder, {dropped} are not:

| weights | why |
|---|---|
{reasons}

## Sources and licences

- Weights: the released models are at https://github.com/tzco/storage/releases/tag/vqdiffusion, and
  no licence of their files is stated there. Whether this file is one of them was not checked: it
  was recognised by the names of its weights.
{sources}
"""
USE = """## How it is used

    from vqlearn.pipeline import load_pipeline
    pipe = load_pipeline("FOLDER")
    pipe({example}).images[0]

The defaults of this folder's pipeline: {guidance}, truncation rate {rate}.
{meaning}
{origin}

"""
EXAMPLES = {
    "text-to-image model": '"a red bird"',
    "class-conditional model": '"golden retriever"',
    "model without a condition": "num_images=1",
}
"""What the pipeline is asked for, by the kind of the model."""
UNGUIDED = """A truncation rate of r (top-p) means that each token is sampled from its likeliest
codes alone, as few as have the probability r together."""
GUIDED = f"""A guidance scale of s means that what the condition changes in a prediction
is made s times as large.
{UNGUIDED}"""
OFFICIAL = "These defaults are those of the official examples, `inference_VQ_Diffusion.py`."
NO_EXAMPLE = "No official example is of this kind; the others without guidance have this rate."

MODEL = f"""- Model: {CODE} (MIT).
  Gu et al. 2022, *Vector Quantized Diffusion Model for Text-to-Image Synthesis*,
  https://arxiv.org/abs/2111.14822; Tang et al. 2022, *Improved Vector Quantized Diffusion Models*,
  https://arxiv.org/abs/2205.16007."""
TEXT = "- Text encoder and its tokenizer: CLIP, https://github.com/openai/CLIP (MIT)."
CLASSES = f"""- `{CLASS_NAMES_FILE}`: the classes of ImageNet in the official order, which are wrong
  for a model of other classes. The words are those of WordNet 3.0, Copyright 2006 by Princeton
  University, all rights reserved; licence:
  https://wordnet.princeton.edu/license-and-commercial-use."""


def model_card(label: str, plan: Plan) -> str:
    """The text of the card, Markdown."""
    reasons = Counter(plan.books.dropped.values())
    return CARD.format(
        label=label,
        sign=SIGN,
        kind=plan.kind,
        layout=_layout(plan),
        use=_use(plan),
        converted=len(plan.books.converted),
        dropped=len(plan.books.dropped),
        reasons="\n".join(f"| {count} | {why} |" for why, count in reasons.items()),
        sources="\n".join(_sources(plan)),
    )


def _layout(plan: Plan) -> str:
    """Which classes the folder is for: diffusers', or also some of ours."""
    configs = {part.folder: part.config for part in plan.parts}
    ours = {
        "this denoiser": plan.schedule is not None and DENOISER_FOLDER not in configs,
        "this tokenizer of images": bool(set(OURS_ALONE) & set(configs[VQVAE_FOLDER])),
    }
    lacks = [name for name, is_ours in ours.items() if is_ours]
    if lacks:
        return f"The folder is for vqlearn: diffusers lacks {' and '.join(lacks)}."
    return "The folder has the layout of diffusers."


def _use(plan: Plan) -> str:
    """How a model is used; nothing of a tokenizer alone."""
    if plan.sampling is None:
        return ""
    is_guided, has_example = plan.sampling.is_guided, plan.kind != "model without a condition"
    return USE.format(
        example=EXAMPLES[plan.kind],
        guidance=f"guidance scale {plan.sampling.guidance_scale:g}" if is_guided else "no guidance",
        rate=f"{plan.sampling.truncation_rate:g}",
        meaning=GUIDED if is_guided else UNGUIDED,
        origin=OFFICIAL if has_example else NO_EXAMPLE,
    )


def _sources(plan: Plan) -> list[str]:
    """Where what the folder is made of comes from, besides its weights."""
    folders = [part.folder for part in plan.parts]
    keys = [source.key for part in plan.parts for source in part.weights.values()]
    is_average = any(key.endswith(codec.AVERAGES[0]) for key in keys)
    return [
        *([] if plan.schedule is None else [MODEL]),
        f"- Tokenizer of images: {CODE if is_average else TAMING} (MIT).",
        *([TEXT] if TEXT_FOLDER in folders else []),
        *([CLASSES] if CLASS_FOLDER in folders else []),
    ]


def is_model_card(file: Path) -> bool:
    """Was this file written from `model_card`? Raises `OSError` if it cannot be read."""
    return SIGN.encode() in file.read_bytes()
