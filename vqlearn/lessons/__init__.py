"""What the notebooks need besides the package itself, and what keeps them fresh."""

from vqlearn.lessons.source import progress, show

__all__ = ["progress", "show"]
