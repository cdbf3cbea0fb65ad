"""A small package of emoji, and the folder that is made of it."""

from support.emoji_package import data, entries, package

__all__ = ["data", "entries", "package"]
