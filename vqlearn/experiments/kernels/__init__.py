"""Each diffusion kernel learns the same data once, small."""
