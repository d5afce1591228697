"""Array functions of an enhancement: curves, grids, filters, exposure.

Images are float32 in [0, 1], channels last. A function that takes arrays of type `Array` works on
NumPy and JAX arrays alike, under ``jax.jit`` too, and returns the kind that it was given;
`engines.onnx_array` has a third kind, whose operations become nodes of an ONNX graph.
"""
