"""A converted text model computes what the second implementation of the official code computes.

The second implementation was checked against the original code (`tests/official`). Both draw with
the same noise; that of the last step lacks MASK here, as in diffusers.
"""

from copy import deepcopy

import numpy as np
import pytest
import torch
from einops import rearrange
from official import clip_text, codec, denoiser, files, sampling
from official.inputs import conditions, given
from support.official_files import PROMPTS

from vqlearn.cli.verify import verify
from vqlearn.diffusion import reference
from vqlearn.probability import Conditioning

TEXT = ["coco_pretrained", "coco_learnable", "ithq_learnable", "cub_s"]
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(params=TEXT)
def both(request, converted):
    return converted(request.param)


@torch.no_grad()
def test_scores_texts_and_null_are_the_same(both):
    asked, pipe = given(both.official.sizes), both.pipeline
    condition, null = conditions(both.state, asked)
    assert torch.equal(pipe.text_encoder.tokenize(PROMPTS), asked.text)
    assert torch.equal(pipe.text_encoder.tokenize([""])[0], asked.empty_text)
    found = pipe.conditioning(PROMPTS)
    torch.testing.assert_close(found.text, condition, **CLOSE)
    torch.testing.assert_close(found.null_text().expand_as(null), null, **CLOSE)
    for text in (condition, null):
        ours = pipe.denoiser(asked.x_t, asked.t + 1, text)
        theirs = denoiser.denoise(both.state, asked.x_t, asked.t, text)
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-6)


class Noise:
    """In the place of `reference._gumbel`: given noise; it keeps the log-probabilities it meets."""

    def __init__(self, uniforms):
        self.uniforms, self.seen = iter(uniforms), []

    def __call__(self, like, generator):
        self.seen.append(rearrange(like, "b k n -> b n k"))
        return sampling.gumbel(rearrange(next(self.uniforms), "b n k -> b k n")[:, : like.shape[1]])


def chain(both, monkeypatch, **options):
    """Log-probabilities and tokens of every step, of ours with the noise of `official.inputs`."""
    noise, tokens = Noise(given(both.official.sizes).uniforms), []
    monkeypatch.setattr(reference, "_gumbel", noise)
    both.pipeline(
        PROMPTS, noise="reference", callback=lambda *step: tokens.append(step[2]), **options
    )
    return noise.seen, tokens


def official_chain(both, scale, rate, dtype=torch.float32):
    asked = given(both.official.sizes)
    condition, null = (text.to(dtype) for text in conditions(both.state, asked))
    network = {k: v.to(dtype) if k.startswith("transformer.") else v for k, v in both.state.items()}
    predict = sampling.predictor(network, condition, null=null, scale=scale, rate=rate)
    return sampling.reverse_steps(both.state, predict, asked.uniforms)


SETTINGS = pytest.mark.parametrize(
    ("scale", "rate"), [(s, r) for s in (1.0, 1.5, 3.0, 5.0) for r in (1.0, 0.86)]
)


@pytest.mark.parametrize(
    ("scale", "rate"), [(1.0, 1.0), (1.0, 0.86), (1.5, 1.0), (3.0, 0.86), (5.0, 1.0)]
)
@torch.no_grad()
def test_all_steps_and_the_tokens_of_a_chain_are_the_same(both, scale, rate, monkeypatch):
    """The networks in float64 with the same texts: so guidance has no rounding to magnify.

    At a rate of 1 the last digit of a float32 sum decides where it cuts: below e^-15.
    """
    condition, null = (x.double() for x in conditions(both.state, given(both.official.sizes)))
    texts = Conditioning(condition, null[:1] if scale > 1 else None)
    monkeypatch.setattr(both.pipeline, "conditioning", lambda *_, **__: texts)
    monkeypatch.setattr(both.pipeline, "model", deepcopy(both.pipeline.model).double())
    log_p, tokens = chain(both, monkeypatch, guidance_scale=scale, truncation_rate=rate)
    theirs = list(official_chain(both, scale, rate, torch.float64))
    assert len(log_p) == len(theirs) == 100
    least = -15 if rate == 1 else -70
    for ours, x_t, (expected, expected_x_t) in zip(log_p, tokens, theirs, strict=True):
        expected = expected[..., : ours.shape[-1]]  # without MASK at the end
        likely = expected >= least
        found = ours.clamp(reference.LEAST_LOG, 0)[likely]
        torch.testing.assert_close(found, expected[likely], **CLOSE)
        torch.testing.assert_close(ours.exp(), expected.exp(), **CLOSE)
        assert torch.equal(x_t, expected_x_t)
    assert len(tokens[-1].unique()) > 1


@SETTINGS
@torch.no_grad()
def test_in_single_precision_the_tokens_are_the_same(both, scale, rate, monkeypatch):
    log_p, tokens = chain(both, monkeypatch, guidance_scale=scale, truncation_rate=rate)
    theirs = official_chain(both, scale, rate)
    for ours, x_t, (expected, expected_x_t) in zip(log_p, tokens, theirs, strict=True):
        expected = expected[..., : ours.shape[-1]]
        torch.testing.assert_close(ours.exp(), expected.exp(), **CLOSE)
        assert torch.equal(x_t, expected_x_t)


