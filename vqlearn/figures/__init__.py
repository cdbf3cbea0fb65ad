"""Every picture and number of the README, drawn from the shipped checkpoint: `make figures`.

Needs matplotlib, which the rest of the package does not need.
"""
