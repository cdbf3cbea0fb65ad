"""Each autoregressive network learns once, small."""
