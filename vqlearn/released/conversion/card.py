"""The model card of a converted checkpoint: what it is, where it is from, whose licences."""

from collections import Counter
from pathlib import Path

from vqlearn.released.conversion.plan import Plan

SIGN = "converted by `vqlearn convert` from the official training file"
"""A text with these words is a card of ours."""
CARD = """# {label}, converted

A {kind} of VQ-Diffusion, {sign}
`{label}`. The folder has the layout of diffusers.

{use}
## What was converted

{converted} weights of the file are in the folder, {dropped} are not:

| weights | why |
|---|---|
{reasons}

## Sources and licences

- Code and papers: https://github.com/microsoft/VQ-Diffusion (MIT). Gu et al. 2022, *Vector
  Quantized Diffusion Model for Text-to-Image Synthesis*, https://arxiv.org/abs/2111.14822;
  Tang et al. 2022, *Improved Vector Quantized Diffusion Models*, https://arxiv.org/abs/2205.16007.
- Weights: the release https://github.com/tzco/storage/releases/tag/vqdiffusion. It states no
  licence of its files.
- Tokenizers but that of ITHQ: https://github.com/CompVis/taming-transformers (MIT).
- CLIP: https://github.com/openai/CLIP (MIT).
"""
USE = """Recommended, and the defaults of this folder's pipeline: guidance scale {guidance},
truncation rate {truncation} (`inference_VQ_Diffusion.py` of the official code).

    from vqlearn.pipeline import load_pipeline
    pipe = load_pipeline("FOLDER")
    pipe({example}).images[0]
"""
EXAMPLES = {
    "text-to-image model": '"a red bird"',
    "class-conditional model": "[207]",
    "model without a condition": "num_images=1",
}
"""What the pipeline is asked for, by the kind of the model."""


def model_card(label: str, plan: Plan) -> str:
    """The text of the card, Markdown."""
    reasons = Counter(plan.books.dropped.values())
    use = ""
    if plan.sampling is not None:
        use = USE.format(
            guidance=plan.sampling.guidance_scale,
            truncation=plan.sampling.truncation_rate,
            example=EXAMPLES[plan.kind],
        )
    return CARD.format(
        label=label,
        sign=SIGN,
        kind=plan.kind,
        use=use,
        converted=len(plan.books.converted),
        dropped=len(plan.books.dropped),
        reasons="\n".join(f"| {count} | {why} |" for why, count in reasons.items()),
    )


def is_model_card(file: Path) -> bool:
    """Was this file written from `model_card`? Raises `OSError` if it cannot be read."""
    return SIGN.encode() in file.read_bytes()
