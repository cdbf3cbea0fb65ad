"""Study: a second model, text to emoji, of 32 pixels: what it draws, and who recognises it."""
