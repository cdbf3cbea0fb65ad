"""What is compared in speed gives the same numbers."""

import pytest
import torch
from bench import twins
from einops import rearrange
from support.denoisers import random_inputs

from vqlearn.diffusion.quick import quick_denoiser

pytestmark = pytest.mark.filterwarnings("ignore:.*Transformer2DModel:FutureWarning")
PROMPTS = ["a red circle", "a blue square"]


@pytest.fixture(scope="module")
def pair(tiny):
    return twins.make_twins(tiny, "cpu")


@torch.no_grad()
def test_both_pipelines_give_the_same_log_probabilities_for_one_step(pair, tiny):
    """Two captions; what the network predicts, and the reverse step from it: within 1e-4."""
    theirs, ours = pair
    x_t, _, _ = random_inputs(tiny, batch=2, length=1)
    t = 7
    text = theirs._encode_prompt(PROMPTS, 1, False)
    log_p_x0 = theirs.transformer(x_t, encoder_hidden_states=text, timestep=torch.tensor(t - 1))
    condition = ours.conditioning(PROMPTS, guided=False)
    found = ours.model.denoiser(condition)(x_t, t)
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(found, rearrange(log_p_x0.sample, "b k n -> b n k"), **close)
    quick = quick_denoiser(ours.model, condition)(x_t, t)
    torch.testing.assert_close(quick, found, **close)
    lower = theirs.scheduler.q_posterior(log_p_x0.sample, x_t, torch.tensor(t - 1))
    reverse = ours.process.log_reverse(found, x_t, t - 1, t)
    torch.testing.assert_close(reverse.exp().float(), rearrange(lower, "b k n -> b n k").exp())


def test_both_are_guided_by_the_same_states(pair):
    theirs, ours = pair
    condition = ours.conditioning(PROMPTS)
    found = torch.cat([condition.null_text(), condition.text])
    torch.testing.assert_close(found, theirs._encode_prompt(PROMPTS, 1, True))


def test_the_shipped_scenes_are_in_both(tmp_path):
    theirs, ours = twins.load_twins(twins.SCENES, "cpu")
    tokens = torch.randint(ours.model.num_codes, (1, 64), generator=torch.Generator())
    codes = theirs.vqvae.quantize.get_codebook_entry(tokens, shape=(1, 8, 8, 48))
    with torch.no_grad():
        image = (theirs.vqvae.decode(codes, force_not_quantize=True).sample / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(ours.pixels(tokens), image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_is_that_of_all_networks_but_the_one_for_images(tiny, dtype):
    for pipeline in twins.make_twins(tiny, "cpu", dtype):
        parts = dict(pipeline.components)
        transformer, text = parts["transformer"], parts["text_encoder"]
        found = [next(each.parameters()).dtype for each in (transformer, text, parts["vqvae"])]
        assert found == [dtype, dtype, torch.float32]
