"""Our studies, apart from the library: their runs, their results, their plots.

These modules need matplotlib: `pip install vqlearn[figures]`.
"""