def test_both_halves_have_the_floor_before_guidance():
    """Without it codes that neither half thinks possible would be the likeliest of all."""
    logits = 60 * torch.randn(2, 50, 40, generator=torch.Generator().manual_seed(0))
    ours = reference.reference_log_p_x0(logits, guidance_scale=5.0, truncation_rate=0.86)
    null, told = rearrange(logits, "b k n -> b n k").double().log_softmax(-1).float()
    null, told = (sampling.with_mask(x, sampling.FLOOR).clamp(sampling.FLOOR) for x in (null, told))
    theirs = sampling.truncate(sampling.guide(told, null, 5.0), 0.86)[..., :-1]
    torch.testing.assert_close(rearrange(ours, "1 k n -> n k"), theirs)


@torch.no_grad()
def test_truncation_and_guidance_change_the_chain(converted, monkeypatch):
    both = converted("coco_learnable")
    settings = [(1.0, 1.0), (3.0, 1.0), (1.0, 0.86)]
    found = [
        chain(both, monkeypatch, guidance_scale=scale, truncation_rate=rate)[1][-1]
        for scale, rate in settings
    ]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@torch.no_grad()
def test_the_default_path_has_the_same_steps_without_guidance_and_truncation(both):
    """Our own steps are exact: theirs in float32 are as far off as their rounding."""
    asked, pipe = given(both.official.sizes), both.pipeline
    condition, _ = conditions(both.state, asked)
    predict = sampling.predictor(both.state, condition)
    for level, x_t in ((57, asked.x_t), (3, asked.x_t), (99, torch.full_like(asked.x_t, 11))):
        t = torch.full((2,), level)
        theirs = sampling.reverse(both.state, predict(x_t, t), x_t, t)
        log_p_x0 = pipe.denoiser(x_t, level + 1, condition).double().log_softmax(-1)
        ours = pipe.process.log_reverse(log_p_x0, x_t, level, level + 1)
        torch.testing.assert_close(ours.exp().float(), theirs.exp(), **CLOSE)


@torch.no_grad()
def test_images_are_the_same_and_their_bytes_but_for_the_rounding(both):
    """Ours are rounded to 8 bits, theirs cut off: so ours are theirs, or one more."""
    sizes, asked = both.official.sizes, given(both.official.sizes)
    tokens = asked.codes % sizes.denoiser.codes
    full = tokens if sizes.codec.codes == 11 else codec.full_codes(files.remap_table(sizes))[tokens]
    theirs = codec.decode(both.codec, full)
    ours = both.pipeline.pixels(tokens)
    torch.testing.assert_close(ours, theirs, **CLOSE)
    rest = (255 * theirs).frac()  # neither near a whole number nor half-way between two
    is_sure = (rest > 0.01) & (rest < 0.99) & ((rest - 0.5).abs() > 0.01)
    assert is_sure.float().mean() > 0.8
    bytes_cut = codec.to_bytes(theirs).int()
    assert torch.equal(codec.to_bytes(ours).int()[is_sure], bytes_cut[is_sure])
    images = both.pipeline.decoded(tokens).images
    rounded = torch.tensor(np.stack([np.asarray(image) for image in images])).int()
    one_more = rearrange(rounded, "b h w c -> b c h w") - bytes_cut
    assert torch.equal(one_more[is_sure], (rest > 0.5).int()[is_sure])


@torch.no_grad()
def test_images_have_the_same_tokens(both):
    sizes, asked = both.official.sizes, given(both.official.sizes)
    scores = codec.code_scores(both.codec, asked.images)
    codes = scores.argmax(-1)
    ours = both.pipeline.vqvae
    if sizes.codec.codes == sizes.denoiser.codes:
        assert torch.equal(ours.encode(asked.images), codes)
        return
    remap = files.remap_table(sizes)
    tokens = ours.encode(asked.images)
    assert torch.equal(tokens, remap[codes])
    assert (tokens == 0).any()
    best = scores[..., codec.full_codes(remap)].argmax(-1)
    nearest = ours.encode(asked.images, nearest_used=True)
    assert torch.equal(nearest, best)
    assert not torch.equal(nearest, tokens)


@torch.no_grad()
def test_the_learned_null_is_not_that_of_the_empty_caption(converted):
    pipe = converted("coco_learnable").pipeline
    plain = converted("coco_pretrained")
    empty = clip_text.encode_text(plain.state, given(plain.official.sizes).empty_text[None])
    assert pipe.null_text.config.learnable
    assert not plain.pipeline.null_text.config.learnable
    torch.testing.assert_close(plain.pipeline.conditioning([""]).null_text()[:1], empty, **CLOSE)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_converted_model_is_verified_with_what_diffusers_has_of_it(both):
    folder = both.official.file.parent / "out"
    found = verify(both.pipeline, folder, steps=2)[0]["agreement_with_diffusers"]
    if both.official.sizes.denoiser.kind == "convolutional text":
        assert found == "not compared: diffusers has no ConvolutionalTextDenoiser"
        return
    assert all(line["clean_token"] < 1e-5 for line in found)
    assert found[0]["picture"] < 1e-4
