"""Study: which null for classifier-free guidance, with and without fine-tuning."""
