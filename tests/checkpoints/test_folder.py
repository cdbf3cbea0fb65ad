"""Folders: those of diffusers load at any size, ours load in diffusers, broken ones are named."""

import json
from dataclasses import replace

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import edit_json, write_diffusers_folder
from transformers import CLIPTextModel, CLIPTokenizer

from vqlearn import CheckpointError, VQDiffusionPipeline
from vqlearn.checkpoints import configs
from vqlearn.checkpoints import folder as files
from vqlearn.checkpoints.shipped import resolve, shipped_names
from vqlearn.diffusion import DiffusionModel, kernels
from vqlearn.diffusion.schedule import SCHEDULES, build_schedule
from vqlearn.text.null_text import NullText, NullTextConfig
from vqlearn.tokens.vqvae import VQVAE, VQVAEConfig

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    return write_diffusers_folder(tmp_path / "model")


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"channels": (6, 6), "groups": 3, "codes": 1},
        {"channels": (4, 8, 12), "groups": 2, "grid": 2},
        {"channels": (2, 2, 4, 4), "groups": 1, "levels": 100, "text_length": 20},
        {"channels": (5,), "groups": 5},
    ],
)
def test_folders_of_diffusers_load_at_any_size(tmp_path, sizes):
    folder = write_diffusers_folder(tmp_path, **sizes)
    pipeline = VQDiffusionPipeline.from_pretrained(folder)
    images = pipeline("a red circle", num_inference_steps=2, output_type="np").images
    side = sizes.get("grid", 4) * 2 ** (len(sizes.get("channels", (8, 16))) - 1)
    assert images.shape == (1, side, side, 3)
    stored = load_file(folder / "transformer" / WEIGHTS)
    assert torch.equal(pipeline.denoiser.to_logits.weight, stored["out.weight"])


@pytest.mark.parametrize("norm_type", ["ada_norm", "layer_norm", None, ...])
def test_norm_type_may_be_absent_and_extra_keys_are_ignored(folder, norm_type):
    edit_json(folder / "transformer" / "config.json", norm_type=norm_type, some_new_key=None)
    edit_json(folder / "vqvae" / "config.json", force_upcast=True, scaling_factor=3.0, extra=1)
    VQDiffusionPipeline.from_pretrained(folder)


def test_the_dtype_of_the_files_is_kept_unless_another_is_asked_for(folder, tmp_path):
    VQDiffusionPipeline.from_pretrained(folder).to(torch.float16).save_pretrained(tmp_path / "half")
    half = VQDiffusionPipeline.from_pretrained(tmp_path / "half")
    parts = (half.vqvae, half.denoiser, half.text_encoder.model, half.null_text)
    for part in parts:
        assert {weight.dtype for weight in part.parameters()} == {torch.float16}
    full = VQDiffusionPipeline.from_pretrained(tmp_path / "half", torch_dtype=torch.float32)
    assert full.dtype == torch.float32


