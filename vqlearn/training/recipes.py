"""How long each stage learns, how fast, and how large the networks are."""

from dataclasses import dataclass

from vqlearn.probability.checks import check_integer
from vqlearn.tokens import VQVAEConfig
from vqlearn.transformer import DenoiserConfig

NUM_TIMESTEPS = 100
NUM_CODES = 384
TEXT_WIDTH = 128


@dataclass(frozen=True)
class Recipe:
    """How one stage is trained.

    - `steps`, `batch_size`: batches, and images in a batch of one process.
    - `learning_rate`: the highest; it is reached after `warmup_steps`, then falls as a cosine.
    - `ema_decay`: the weights that are kept are a running mean over about 1 / (1 - decay) steps.
    - `save_every`: after how many steps the state of the training is written.

    Raises `ValueError` for fewer than one step or image.
    """

    steps: int
    batch_size: int
    learning_rate: float
    ema_decay: float
    seed: int = 0
    warmup_steps: int = 100
    save_every: int = 200

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "warmup_steps", "save_every"):
            check_integer(name, getattr(self, name), 1)


RECIPES = {
    "tokens": Recipe(steps=5000, batch_size=32, learning_rate=2e-3, ema_decay=0.99),
    "text": Recipe(steps=3500, batch_size=64, learning_rate=1e-3, ema_decay=0.99),
    "diffusion": Recipe(steps=13000, batch_size=64, learning_rate=2e-3, ema_decay=0.999),
    "raster": Recipe(steps=13000, batch_size=64, learning_rate=2e-3, ema_decay=0.999),
    "imagebart": Recipe(steps=13000, batch_size=64, learning_rate=2e-3, ema_decay=0.999),
}


def vqvae_config() -> VQVAEConfig:
    """A VQ network that makes one token of 4 x 4 pixels, for images of any size."""
    return VQVAEConfig(
        block_out_channels=(24, 32, 32),
        layers_per_block=1,
        latent_channels=32,
        vq_embed_dim=48,  # 3 x 4 x 4, the numbers of one token's pixels
        num_vq_embeddings=NUM_CODES,
        norm_num_groups=8,
        encoder_attention_resolutions=(),
        decoder_attention_resolutions=(),
    )


@dataclass(frozen=True)
class Size:
    """How large a transformer is; its config checks the numbers."""

    width: int = 128
    num_layers: int = 6
    num_heads: int = 4


DEFAULT_SIZE = Size()


def denoiser_config(
    *,
    num_codes: int,
    side: int,
    text_width: int,
    num_timesteps: int = NUM_TIMESTEPS,
    size: Size = DEFAULT_SIZE,
) -> DenoiserConfig:
    """A denoiser that fits these `side` x `side` tokens and this text encoder."""
    return DenoiserConfig(
        num_attention_heads=size.num_heads,
        attention_head_dim=size.width // size.num_heads,
        num_layers=size.num_layers,
        cross_attention_dim=text_width,
        attention_bias=True,
        num_vector_embeds=num_codes + 1,
        sample_size=side,
        num_embeds_ada_norm=num_timesteps,
    )
