"""Very small checkpoints: one of ours, and folders as diffusers writes them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
from diffusers.pipelines.deprecated.vq_diffusion import pipeline_vq_diffusion as reference
from transformers import CLIPTextConfig, CLIPTextModel

from vqlearn.text.tokenizer import build_tokenizer

WORDS = ["a red circle", "a blue square above a green ring"]


def diffusers_parts(*, codes=11, channels=(8, 16), groups=4, grid=4, levels=10, text_length=9):
    """The components of diffusers' pipeline, small, with random weights."""
    tokenizer = build_tokenizer(WORDS, vocab_size=530, max_length=text_length)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=12,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=text_length,
        pad_token_id=tokenizer.pad_token_id,
        **ids,
    )
    plain = len(channels) - 1
    null = reference.LearnedClassifierFreeSamplingEmbeddings(True, 12, text_length)
    torch.nn.init.normal_(null.embeddings)
    vqvae = diffusers.VQModel(
        block_out_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * plain + ["AttnDownEncoderBlock2D"],
        up_block_types=["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * plain,
        latent_channels=6,
        num_vq_embeddings=codes,
        vq_embed_dim=5,
        norm_num_groups=groups,
    )
    torch.nn.init.normal_(vqvae.quantize.embedding.weight)
    transformer = diffusers.Transformer2DModel(
        num_attention_heads=2,
        attention_head_dim=5,
        num_layers=2,
        cross_attention_dim=12,
        attention_bias=True,
        num_vector_embeds=codes + 1,
        sample_size=grid,
        num_embeds_ada_norm=levels,
        activation_fn="geglu-approximate",
        norm_type="ada_norm",
    )
    return {
        "vqvae": vqvae,
        "transformer": transformer,
        "text_encoder": CLIPTextModel(text),
        "tokenizer": tokenizer,
        "scheduler": diffusers.VQDiffusionScheduler(codes + 1, levels),
        "learned_classifier_free_sampling_embeddings": null,
    }


def diffusers_pipeline(**sizes) -> reference.VQDiffusionPipeline:
    """diffusers' own pipeline, built in memory."""
    pipeline = reference.VQDiffusionPipeline(**diffusers_parts(**sizes))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def null_embedding_is_found() -> Iterator[None]:
    """Inside, diffusers can save and load its pipeline: it looks for a class where it was once."""
    diffusers.LearnedClassifierFreeSamplingEmbeddings = (
        reference.LearnedClassifierFreeSamplingEmbeddings
    )
    try:
        yield
    finally:
        del diffusers.LearnedClassifierFreeSamplingEmbeddings


def write_diffusers_folder(folder: Path, **sizes) -> Path:
    """The folder that diffusers' `save_pretrained` writes."""
    torch.manual_seed(0)
    with null_embedding_is_found():
        diffusers_pipeline(**sizes).save_pretrained(folder)
    return folder


def edit_json(file: Path, **changes) -> None:
    """Change keys of a JSON file; a value of `...` deletes the key."""
    values = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))
