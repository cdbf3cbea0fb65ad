"""Converted models of classes and of nothing compute what the second implementation computes."""

import pytest
import torch
from official import codec, denoiser, files, sampling
from official.inputs import conditions, given

from vqlearn.checkpoints.layout import CLASS_FOLDER, UNCONDITIONAL_FOLDER, model_folder
from vqlearn.diffusion import reference

MODELS = {
    "imagenet_pretrained": CLASS_FOLDER,
    "imagenet_learnable": CLASS_FOLDER,
    "ffhq": UNCONDITIONAL_FOLDER,
}
CLOSE = {"atol": 1e-5, "rtol": 0}


@pytest.fixture(params=MODELS)
def both(request, converted):
    return converted(request.param)


def call(both, asked, **options):
    if asked.classes is None:
        return both.pipeline(num_images=2, **options)
    return both.pipeline(asked.classes.tolist(), **options)


@torch.no_grad()
def test_scores_of_all_conditions_are_the_same(both):
    asked, network = given(both.official.sizes), both.pipeline.denoiser
    for condition in conditions(both.state, asked):
        told = [] if condition is None else [condition]
        ours = network(asked.x_t, asked.t + 1, *told)
        theirs = denoiser.denoise(both.state, asked.x_t, asked.t, *told)
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-6)


@pytest.mark.parametrize(("scale", "rate"), [(1.0, 1.0), (1.0, 0.86), (1.5, 0.94), (3.0, 1.0)])
@torch.no_grad()
def test_whole_chains_have_the_same_tokens(both, scale, rate, monkeypatch):
    asked, tokens = given(both.official.sizes), []
    noise = iter(asked.uniforms)

    def gumbel(like, generator):
        return sampling.gumbel(next(noise).mT[:, : like.shape[1]])

    monkeypatch.setattr(reference, "_gumbel", gumbel)
    guided = {} if asked.classes is None else {"guidance_scale": scale}
    watch = {"callback": lambda *step: tokens.append(step[2])}
    call(both, asked, noise="reference", truncation_rate=rate, **guided, **watch)
    condition, null = conditions(both.state, asked)
    scale = scale if guided else 1.0
    predict = sampling.predictor(both.state, condition, null=null, scale=scale, rate=rate)
    theirs = [x for _, x in sampling.reverse_steps(both.state, predict, asked.uniforms)]
    assert len(tokens) == len(theirs) == 100
    assert all(map(torch.equal, tokens, theirs))


@torch.no_grad()
def test_images_and_their_tokens_are_the_same(both):
    sizes, asked = both.official.sizes, given(both.official.sizes)
    tokens = asked.codes % sizes.denoiser.codes
    codes, full = codec.encode(both.codec, asked.images), tokens
    if sizes.codec.codes != sizes.denoiser.codes:
        remap = files.remap_table(sizes)
        codes, full = remap[codes], codec.full_codes(remap)[tokens]
    assert torch.equal(both.pipeline.vqvae.encode(asked.images), codes)
    images = codec.decode(both.codec, full)
    torch.testing.assert_close(both.pipeline.pixels(tokens), images, **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_the_folder_names_its_kind_and_needs_no_text(name, converted):
    one = converted(name)
    folder = one.official.file.parent / "out"
    assert model_folder(folder) == MODELS[name]
    assert not (folder / "text_encoder").exists()
    assert "tokenizer" not in one.official.options
