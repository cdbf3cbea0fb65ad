"""What the shipped model can do: its samples, its accuracy, four samplers."""