def test_what_we_save_loads_in_diffusers_part_by_part(folder, tmp_path):
    ours = VQDiffusionPipeline.from_pretrained(folder)
    ours.save_pretrained(tmp_path / "ours")
    original = {name: load_file(folder / name / WEIGHTS) for name in ("vqvae", "transformer")}
    vqvae = diffusers.VQModel.from_pretrained(tmp_path / "ours" / "vqvae")
    transformer = diffusers.Transformer2DModel.from_pretrained(tmp_path / "ours" / "transformer")
    for name, module in (("vqvae", vqvae), ("transformer", transformer)):
        assert module.state_dict().keys() == original[name].keys()
        assert all(torch.equal(w, original[name][k]) for k, w in module.state_dict().items())
    assert vqvae.config.block_out_channels == [8, 16]
    scheduler = diffusers.VQDiffusionScheduler.from_pretrained(tmp_path / "ours" / "scheduler")
    assert scheduler.config.num_vec_classes == 12
    CLIPTextModel.from_pretrained(tmp_path / "ours" / "text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "ours" / "tokenizer")
    assert (
        tokenizer("a red circle").input_ids == ours.text_encoder.tokenizer("a red circle").input_ids
    )


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_timesteps", [2, 3, 7, 100])
def test_the_numbers_of_a_schedule_come_back_from_its_arrays(name, num_timesteps):
    config = SCHEDULES[name](384, num_timesteps)
    assert build_schedule(config).config == config


def test_save_and_load_give_the_same_pictures(folder, tmp_path):
    ours = VQDiffusionPipeline.from_pretrained(folder)
    ours.save_pretrained(tmp_path / "again")
    again = VQDiffusionPipeline.from_pretrained(tmp_path / "again")
    first, second = (
        pipe("a red circle", 3, generator=torch.Generator().manual_seed(0), output_type="np").images
        for pipe in (ours, again)
    )
    assert (first == second).all()


def test_a_checkpoint_without_learned_null_states_uses_the_empty_caption(folder, tmp_path):
    ours = VQDiffusionPipeline.from_pretrained(folder)
    ours.null_text = NullText(NullTextConfig(False))
    ours.save_pretrained(tmp_path / "plain")
    plain = VQDiffusionPipeline.from_pretrained(tmp_path / "plain")
    assert not plain.null_text.config.learnable
    assert len(plain("a red circle", num_inference_steps=2, guidance_scale=3.0).images) == 1


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("vqvae", {"norm_type": "spatial"}, "norm_type is 'spatial'"),
        ("vqvae", {"in_channels": 4}, "in_channels is 4; allowed: 3"),
        (
            "vqvae",
            {"down_block_types": ["Odd", "Odd"]},
            "a block of down_block_types is 'Odd'; allowed: '",
        ),
        ("vqvae", {"up_block_types": ["UpDecoderBlock2D"]}, "up_block_types has 1 entries"),
        ("vqvae", {"latent_channels": ...}, "'latent_channels' is missing"),
        ("transformer", {"activation_fn": "geglu"}, "activation_fn is 'geglu'"),
        ("transformer", {"activation_fn": ...}, "activation_fn is 'geglu'"),
        ("transformer", {"num_layers": 0}, "num_layers"),
        ("transformer", {"num_layers": "two"}, "num_layers"),
        ("vqvae", {"layers_per_block": 1.5}, r"layers_per_block is 1\.5; allowed: int"),
        ("vqvae", {"latent_channels": 6.0}, r"latent_channels is 6\.0; allowed: int"),
        ("vqvae", {"block_out_channels": [8, "16"]}, "block_out_channels is"),
        ("vqvae", {"quantizer": "odd"}, "quantizer is 'odd'; allowed: 'nearest', 'gumbel'"),
        ("vqvae", {"quantizer": 3}, "quantizer is 3; allowed: str"),
        ("vqvae", {"quantizer": "gumbel"}, r"2 weights are missing \['quantize\.to_logits\.bias'"),
        ("scheduler", {"num_train_timesteps": 10.0}, r"num_train_timesteps is 10\.0"),
        ("scheduler", {"num_vec_classes": 12.0}, r"num_vec_classes is 12\.0"),
        ("scheduler", {"alpha_cum_start": "high"}, "alpha_cum_start is 'high'"),
        ("learned_classifier_free_sampling_embeddings", {"length": "9"}, "length is '9'"),
        ("learned_classifier_free_sampling_embeddings", {"hidden_size": -1}, "hidden_size"),
        ("text_encoder", {"hidden_act": "nope"}, "cannot be used"),
        ("text_encoder", {"num_attention_heads": 5}, "cannot be used"),
        ("transformer", {"num_layers": 3}, "weights are missing"),
        ("transformer", {"num_layers": 1}, "are unknown"),
        ("transformer", {"num_embeds_ada_norm": 12}, "has the shape"),
        ("learned_classifier_free_sampling_embeddings", {"length": 5}, "has the shape"),
    ],
)
def test_configs_that_cannot_be_built_are_named(folder, part, changes, message):
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    edit_json(folder / part / name, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        VQDiffusionPipeline.from_pretrained(folder)
    assert part in str(caught.value)


def test_a_schedule_that_cannot_be_built_is_named(folder):
    edit_json(folder / "scheduler" / "scheduler_config.json", alpha_cum_end=0.9, gamma_cum_end=0.9)
    with pytest.raises(CheckpointError, match=r"scheduler_config\.json cannot be used: "):
        files.load_token_model(folder)


def test_parts_that_do_not_fit_each_other_are_named(folder):
    edit_json(folder / "scheduler" / "scheduler_config.json", num_vec_classes=13)
    with pytest.raises(CheckpointError, match="num_codes of the token model is 12; allowed: 11"):
        VQDiffusionPipeline.from_pretrained(folder)
    edit_json(folder / "scheduler" / "scheduler_config.json", num_vec_classes=12)
    edit_json(folder / "scheduler" / "scheduler_config.json", num_train_timesteps=11)
    with pytest.raises(CheckpointError, match="ada_norm of the denoiser is 10; allowed: 11"):
        VQDiffusionPipeline.from_pretrained(folder)


@pytest.mark.parametrize("part", ["vqvae", "transformer", "text_encoder"])
def test_damaged_weights_are_named(folder, part):
    name = "model.safetensors" if part == "text_encoder" else WEIGHTS
    file = folder / part / name
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=part if part == "text_encoder" else "is damaged"):
        VQDiffusionPipeline.from_pretrained(folder)


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense"])
def test_a_damaged_tokenizer_is_named(folder, text):
    (folder / "tokenizer" / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match="tokenizer"):
        VQDiffusionPipeline.from_pretrained(folder)


