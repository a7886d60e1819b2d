"""Trained networks in use: latency, classification of images, export."""
