"""What the second implementation answers when a small checkpoint is asked `inputs.given`.

Every field has a name under which `original.json` has what the original code answered.
"""

import torch
from official import codec, files, reading, sampling
from official.denoiser import denoise
from official.inputs import Given, conditions, given
from official.sizes import SMALL, ReleaseSizes
from torch import Tensor

SEED = 5
GUIDED = {"scale": 3.0, "rate": 0.86}
PIXELS = slice(3, None, 8)


@torch.no_grad()
def answers(name: str) -> dict[str, Tensor]:
    """Of the checkpoint `name` with seed `SEED`; a few positions and pixels of each answer."""
    sizes, asked = SMALL[name], given(SMALL[name])
    checkpoint = files.training_checkpoint(sizes, SEED)
    from_denoiser = of_denoiser(reading.diffusion_part(checkpoint), asked)
    return from_denoiser | of_tokenizer(reading.codec_part(checkpoint), asked, sizes)


def of_denoiser(state: dict[str, Tensor], asked: Given) -> dict[str, Tensor]:
    condition, null = conditions(state, asked)
    found = {"logits": denoise(state, asked.x_t, asked.t, condition)[:, ::4]}
    if null is not None:
        found["null logits"] = denoise(state, asked.x_t, asked.t, null)[:, ::4]
    if asked.text is not None:
        found["text states"] = condition[..., ::16]
    log_p = sampling.predict_x0(state, asked.x_t, asked.t, condition)
    found["log p(x_t-1 | x_t)"] = sampling.reverse(state, log_p, asked.x_t, asked.t)[:, ::4]
    settings = {"scale": 1.0, "rate": GUIDED["rate"]} if null is None else GUIDED
    plain = sampling.predictor(state, condition)
    guided = sampling.predictor(state, condition, null=null, **settings)
    found["tokens"] = sampling.sample(state, plain, asked.uniforms)
    found["tokens, guided and truncated"] = sampling.sample(state, guided, asked.uniforms)
    return found


def of_tokenizer(state: dict[str, Tensor], asked: Given, sizes: ReleaseSizes) -> dict[str, Tensor]:
    codes, codes_in = codec.encode(state, asked.images), asked.codes
    if sizes.codec.codes != sizes.denoiser.codes:
        remap = files.remap_table(sizes)
        codes = remap[codes]
        codes_in = codec.full_codes(remap)[remap[codes_in]]
    return {
        "features": codec.features(state, asked.images)[:, ::8, ::2, ::2],
        "codes": codes,
        "image": codec.decode(state, codes_in)[..., PIXELS, PIXELS],
    }
