"""Steps of training: the denoiser beside diffusers' network, the codebook beside lucidrains'."""

import torch
from bench.case import DIFFUSERS, Case, paired
from bench.pairs import Work
from bench.twins import ITHQ_WIDTH, SMALL, TEXT_LENGTH, denoiser_twins
from support.denoisers import random_inputs
from torch import nn
from torch.nn import functional
from vector_quantize_pytorch import VectorQuantize

from vqlearn.autoregressive.model import log_likelihood
from vqlearn.probability.log_probs import log_normalise
from vqlearn.probability.random import random_stream
from vqlearn.tokens.quantizer import CodebookEMA, VectorQuantizer
from vqlearn.training.tasks.tokens import COMMITMENT_WEIGHT
from vqlearn.transformer.denoiser import DenoiserConfig

DECAY = 0.99
LEVEL = 50


def denoiser_step(device: str, *, config: DenoiserConfig, batch: int) -> tuple[Work, Work]:
    """Forward, negative log-likelihood of the clean tokens, backward; the loss comes back.

    All sequences are at one level: diffusers' network takes no batch of several.
    """
    theirs, ours = denoiser_twins(config, device)
    t = min(LEVEL, config.num_embeds_ada_norm)
    x_t, _, text = random_inputs(config, batch, TEXT_LENGTH)
    x_t, text = x_t.to(device), text.to(device, torch.float32)
    x_0 = (x_t % config.num_codes).to(device)
    timestep = torch.tensor(t - 1, device=device)

    def their_loss() -> torch.Tensor:
        log_p_x0 = theirs(x_t, encoder_hidden_states=text, timestep=timestep).sample  # (b, K, n)
        return functional.nll_loss(log_p_x0, x_0)

    def our_loss() -> torch.Tensor:
        return -log_likelihood(log_normalise(ours(x_t, t, text)), x_0).sum() / x_0.numel()

    return _step(theirs, their_loss), _step(ours, our_loss)


def _step(network: nn.Module, loss: Work) -> Work:
    def step() -> torch.Tensor:
        network.zero_grad()
        found = loss()
        found.backward()
        return found.detach()

    return step


def codebook_step(device: str, *, num_codes: int, code_dim: int, vectors: int) -> tuple[Work, Work]:
    """Nearest codes, commitment loss, straight-through gradient, moving averages of the codebook.

    Both begin with the same codes, and none is revived. The two losses come back, and the tokens.
    """
    told = {"decay": DECAY, "commitment_weight": COMMITMENT_WEIGHT, "rotation_trick": False}
    theirs = VectorQuantize(code_dim, num_codes, **told)
    ours = VectorQuantizer(num_codes, code_dim)
    nn.init.normal_(ours.codebook.weight, generator=random_stream("bench", "codes"))
    codes = ours.codebook.weight.detach()
    for buffer in (theirs._codebook.embed, theirs._codebook.embed_avg):
        buffer.data.copy_(codes[None])
    theirs, ours = theirs.to(device).train(), ours.to(device).train()
    codebook = CodebookEMA(ours, DECAY)
    generator = random_stream("bench", "vectors")
    z = torch.randn(1, vectors, code_dim, generator=generator).to(device).requires_grad_()

    def their_step() -> tuple:
        z.grad = None
        quantized, indices, loss = theirs(z)
        (quantized.square().mean() + loss.sum()).backward()
        return loss.detach().sum(), indices, z.grad

    def our_step() -> tuple:
        z.grad = None
        quantized = ours(z)
        loss = COMMITMENT_WEIGHT * quantized.commitment_loss
        (quantized.vectors.square().mean() + loss).backward()
        codebook.update(ours, quantized)
        return loss.detach(), quantized.indices, z.grad

    return their_step, our_step


LUCIDRAINS = "vector-quantize-pytorch"
CASES = {
    "training/denoiser-small": Case(
        "training step of the denoiser, 4 x 256 tokens, width 256, 8 layers",
        DIFFUSERS,
        paired(denoiser_step, config=SMALL, batch=4),
    ),
    "training/denoiser-ithq-width": Case(
        "training step of the denoiser, 1 x 1,024 tokens, width 1,408, 4 layers",
        DIFFUSERS,
        paired(denoiser_step, config=ITHQ_WIDTH, batch=1),
    ),
    "training/codebook-scenes": Case(
        "training step of the codebook, 384 codes of 48 numbers, 32 x 64 vectors",
        LUCIDRAINS,
        paired(codebook_step, num_codes=384, code_dim=48, vectors=2048),
    ),
    "training/codebook-ithq": Case(
        "training step of the codebook, 4,096 codes of 256 numbers, 4 x 1,024 vectors",
        LUCIDRAINS,
        paired(codebook_step, num_codes=4096, code_dim=256, vectors=4096),
    ),
}
