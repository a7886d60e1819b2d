"""Retraining without the training: selection, references, learning rates, statistics."""
