"""The second implementation against diffusers and transformers, where these have the same model."""

import diffusers
import pytest
import torch
from einops import rearrange
from official import clip_text, codec, files, reading, sampling
from official.inputs import conditions, given
from official.sizes import SMALL
from transformers import CLIPTextConfig, CLIPTextModel

ITHQ = SMALL["ithq_learnable"]


@pytest.fixture(scope="module")
def checkpoint():
    return files.training_checkpoint(ITHQ)


def renamed(state, prefix, names):
    """The tensors below `prefix`, with parts of their keys replaced in this order."""
    found = {}
    for key, value in state.items():
        if key.startswith(prefix) and not key.endswith((".mask", "text_projection")):
            key = key.removeprefix(prefix)
            for old, new in names:
                key = key.replace(old, new)
            found[key] = value
    return found


TRANSFORMER = [
    *(("content_emb", "latent_image_embedding"), ("blocks", "transformer_blocks")),
    *(("ln1_1", "norm2"), ("ln1", "norm1"), ("ln2", "norm3")),
    *((".query", ".to_q"), (".key", ".to_k"), (".value", ".to_v"), (".proj", ".to_out.0")),
    *(("mlp.0", "ff.net.0.proj"), ("mlp.2", "ff.net.2")),
    *(("to_logits.0", "norm_out"), ("to_logits.1", "out")),
]


@torch.no_grad()
def test_denoiser_is_the_transformer_of_diffusers(checkpoint):
    state, sizes, asked = reading.diffusion_part(checkpoint), ITHQ.denoiser, given(ITHQ)
    network = diffusers.Transformer2DModel(
        num_attention_heads=16,
        attention_head_dim=sizes.width // 16,
        num_layers=sizes.blocks,
        cross_attention_dim=sizes.condition,
        attention_bias=True,
        num_vector_embeds=sizes.codes + 1,
        sample_size=sizes.grid,
        num_embeds_ada_norm=sizes.steps,
        activation_fn="geglu-approximate",
        norm_type="ada_norm",
    ).eval()
    network.load_state_dict(renamed(state, "transformer.", TRANSFORMER))
    for t in (0, 57, 99):
        for condition in conditions(state, asked):
            logits = network(asked.x_t, condition, torch.tensor(t), return_dict=False)[0]
            found = sampling.predict_x0(state, asked.x_t, torch.full((2,), t), condition)
            expected = rearrange(logits, "b k n -> b n k").log_softmax(dim=-1)
            torch.testing.assert_close(found[..., :-1], expected, atol=1e-5, rtol=0)


CLIP = [
    *(("token_embedding", "embeddings.token_embedding"), ("transformer.resblocks", "layers")),
    *(("positional_embedding", "embeddings.position_embedding.weight"), ("ln_final", "final")),
    *(("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("c_fc", "fc1"), ("c_proj", "fc2")),
    *((".attn.", ".self_attn."), ("layers.", "encoder.layers."), ("final", "final_layer_norm")),
]


def separated(state):
    """q, k and v of each block from the matrix and the bias that hold all three."""
    found = {}
    for key, value in state.items():
        if "in_proj_" in key:
            for name, part in zip("qkv", value.chunk(3), strict=True):
                found[key.replace("in_proj_", f"{name}_proj.")] = part
        else:
            found[key] = value
    return found


@torch.no_grad()
def test_text_encoder_is_clip(checkpoint):
    state, sizes, asked = reading.diffusion_part(checkpoint), ITHQ.text, given(ITHQ)
    config = CLIPTextConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.width,
        intermediate_size=4 * sizes.width,
        num_hidden_layers=sizes.blocks,
        num_attention_heads=sizes.width // 64,
        max_position_embeddings=sizes.length,
        eos_token_id=sizes.vocabulary - 1,
    )
    encoder = CLIPTextModel(config).eval()
    encoder.load_state_dict(separated(renamed(state, "condition_emb.", CLIP)))
    hidden = encoder(asked.text).last_hidden_state
    expected = hidden / hidden.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(clip_text.encode_text(state, asked.text), expected)


def codec_names(levels):
    """The attention of diffusers' model has other names beside, hence `to_q` and the like."""
    up = [(f"decoder.up.{i}.", f"decoder.up_blocks.{levels - 1 - i}.") for i in range(levels)]
    names = [*up, ("encoder.down.", "encoder.down_blocks."), (".block.", ".resnets.")]
    names += [(".attn.", ".attentions."), ("mid.attn_1", "mid_block.attentions.0")]
    names += [(f"mid.block_{i}", f"mid_block.resnets.{i - 1}") for i in (1, 2)]
    names += [("downsample.conv", "downsamplers.0.conv"), ("upsample.conv", "upsamplers.0.conv")]
    names += [("nin_shortcut", "conv_shortcut"), ("norm_out", "conv_norm_out")]
    return names


def attention_named(state):
    """1x1 convolutions of the attention as linear layers."""
    names = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0", "norm": "group_norm"}
    found = {}
    for key, value in state.items():
        module, _, name = key.rpartition(".")
        parent, _, part = module.rpartition(".")
        if "attentions" in module:
            value = value[:, :, 0, 0] if value.ndim == 4 else value
            key = f"{parent}.{names[part]}.{name}"
        found[key] = value
    return found


@pytest.mark.parametrize("name", ["ithq_learnable", "imagenet_pretrained"])
@torch.no_grad()
def test_tokenizer_is_the_vq_model_of_diffusers(name):
    sizes, asked = SMALL[name].codec, given(SMALL[name])
    state = files.codec_state(sizes, seed=0)
    levels = len(sizes.multipliers)
    model = diffusers.VQModel(
        block_out_channels=[sizes.channels * multiplier for multiplier in sizes.multipliers],
        down_block_types=["DownEncoderBlock2D"] * (levels - 1) + ["AttnDownEncoderBlock2D"],
        up_block_types=["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * (levels - 1),
        layers_per_block=sizes.blocks,
        latent_channels=sizes.latent,
        num_vq_embeddings=sizes.codes,
        vq_embed_dim=sizes.code_width,
        norm_num_groups=32,
    ).eval()
    plain = {key: value for key, value in state.items() if not key.startswith("quantize.")}
    book = {"quantize.embedding.weight": codec.codebook(state)}
    model.load_state_dict(attention_named(renamed(plain, "", codec_names(levels))) | book)
    features = model.encode(2 * asked.images - 1).latents
    torch.testing.assert_close(codec.features(state, asked.images), features, atol=1e-5, rtol=1e-5)
    codes = model.quantize(features)[2][2].view(2, -1)
    assert torch.equal(codec.encode(state, asked.images), codes)
    assert len(codes.unique()) > 3
    vectors = codec.codebook(state)[asked.codes]
    grid = rearrange(vectors, "b (h w) d -> b d h w", h=4)
    images = (model.decode(grid, force_not_quantize=True).sample.clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(codec.decode(state, asked.codes), images, atol=1e-5, rtol=1e-5)


def test_bytes_are_cut_off_not_rounded():
    images = torch.tensor([0, 0.999 / 255, 1.5 / 255, 254.9 / 255, 1])
    assert codec.to_bytes(images).tolist() == [0, 0, 1, 254, 255]