def test_a_missing_tokenizer_is_named_and_never_made_up(folder):
    (folder / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"allowed: tokenizer\.json, or vocab\.json"):
        VQDiffusionPipeline.from_pretrained(folder)


def test_a_tokenizer_with_more_words_than_the_text_encoder_is_named(folder):
    file = folder / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "token_embedding" in name)
    weights[name] = weights[name][:100].clone()
    save_file(weights, file, metadata={"format": "pt"})
    edit_json(folder / "text_encoder" / "config.json", vocab_size=100, eos_token_id=99)
    with pytest.raises(CheckpointError, match="allowed: 0 to 99, the rows"):
        VQDiffusionPipeline.from_pretrained(folder)


def test_the_dtype_of_the_text_encoder_is_that_of_its_file_not_of_its_config(folder):
    file = folder / "text_encoder" / "model.safetensors"
    half = {name: weight.half() for name, weight in load_file(file).items()}
    save_file(half, file, metadata={"format": "pt"})
    assert VQDiffusionPipeline.from_pretrained(folder).text_encoder.model.dtype == torch.float16


def test_weights_of_whole_numbers_are_named(folder):
    file = folder / "transformer" / WEIGHTS
    weights = load_file(file)
    weights["out.bias"] = weights["out.bias"].int()
    save_file(weights, file)
    with pytest.raises(CheckpointError, match=r"out\.bias is I32"):
        VQDiffusionPipeline.from_pretrained(folder)


def test_missing_text_weights_are_named_and_never_made_up(folder):
    file = folder / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    gone = next(name for name in weights if "final_layer_norm" in name)
    save_file({k: v for k, v in weights.items() if k != gone}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="final_layer_norm"):
        VQDiffusionPipeline.from_pretrained(folder)


@pytest.mark.parametrize(
    "name", ["vqvae/config.json", "transformer/config.json", "model_index.json"]
)
def test_damaged_json_and_missing_files_are_named(folder, name):
    (folder / name).write_text("{ not json")
    with pytest.raises(CheckpointError, match="damaged"):
        VQDiffusionPipeline.from_pretrained(folder)
    (folder / name).write_text("[]")
    with pytest.raises(CheckpointError, match="holds a list"):
        VQDiffusionPipeline.from_pretrained(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name.split("/")[-1]):
        VQDiffusionPipeline.from_pretrained(folder)


