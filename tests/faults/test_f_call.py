"""The pipeline's call and loader are those of diffusers."""

# F1 ------------------------------------------------------------------------------
