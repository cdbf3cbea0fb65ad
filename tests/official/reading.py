"""What the original takes from a training checkpoint that was loaded."""

from torch import Tensor

State = dict[str, Tensor]


def diffusion_part(checkpoint: dict) -> State:
    """The state of the denoiser, CLIP and the process: the raw one, with the EMA put over it."""
    prefix = "transformer."
    model = checkpoint["model"]
    raw = {key.removeprefix(prefix): model[key] for key in model if key.startswith(prefix)}
    return raw | checkpoint["ema"]


def codec_part(checkpoint: dict) -> State:
    """The state of the tokenizer as in its stand-alone file; the EMA has none of it."""
    return {
        key.split(".", 2)[2]: value
        for key, value in checkpoint["model"].items()
        if key.startswith("content_codec.")
    }
