"""Batches of tiles in, batches of enhanced tiles out."""
