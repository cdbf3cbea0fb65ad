"""Token by token with a KV cache: our raster transformer beside GPT-2 of transformers."""

import torch
from bench.case import Case, paired
from bench.pairs import Work
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig

CONFIG = RasterTransformerConfig(384, 256, None, 0, width=256, num_layers=8, num_heads=8)
BEGIN = 0  # what GPT-2 reads before the first token; ours has a vector for that


def sample(device: str, *, config: RasterTransformerConfig, count: int) -> tuple[Work, Work]:
    """`count` sequences from the plain distribution: no filter, no token that ends a sequence."""
    torch.manual_seed(0)
    theirs, ours = gpt2(config).to(device).eval(), RasterTransformer(config).to(device).eval()
    begin = torch.full((count, 1), BEGIN, device=device)
    told = {
        "attention_mask": torch.ones_like(begin),
        "max_new_tokens": config.num_positions,
        "do_sample": True,
        "top_k": 0,
    }
    return lambda: theirs.generate(begin, **told)[:, 1:], lambda: ours.sample(count)


def gpt2(config: RasterTransformerConfig) -> GPT2LMHeadModel:
    """GPT-2 with as many layers, heads and numbers, and a matrix of its own for the scores."""
    network = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.num_codes,
            n_positions=config.num_positions + 1,
            n_embd=config.width,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    network.generation_config.pad_token_id = BEGIN
    return network


def size(network: nn.Module) -> int:
    """The number of weights."""
    return sum(weight.numel() for weight in network.parameters())


CASES = {
    "raster": Case(
        "4 sequences of 256 tokens one by one, KV cache, width 256, 8 layers",
        "GPT-2 of transformers",
        paired(sample, config=CONFIG, count=4),
    ),
}
