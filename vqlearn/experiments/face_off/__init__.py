"""Systems learn the same tokens with one budget, and claims about them become effects."""
