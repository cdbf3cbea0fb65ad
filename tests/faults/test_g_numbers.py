"""Numbers at the edge: gradients, and one-line mutants that once lived."""

# G1 ------------------------------------------------------------------------------
