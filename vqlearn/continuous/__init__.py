"""Diffusion of pixels, the twin of `diffusion`: noise or blur, DDPM and DDIM, a small U-Net."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Ancestral": "sampler",
        "Blur": "blur",
        "Cold": "blur",
        "DDIM": "sampler",
        "GaussianProcess": "gaussian",
        "Model": "sampler",
        "sample": "sampler",
        "UNet": "unet",
        "UNetConfig": "unet",
    },
)
