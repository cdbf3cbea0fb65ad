"""One token after the other: raster transformer, pixel networks, ImageBART."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    image_transformer="ImageTransformer ImageTransformerConfig",
    imagebart="ImageBART",
    imagebart_scale="ImageBARTConfig",
    model="AutoregressiveModel",
    pixelcnn="GatedPixelCNN PixelCNN PixelCNNConfig",
    pixelcnnpp="PixelCNNPlusPlus PixelCNNPlusPlusConfig",
    pixelrnn="PixelRNN PixelRNNConfig",
    raster_transformer="RasterTransformer RasterTransformerConfig",
)
