"""The exercises of each lesson: references, probes, and planted wrong solutions."""
