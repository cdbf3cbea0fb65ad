"""One token after the other: raster transformer, pixel networks, ImageBART."""

from vqlearn import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "GatedPixelCNN": "pixelcnn",
        "ImageBART": "imagebart",
        "ImageBARTConfig": "imagebart_scale",
        "ImageTransformer": "image_transformer",
        "ImageTransformerConfig": "image_transformer",
        "PixelCNNConfig": "pixelcnn",
        "PixelCNNPlusPlus": "pixelcnnpp",
        "PixelCNNPlusPlusConfig": "pixelcnnpp",
        "PixelRNN": "pixelrnn",
        "PixelRNNConfig": "pixelrnn",
        "RasterTransformer": "raster_transformer",
        "RasterTransformerConfig": "raster_transformer",
    },
)
