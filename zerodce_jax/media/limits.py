"""Limits on what is decoded. This module imports nothing, so that the command line starts fast."""

MAX_PIXELS = 300_000_000
"""Default for the number of pixels of the largest image that is decoded."""
