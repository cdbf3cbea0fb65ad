"""How networks learn: one loop, its recipes and sizes, its state on disk, tasks and stages."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    interruption="Interrupted",
    loop="best_accelerator fit Run Task",
    recipes="Recipe RECIPES",
    simple="Sequences train Validation",
    sizes="denoiser_config NUM_TIMESTEPS Size Sizes",
    state="forget TrainingState",
    unet="train_unet",
)
