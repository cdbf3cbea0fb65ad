"""Checkpoints on disk: diffusers' layout, the hub, digests."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "CheckpointError": "layout",
        "load_denoiser": "folder",
        "load_text_encoder": "folder",
        "load_vqvae": "folder",
        "resolve": "shipped",
    },
)
