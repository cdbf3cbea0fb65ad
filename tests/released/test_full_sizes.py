"""The released models at their full sizes, on the meta device: shapes and published counts."""

import diffusers
import pytest
import torch
from diffusers.pipelines.deprecated.vq_diffusion import pipeline_vq_diffusion
from official import files
from official.sizes import FULL
from official.test_counts import DENOISERS, TOKENIZERS
from support.official_files import Known, write_clip_tokenizer
from transformers import CLIPTextConfig, CLIPTextModel

from vqlearn.released.conversion import used_codes
from vqlearn.released.conversion.plan import Asked, plan_of
from vqlearn.released.training_file import TrainingFile

TEXT = ["coco_pretrained", "coco_learnable", "ithq_learnable", "cub_s"]


def asked_for(name, folder, monkeypatch):
    """A tokenizer of the right size, and a list of used codes that is not the released one."""
    sizes, options = FULL[name], {}
    if sizes.codec.codes != sizes.denoiser.codes:
        monkeypatch.setattr(used_codes, "DIGESTS", {})
        options["used_codes"] = folder / "used.pt"
        files.save_remap(options["used_codes"], sizes)
    if sizes.text:
        options["tokenizer"] = write_clip_tokenizer(folder / "clip", sizes.text)
    return Asked(**options)


def plan_for(name, folder, monkeypatch):
    model, ema = (Known(state) for state in files.training_states(FULL[name], None))
    return plan_of(name, TrainingFile(model, ema), asked_for(name, folder, monkeypatch))


def numel(part, shape=lambda source: source.shape):
    return sum(torch.Size(shape(source)).numel() for source in part.weights.values())


DENOISER_FOLDERS = {
    **dict.fromkeys(("coco_pretrained", "coco_learnable", "ithq_learnable"), "transformer"),
    **dict.fromkeys(("imagenet_pretrained", "imagenet_learnable"), "class_transformer"),
    "cub_s": "convolutional_transformer",
    "ffhq": "unconditional_transformer",
}
MEAN_CLASS = 24 * 512  # a row in each of 24 tables
CUT_ROWS = 24 * 512  # of 32 rows of positions 8 are there in 16 x 16 tokens
CHANGES = {
    "imagenet_pretrained": MEAN_CLASS - CUT_ROWS,
    "imagenet_learnable": -CUT_ROWS,
    "ffhq": -CUT_ROWS,
}


@pytest.mark.parametrize("name", FULL)
def test_counts_of_the_denoiser_before_and_after(name, tmp_path, monkeypatch):
    parts = {part.folder: part for part in plan_for(name, tmp_path, monkeypatch).parts}
    denoiser = parts[DENOISER_FOLDERS[name]]
    assert numel(denoiser) == DENOISERS[name]
    after = numel(denoiser, lambda source: source.ours)
    assert after == DENOISERS[name] + CHANGES.get(name, 0)
    assert not denoiser.constants


@pytest.mark.parametrize("name", TEXT)
def test_counts_of_clip_and_null(name, tmp_path, monkeypatch):
    parts = {part.folder: part for part in plan_for(name, tmp_path, monkeypatch).parts}
    assert numel(parts["text_encoder"], lambda source: source.ours) == 63_165_952
    null = parts["learned_classifier_free_sampling_embeddings"]
    assert numel(null) == (39_424 if FULL[name].learned_null else 0)


@pytest.mark.parametrize("name", FULL)
def test_counts_of_the_tokenizer_before_and_after(name, tmp_path, monkeypatch):
    """Nothing of it is lost; of sliced ones the rows of used codes are there once more."""
    codec, *_ = plan_for(name, tmp_path, monkeypatch).parts
    sizes = FULL[name]
    once = {source.key: source for source in codec.weights.values()}
    all_codes = sum(torch.Size(source.shape).numel() for source in once.values())
    same = next(other for other in TOKENIZERS if FULL[other].codec == sizes.codec)
    assert all_codes == TOKENIZERS[same]
    used, width = sizes.denoiser.codes, sizes.codec.code_width
    is_sliced = used != sizes.codec.codes
    per_code = 2 * width + 1 if sizes.codec.kind == "gumbel" else width  # its scores, its vector
    after = numel(codec, lambda source: source.ours)
    assert after == all_codes + is_sliced * used * per_code
    shapes = {name: tuple(w.shape) for name, w in codec.constants.items()}
    assert shapes == ({"quantize.used_codes": (used,)} if is_sliced else {})


@pytest.mark.parametrize("name", ["imagenet_pretrained", "ffhq", "ithq_learnable"])
def test_counts_of_tokenizers_alone(name):
    state = Known(files.codec_state(FULL[name].codec, None))
    (part,) = plan_of(name, TrainingFile(state, None), Asked()).parts
    assert numel(part, lambda source: source.ours) == TOKENIZERS[name]


def test_ithq_has_the_config_of_the_hub(tmp_path, monkeypatch):
    """The facts of `microsoft/vq-diffusion-ithq`."""
    plan = plan_for("ithq_learnable", tmp_path, monkeypatch)
    configs = {part.folder: dict(part.config) for part in plan.parts}
    expected = {
        "vqvae": {
            "block_out_channels": (64, 128, 256, 512),
            "layers_per_block": 2,
            "latent_channels": 256,
            "vq_embed_dim": 128,
            "num_vq_embeddings": 4096,
            "norm_num_groups": 32,
            "down_block_types": ["DownEncoderBlock2D"] * 3 + ["AttnDownEncoderBlock2D"],
            "up_block_types": ["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * 3,
        },
        "transformer": {
            "num_layers": 36,
            "num_attention_heads": 16,
            "attention_head_dim": 88,
            "cross_attention_dim": 512,
            "attention_bias": True,
            "num_vector_embeds": 4097,
            "sample_size": 32,
            "num_embeds_ada_norm": 100,
            "activation_fn": "geglu-approximate",
        },
        "learned_classifier_free_sampling_embeddings": {
            "learnable": True,
            "hidden_size": 512,
            "length": 77,
        },
    }
    for part, values in expected.items():
        assert values.items() <= configs[part].items()
    assert "quantizer" not in configs["vqvae"]
    text = configs["text_encoder"]
    assert (text["hidden_size"], text["max_position_embeddings"]) == (512, 77)
    assert (text["num_hidden_layers"], text["num_attention_heads"]) == (12, 8)
    assert (plan.schedule.num_vec_classes, plan.schedule.num_train_timesteps) == (4097, 100)


def test_ithq_has_the_weights_of_the_hub(tmp_path, monkeypatch):
    """The same keys and shapes as the classes that wrote `microsoft/vq-diffusion-ithq`."""
    plan = plan_for("ithq_learnable", tmp_path, monkeypatch)
    configs = {part.folder: dict(part.config) for part in plan.parts}
    null = pipeline_vq_diffusion.LearnedClassifierFreeSamplingEmbeddings
    with torch.device("meta"):
        theirs = {
            "vqvae": diffusers.VQModel.from_config(configs["vqvae"]),
            "transformer": diffusers.Transformer2DModel.from_config(configs["transformer"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
            "learned_classifier_free_sampling_embeddings": null(True, 512, 77),
        }
    for part in plan.parts:
        expected = {k: tuple(w.shape) for k, w in theirs[part.folder].state_dict().items()}
        assert {k: source.ours for k, source in part.weights.items()} == expected
    counts = {name: sum(w.numel() for w in model.parameters()) for name, model in theirs.items()}
    assert list(counts.values()) == [64_009_667, 1_359_274_624, 63_165_952, 39_424]
