"""Every picture and number of the README, each with the `make` target that measures it again.

`make figures` draws from the shipped checkpoint; `make samplers`, `make family` and `make raster`
keep what they measured in a JSON file. Needs matplotlib, which the rest of the package does not.
"""
