"""Diffusion of pixels, the twin of `diffusion`: noise or blur, DDPM and DDIM, a small U-Net."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    blur="Blur Cold",
    gaussian="Corruption GaussianProcess",
    objective="simple_loss",
    sampler="Ancestral DDIM Model sample",
    unet="UNet UNetConfig",
)
