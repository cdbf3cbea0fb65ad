"""From an official training checkpoint to a folder: every weight is converted, or dropped."""
