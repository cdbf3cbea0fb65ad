"""Study: a second model, text to emoji, of 32 pixels: the data, the training, the measures."""
