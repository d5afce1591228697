"""DCENet: the flax.nnx network that predicts the curve maps of an image.

It has seven 3x3 convolutions of stride 1 with symmetric skip connections (Guo et al. 2020, section
3.2). Zero-DCE-improved adds an overlapping max-pool; Zero-DCE++ makes the convolutions separable.
Images are float32 in [0, 1], (batch, height, width, 3). Curve maps are float32 in [-1, 1], (batch,
height, width, maps).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from zerodce_jax.config import NetworkConfig
from zerodce_jax.ops import resampling

INIT = nnx.initializers.normal(0.02)
# Without this, accelerators round float32 to TF32.
PRECISION = jax.lax.Precision.HIGHEST


class DenseConv(nnx.Module):
    """A 3x3 convolution of one input, or of several inputs as if they were concatenated."""

    def __init__(
        self, inputs: int, outputs: int, *, dtype: DTypeLike, inference: bool, rngs: nnx.Rngs
    ) -> None:
        self.kernel = nnx.Param(INIT(rngs.params(), (3, 3, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self._dtype = dtype
        self._inference = inference

    def __call__(self, *inputs: Float[Array, "b h w _"]) -> Float[Array, "b h w outputs"]:
        """Convolve with zero padding."""
        kernel = self.kernel[...].astype(self._dtype)
        bias = self.bias[...].astype(self._dtype)
        on_cpu = jax.default_backend() == "cpu"
        if self._inference and on_cpu:
            # XLA's CPU backend is fastest with many input channels, although concatenation copies
            # the inputs (benchmarks/README.md).
            x = jnp.concatenate(inputs, axis=-1).astype(self._dtype)
            if x.shape[-1] < 8 and x.shape[2] % 2 == 0:
                return _convolve_pairs(x, kernel) + bias
            return _convolve(x, kernel, "SAME") + bias
        # A kernel per input saves the concatenation. Groups of 16 outputs keep XLA's CPU backend on
        # its fast path for the gradient of the weights, which 24 outputs leave
        # (benchmarks/README.md).
        output_splits = list(range(16, kernel.shape[-1], 16)) if on_cpu else []
        input_splits = np.cumsum([x.shape[-1] for x in inputs])[:-1].tolist()
        results = []
        for group in jnp.split(kernel, output_splits, axis=-1):
            pairs = zip(inputs, jnp.split(group, input_splits, axis=2), strict=True)
            results.append(sum(_convolve(x.astype(self._dtype), part, "SAME") for x, part in pairs))
        return jnp.concatenate(results, axis=-1) + bias


class DepthwiseConv(nnx.Module):
    """A 3x3 convolution of each channel with a kernel of its own."""

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(INIT(rngs.params(), (3, 3, 1, channels), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels))
        self._dtype = dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Convolve with zero padding."""
        height, width = x.shape[1:3]
        kernel = self.kernel[...].astype(self._dtype)
        padded = jnp.pad(x.astype(self._dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
        result = self.bias[...].astype(self._dtype)
        # XLA fuses these nine shifted products into one pass. Its grouped convolution is many times
        # slower on a CPU.
        for dy in range(3):
            for dx in range(3):
                result = result + kernel[dy, dx, 0] * padded[:, dy : dy + height, dx : dx + width]
        return result


class SeparableConv(nnx.Module):
    """A depthwise 3x3 convolution and a pointwise 1x1 convolution, each with a bias."""

    def __init__(self, inputs: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.depthwise = DepthwiseConv(inputs, dtype=dtype, rngs=rngs)
        options = {"dtype": jnp.dtype(dtype), "kernel_init": INIT, "precision": PRECISION}
        self.pointwise = nnx.Conv(inputs, outputs, (1, 1), rngs=rngs, **options)

    def __call__(self, *inputs: Float[Array, "b h w _"]) -> Float[Array, "b h w outputs"]:
        """Convolve with zero padding."""
        return self.pointwise(self.depthwise(jnp.concatenate(inputs, axis=-1)))


class DCENet(nnx.Module):
    """A network that predicts the curve maps of images.

    Args:
        config: The architecture.
        dtype: Data type of the convolutions, float32 or bfloat16; parameters are float32.
        inference: Whether to convolve in the form that is fastest without gradients. Its results
            differ from those of the other form only by rounding.
        rngs: Source of the initial weights, which have the distribution N(0, 0.02); biases start
            at 0.
    """

    def __init__(
        self,
        config: NetworkConfig,
        *,
        dtype: DTypeLike = jnp.float32,
        inference: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config

        def conv(inputs: int, outputs: int) -> DenseConv | SeparableConv:
            if config.separable:
                return SeparableConv(inputs, outputs, dtype=dtype, rngs=rngs)
            return DenseConv(inputs, outputs, dtype=dtype, inference=inference, rngs=rngs)

        convs = (conv(*channels) for channels in config.channels)
        self.conv1, self.conv2, self.conv3, self.conv4, self.conv5, self.conv6, self.conv7 = convs

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w maps"]:
        """Predict the curve maps of whole images, at their size."""
        return self.upsample(self.estimate(images), images)

    def estimate(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b y x outputs"]:
        """Predict the curve maps of whole images, at the scale of the config."""
        scale = self.config.scale
        if scale == 1:
            return self.forward(images)
        rows, columns = (resampling.down_positions(size, scale) for size in images.shape[1:3])
        return self.forward(resampling.resample(images, rows, columns))

    def upsample(
        self, estimated: Float[Array, "b y x outputs"], images: Float[Array, "b h w 3"]
    ) -> Float[Array, "b h w maps"]:
        """Upsample the result of `estimate` to the size of its images; its range does not grow."""
        height, width = images.shape[1:3]
        if self.config.scale == 1:
            return estimated
        rows, columns = map(resampling.up_positions, (height, width), estimated.shape[1:3])
        return resampling.resample(estimated, rows, columns)

    def forward(
        self, images: Float[Array, "b h w 3"], mask: Float[Array, "b h w 1"] | None = None
    ) -> Float[Array, "b h w outputs"]:
        """Predict curve maps at the size of the input, independent of the config's scale.

        Args:
            images: Images or tiles, which are 0 where the mask is 0.
            mask: 1 on pixels of the image, and 0 beyond its edge. With it, every layer of a tile
                sees the same zero padding as in the whole image.
        """

        def activate(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
            x = jax.nn.relu(x)
            return x if mask is None else x * mask.astype(x.dtype)

        x1 = activate(self.conv1(images))
        x2 = activate(self.conv2(x1))
        x3 = activate(self.conv3(x2))
        # Only conv4 sees the pooled map. The skip connection to conv5 passes the map before it.
        pooled = activate(_max_pool(x3)) if self.config.pool else x3
        x4 = activate(self.conv4(pooled))
        x5 = activate(self.conv5(x3, x4))
        x6 = activate(self.conv6(x2, x5))
        return jnp.tanh(self.conv7(x1, x6).astype(jnp.float32))


def _convolve(
    x: Float[Array, "b h w inputs"], kernel: Float[Array, "3 _ inputs outputs"], padding: str
) -> Float[Array, "b y x outputs"]:
    layouts = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=layouts, precision=PRECISION
    )


def _convolve_pairs(
    x: Float[Array, "b h w inputs"], kernel: Float[Array, "3 3 inputs outputs"]
) -> Float[Array, "b h w outputs"]:
    """Convolve images of even width as if each pair of neighboring pixels were one pixel.

    With few input channels, this is four times as fast as `_convolve` on XLA's CPU backend.
    """
    batch, height, width, inputs = x.shape
    outputs = kernel.shape[-1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    pairs = padded.reshape(batch, height + 2, width // 2 + 1, 2 * inputs)
    # Two pairs are four pixels. The left output sees the first three, the right output the last.
    left, right = (jnp.pad(kernel, ((0, 0), (side, 1 - side), (0, 0), (0, 0))) for side in range(2))
    both = jnp.concatenate([left, right], axis=-1).reshape(3, 2, 2 * inputs, 2 * outputs)
    return _convolve(pairs, both, "VALID").reshape(batch, height, width, outputs)


def _max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Apply an overlapping 3x3 max-pool of stride 1 to values that are not negative.

    Zero padding changes no maximum, because the values come from a ReLU. Maxima of shifted copies
    along each axis have a gradient that is twice as fast on a CPU as that of `nnx.max_pool`
    (benchmarks/README.md).
    """
    for axis in (1, 2):
        size = x.shape[axis]
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        padded = jnp.pad(x, padding)
        shifted = (jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3))
        x = functools.reduce(jnp.maximum, shifted)
    return x
