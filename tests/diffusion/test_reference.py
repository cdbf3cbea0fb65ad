"""With noise="reference" the tokens are those of diffusers' own pipeline."""

import diffusers
import pytest
import torch
from einops import rearrange
from support.tiny import diffusers_parts, write_diffusers_folder

from vqlearn import VQDiffusionPipeline
from vqlearn.diffusion.reference import _ReferenceSteps
from vqlearn.diffusion.schedule import ScheduleConfig

PROMPTS = ["a red circle", "a blue square above a green ring"]
LEVELS = 100

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same random weights in diffusers' pipeline and in ours, peaked enough to matter."""
    from diffusers.pipelines.deprecated.vq_diffusion import VQDiffusionPipeline as Reference

    folder = write_diffusers_folder(
        tmp_path_factory.mktemp("model"), levels=LEVELS, codes=40, text_length=20
    )
    torch.manual_seed(0)
    parts = diffusers_parts(levels=LEVELS, codes=40, text_length=20)
    with torch.no_grad():
        parts["transformer"].out.weight.mul_(4)
    theirs = Reference(**parts)
    theirs.set_progress_bar_config(disable=True)
    for name in ("vqvae", "transformer", "text_encoder", "tokenizer", "scheduler"):
        parts[name].save_pretrained(folder / name)
    parts["learned_classifier_free_sampling_embeddings"].save_pretrained(
        folder / "learned_classifier_free_sampling_embeddings"
    )
    ours = VQDiffusionPipeline.from_pretrained(folder)
    ours.set_progress_bar_config(disable=True)
    return ours, theirs


def tokens_of(pipeline, seed, **options):
    seen = []
    images = pipeline(
        PROMPTS,
        num_inference_steps=LEVELS,
        generator=torch.Generator().manual_seed(seed),
        callback=lambda i, t, x: seen.append(x.clone()),
        output_type="np",
        **options,
    ).images
    return torch.stack(seen), torch.as_tensor(images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("truncation", [1.0, 0.86])
def test_100_steps_are_token_identical(both, dtype, guidance, truncation):
    ours, theirs = (pipeline.to(dtype) for pipeline in both)
    options = {"guidance_scale": guidance, "truncation_rate": truncation}
    options["num_images_per_prompt"] = 2
    for seed in range(3):
        mine, images = tokens_of(ours, seed, noise="reference", **options)
        reference, pictures = tokens_of(theirs, seed, **options)
        assert mine.shape == (LEVELS, 4, 16)
        assert torch.equal(mine, reference)
        assert (images - pictures).abs().max() < 1e-5


@pytest.mark.parametrize("num_codes", [2, 100])
def test_the_posterior_is_that_of_diffusers_bit_for_bit(num_codes):
    generator = torch.Generator().manual_seed(num_codes)
    config = ScheduleConfig(num_codes + 1, 20)
    scheduler = diffusers.VQDiffusionScheduler(num_codes + 1, 20)
    log_p_x0 = (3 * torch.randn(2, num_codes, 30, generator=generator)).log_softmax(dim=1)
    x_t = torch.randint(num_codes + 1, (2, 30), generator=generator)
    x_t[:, ::2] = num_codes
    for t in range(2, 21):
        ours = _ReferenceSteps(config, x_t.device).log_posterior(log_p_x0, x_t, t)
        assert torch.equal(ours, scheduler.q_posterior(log_p_x0, x_t, t - 1))


def test_exact_noise_is_another_stream_and_the_default(both):
    ours = both[0].to(torch.float32)
    exact, _ = tokens_of(ours, 0)
    assert not torch.equal(exact, tokens_of(ours, 0, noise="reference")[0])
    assert torch.equal(exact, tokens_of(ours, 0, noise="exact")[0])


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"noise": "gumbel"},
            ValueError,
            "noise is 'gumbel'; allowed: 'exact', 'fast'",
        ),
        ({"num_inference_steps": 25}, ValueError, "25; allowed with noise='reference': 100"),
        ({"generator": [torch.Generator()]}, TypeError, "allowed with noise='reference': one"),
    ],
)
def test_what_cannot_be_replayed_is_refused(both, options, kind, message):
    wanted = {"noise": "reference", "num_inference_steps": LEVELS, **options}
    with pytest.raises(kind, match=message):
        both[0]("a red circle", **wanted)


def test_p_x0s_are_truncated_as_the_reference_does_even_at_rate_one():
    from diffusers.pipelines.deprecated.vq_diffusion import VQDiffusionPipeline as Reference

    from vqlearn.diffusion.reference import reference_log_p_x0

    logits = 9 * torch.randn(2, 200, 30, generator=torch.Generator().manual_seed(0))
    log_p_x0 = logits.double().log_softmax(dim=1).float()
    for rate in (0.3, 0.86, 1.0):
        ours = reference_log_p_x0(logits, guidance_scale=None, truncation_rate=rate)
        assert torch.equal(ours, Reference.truncate(None, log_p_x0, rate).clamp(-70))
    assert (ours == -70).any()
    assert rearrange(ours, "b k n -> b n k").argmax(-1).equal(logits.argmax(1))
