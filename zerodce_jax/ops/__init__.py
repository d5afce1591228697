"""Array functions for NumPy and JAX: curves, grids, filters, exposure."""