def test_a_missing_folder_and_one_of_the_wrong_kind_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        VQDiffusionPipeline.from_pretrained("nowhere")
    with pytest.raises(CheckpointError, match=r"model_index\.json"):
        VQDiffusionPipeline.from_pretrained(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusion"}))
    with pytest.raises(CheckpointError, match="'StableDiffusion'; allowed: 'VQDiffusionPipeline'"):
        VQDiffusionPipeline.from_pretrained(tmp_path)


def test_a_config_survives_the_way_to_disk_and_back(folder):
    for name, file in (("vqvae", configs.VQVAE_FILE), ("transformer", configs.DENOISER_FILE)):
        config = file.read(json.loads((folder / name / "config.json").read_text()))
        assert file.read(file.write(config)) == config


def test_the_quantizer_is_one_key_more_where_diffusers_has_none():
    shipped = json.loads((resolve("scenes") / "vqvae" / "config.json").read_text())
    config = configs.VQVAE_FILE.read(shipped)
    gumbel = replace(config, quantizer="gumbel")
    for each, expected in ((config, shipped), (gumbel, {**shipped, "quantizer": "gumbel"})):
        assert json.loads(json.dumps(configs.VQVAE_FILE.write(each))) == expected


@pytest.mark.parametrize("quantizer", ["nearest", "gumbel"])
def test_both_quantizers_survive_the_way_to_disk_and_back(tmp_path, quantizer):
    """Tokens and images come back bit for bit, and diffusers decodes the tokens of both alike."""
    config = VQVAEConfig((8, 16), 1, 6, 5, 11, 4, (1,), (1,), quantizer)
    torch.manual_seed(0)
    before = VQVAE(config).eval()
    torch.nn.init.normal_(before.quantizer.codebook.weight)
    files.save_network(before, tmp_path)
    after = files.load_vqvae(tmp_path)
    assert after.config == config
    pictures = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    tokens = before.encode(pictures)
    assert len(tokens.unique()) > 1
    assert torch.equal(after.encode(pictures), tokens)
    assert torch.equal(after.decode(tokens), before.decode(tokens))
    theirs = diffusers.VQModel.from_pretrained(tmp_path / "vqvae")
    codes = theirs.quantize.get_codebook_entry(tokens, shape=(3, 4, 4, 5))
    with torch.no_grad():
        decoded = theirs.decode(codes, force_not_quantize=True).sample
        images = (decoded / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(images, after.decode(tokens), rtol=0, atol=1e-5)
        assert ((images > 0) & (images < 1)).float().mean() > 0.5  # not all are clamped


def test_attention_resolutions_may_differ_between_encoder_and_decoder():
    values = {
        "block_out_channels": [4, 4, 8],
        "latent_channels": 4,
        "norm_num_groups": 4,
        "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"],
    }
    config = configs.VQVAE_FILE.read(values)
    assert config.encoder_attention_resolutions == (1,)
    assert config.decoder_attention_resolutions == (2,)
    assert config.vq_embed_dim == 4
    written = configs.VQVAE_FILE.write(config)
    assert written["down_block_types"] == values["down_block_types"]
    assert written["up_block_types"] == values["up_block_types"]


def test_a_shipped_name_comes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    assert "scenes" in shipped_names()
    (tmp_path / "scenes").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("scenes") != resolve("./scenes")


def test_processes_that_files_cannot_hold_are_refused(tmp_path):
    model = DiffusionModel(kernels.uniform(3, 10), torch.nn.Identity(), num_positions=4)
    with pytest.raises(TypeError, match="the process is a DenseProcess; allowed: a Mask"):
        files.save_network(model, tmp_path)
    assert not any(tmp_path.iterdir())
