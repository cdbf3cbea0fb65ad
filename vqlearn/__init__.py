"""vqlearn."""
