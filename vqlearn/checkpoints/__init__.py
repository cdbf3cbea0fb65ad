"""Checkpoints on disk: diffusers' layout, the hub, digests."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    folder="load_token_model load_vqvae save_network",
    hub="HubOptions",
    layout="CheckpointError",
    shipped="find_null_text resolve",
    text_parts="load_clip load_text_encoder",
)
