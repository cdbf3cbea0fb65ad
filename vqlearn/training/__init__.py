"""How networks learn: one loop, its recipes, its state on disk, the stages."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    interruption="Interrupted",
    loop="best_accelerator fit Run Task",
    recipes="denoiser_config NUM_TIMESTEPS Recipe RECIPES Size",
    simple="Sequences train Validation",
    state="forget TrainingState",
    unet="train_unet",
)
