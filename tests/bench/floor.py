r"""How near a GPU comes to its limits: arithmetic in one call of the denoiser, memory in sampling.

Both limits are measured on the device itself, in turn with what is compared with them.

**Arithmetic.** A product of an (m, k) and a (k, n) matrix is 2 m k n operations. For b sequences of
n tokens of width d, l text states of width c, K codes, a block has

- self-attention: four maps d to d (query, key, value, output), $8 b n d^2$, and scores and mixing,
  $4 b n^2 d$;
- cross-attention: query and output, $4 b n d^2$; key and value of the text, $4 b l c d$; scores and
  mixing, $4 b n l d$;
- feed-forward: d to 4 d and back, $16 b n d^2$;
- two adaptive norms: d to 2 d for each sequence, $8 b d^2$;

and the scores at the end are $2 b n d K$. Norms, GELU and softmax are left out. The floor is the
time that one large matrix product would take for as many operations.

**Memory.** A sampler with a KV cache reads all weights for every token. The floor is the time in
which the device copies as many bytes (a copy reads and writes).
"""

import torch
from bench.case import CUDA, Case, Setting
from bench.pairs import Comparison, compare
from bench.raster import CONFIG as RASTER
from bench.twins import ITHQ_WIDTH, TEXT_LENGTH
from support.denoisers import random_inputs

from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.transformer.denoiser import Denoiser, DenoiserConfig

SIDE = 8192
COPIED = 2**30  # bytes
LEVEL = 50


def forward_flops(config: DenoiserConfig, batch: int, text_length: int) -> int:
    """Operations in one call of the denoiser; a product with a sum counts as two."""
    b, n, d = batch, config.num_positions, config.width
    text, width = text_length, config.cross_attention_dim
    self_attention = 8 * b * n * d**2 + 4 * b * n**2 * d
    cross_attention = 4 * b * n * d**2 + 4 * b * text * width * d + 4 * b * n * text * d
    block = self_attention + cross_attention + 16 * b * n * d**2 + 8 * b * d**2
    return config.num_layers * block + 2 * b * n * d * config.num_codes


@torch.no_grad()
def arithmetic(
    config: DenoiserConfig, batch: int, dtype: torch.dtype, setting: Setting, side: int = SIDE
) -> Comparison:
    """The floor beside one call of the denoiser: the ratio is the share of the peak."""
    network = Denoiser(config).to(setting.device, dtype).eval()
    x_t, _, text = random_inputs(config, batch, TEXT_LENGTH)
    x_t, text = x_t.to(setting.device), text.to(setting.device, dtype)
    t = min(LEVEL, config.num_embeds_ada_norm)
    matrix = torch.randn(side, side, device=setting.device, dtype=dtype)
    found = compare(lambda: matrix @ matrix, lambda: network(x_t, t, text), setting.pairs)
    return _scaled(found, forward_flops(config, batch, TEXT_LENGTH) / (2 * side**3))


@torch.no_grad()
def bandwidth(
    config: RasterTransformerConfig, count: int, setting: Setting, copied: int = COPIED
) -> Comparison:
    """The floor beside sampling token by token: the ratio is the share of the bandwidth."""
    network = RasterTransformer(config).to(setting.device).eval()
    source = torch.zeros(copied, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    found = compare(lambda: target.copy_(source), lambda: network.sample(count), setting.pairs)
    weights = sum(each.numel() * each.element_size() for each in network.parameters())
    return _scaled(found, config.num_positions * weights / (2 * copied))


def _scaled(found: Comparison, factor: float) -> Comparison:
    """Theirs times a factor: as if it had done so much more work."""
    return Comparison(tuple(factor * each for each in found.theirs), found.ours)


CASES = {
    f"floor/arithmetic-{name}": Case(
        f"one call of the denoiser, 8 x 1,024 tokens, width 1,408, 4 layers, {name}",
        "the device's largest product",
        lambda setting, dtype=dtype: arithmetic(ITHQ_WIDTH, 8, dtype, setting),
        CUDA,
    )
    for name, dtype in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items()
} | {
    "floor/bandwidth": Case(
        "4 sequences of 256 tokens one by one, width 256, 8 layers, float32",
        "the device's copies",
        lambda setting: bandwidth(RASTER, 4, setting),
        CUDA,
    )
}
