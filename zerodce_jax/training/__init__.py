"""Photographs to networks: data, losses, the training step and its loop."""
