"""How networks learn: one loop, its recipes, its state on disk, the stages."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    loop="best_accelerator fit Run Task",
    recipes="denoiser_config NUM_TIMESTEPS Recipe RECIPES Size",
    simple="Sequences train",
    state="TrainingState",
    unet="train_unet",
)
