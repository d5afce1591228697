"""Batches of tiles in, batches of enhanced tiles out.

An engine (`base.Engine`) computes batches of tiles and knows nothing of images; `batches` cuts
images into tiles and fills batches with them, and `analysis` decides how each image is enhanced.
`fused` is a shorter way from pixels to pixels, for scene networks on CPUs.
"""
