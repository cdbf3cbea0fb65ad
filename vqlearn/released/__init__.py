"""The official training checkpoints of VQ-Diffusion: reading them, and folders made of them."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    catalogue="RELEASED Released released",
    converting="convert",
    downloading="download",
    training_file="MappedTensors TrainingFile read_training_file",
)
