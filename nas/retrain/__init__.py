"""What is retrained and what the results say: selection, references, learning rates, statistics."""
