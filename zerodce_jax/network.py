"""DCENet: the network that looks at an image and predicts its curve maps (flax.nnx).

Seven 3x3 convolutions of stride 1 with symmetric skip connections (Guo et al. 2020, section 3.2);
Zero-DCE-improved adds the overlapping max-pool, Zero-DCE++ makes the convolutions separable.
Images are channels-last float32 in [0, 1]; curve maps are float32 in [-1, 1].
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from zerodce_jax import resampling
from zerodce_jax.config import NetworkConfig

INIT = nnx.initializers.normal(0.02)
# Full float32 where it is asked for: accelerators would otherwise round to TF32.
PRECISION = jax.lax.Precision.HIGHEST


class DenseConv(nnx.Module):
    """A 3x3 convolution of one or several inputs, which count as one with all their channels."""

    def __init__(self, inputs: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(INIT(rngs.params(), (3, 3, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self._dtype = dtype

    def __call__(self, *inputs: Float[Array, "b h w _"]) -> Float[Array, "b h w outputs"]:
        """Convolve, zeros around the image."""
        kernel = self.kernel[...].astype(self._dtype)
        # Splitting the kernel saves the concatenation. And XLA's CPU backend leaves its fast path
        # for the weight gradient of 24 outputs, but not for 16 and 8 (benchmarks/README.md).
        blocks = list(range(16, kernel.shape[-1], 16)) if jax.default_backend() == "cpu" else []
        parts = []
        for block in jnp.split(kernel, blocks, axis=-1):
            ends = np.cumsum([x.shape[-1] for x in inputs])[:-1].tolist()
            slices = zip(inputs, jnp.split(block, ends, axis=2), strict=True)
            parts.append(sum(_convolve(x.astype(self._dtype), part) for x, part in slices))
        return jnp.concatenate(parts, axis=-1) + self.bias[...].astype(self._dtype)


class DepthwiseConv(nnx.Module):
    """A 3x3 convolution of each channel by itself."""

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(INIT(rngs.params(), (3, 3, 1, channels), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels))
        self._dtype = dtype

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Convolve, zeros around the image."""
        height, width = x.shape[1:3]
        kernel = self.kernel[...].astype(self._dtype)
        padded = jnp.pad(x.astype(self._dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
        result = self.bias[...].astype(self._dtype)
        # Nine shifted products, which XLA fuses into one pass: its own grouped convolution is many
        # times slower on a CPU.
        for dy in range(3):
            for dx in range(3):
                result = result + kernel[dy, dx, 0] * padded[:, dy : dy + height, dx : dx + width]
        return result


class SeparableConv(nnx.Module):
    """A depthwise 3x3 convolution followed by a pointwise 1x1, each with a bias."""

    def __init__(self, inputs: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.depthwise = DepthwiseConv(inputs, dtype=dtype, rngs=rngs)
        self.pointwise = nnx.Conv(
            inputs,
            outputs,
            (1, 1),
            dtype=jnp.dtype(dtype),
            kernel_init=INIT,
            precision=PRECISION,
            rngs=rngs,
        )

    def __call__(self, *inputs: Float[Array, "b h w _"]) -> Float[Array, "b h w outputs"]:
        """Convolve, zeros around the image."""
        return self.pointwise(self.depthwise(jnp.concatenate(inputs, axis=-1)))


class DCENet(nnx.Module):
    """Predicts the curve maps of an image.

    Args:
        config: The architecture.
        dtype: What the convolutions compute in, float32 or bfloat16; parameters are float32.
        rngs: Source of the initial weights, drawn from N(0, 0.02); biases start at 0.
    """

    def __init__(
        self, config: NetworkConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ) -> None:
        self.config = config
        n = config.features

        def conv(inputs: int, outputs: int) -> DenseConv | SeparableConv:
            kind = SeparableConv if config.separable else DenseConv
            return kind(inputs, outputs, dtype=dtype, rngs=rngs)

        self.conv1 = conv(3, n)
        self.conv2 = conv(n, n)
        self.conv3 = conv(n, n)
        self.conv4 = conv(n, n)
        self.conv5 = conv(2 * n, n)
        self.conv6 = conv(2 * n, n)
        self.conv7 = conv(2 * n, config.maps)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w maps"]:
        """Predict the curve maps of whole images, estimated at the config's scale.

        Args:
            images: (batch, height, width, 3), in [0, 1].

        Returns:
            Curve maps at the images' own size, (batch, height, width, maps), in [-1, 1].
        """
        if self.config.scale == 1:
            return self.at_size(images)
        height, width = images.shape[1:3]
        rows = resampling.down_positions(height, self.config.scale)
        columns = resampling.down_positions(width, self.config.scale)
        maps = self.at_size(resampling.resample(images, rows, columns))
        return resampling.resample(
            maps,
            resampling.up_positions(height, len(rows)),
            resampling.up_positions(width, len(columns)),
        )

    def at_size(
        self, images: Float[Array, "b h w 3"], mask: Float[Array, "b h w 1"] | None = None
    ) -> Float[Array, "b h w maps"]:
        """Predict curve maps at the very size of the input, whatever the config's scale.

        Args:
            images: Images or tiles of them, (batch, height, width, 3), in [0, 1], 0 where the
                mask is 0.
            mask: 1 on pixels of the image, 0 beyond its edge, (batch, height, width, 1). With it
                every layer meets the zero padding that it would meet in the whole image.

        Returns:
            Curve maps, (batch, height, width, maps), in [-1, 1].
        """

        def activate(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
            x = jax.nn.relu(x)
            return x if mask is None else x * mask.astype(x.dtype)

        x1 = activate(self.conv1(images))
        x2 = activate(self.conv2(x1))
        x3 = activate(self.conv3(x2))
        pooled = x3
        if self.config.pool:
            # Only conv4 sees the pooled map; the skip to conv5 passes the map before the pool.
            pooled = activate(_max_pool(x3))
        x4 = activate(self.conv4(pooled))
        x5 = activate(self.conv5(x3, x4))
        x6 = activate(self.conv6(x2, x5))
        maps = self.conv7(x1, x6)
        return jnp.tanh(maps.astype(jnp.float32))


def to_float(pixels: Shaped[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Scale pixels to what the network sees.

    Args:
        pixels: uint8 or uint16, or float32 in [0, 1], which stays as it is.

    Returns:
        float32 in [0, 1].
    """
    if jnp.issubdtype(pixels.dtype, jnp.integer):
        return pixels.astype(jnp.float32) / jnp.iinfo(pixels.dtype).max
    return pixels


def graphdef(config: NetworkConfig, *, dtype: DTypeLike = jnp.float32) -> nnx.GraphDef[DCENet]:
    """The network's structure without its parameters, to `nnx.merge` with them inside jit."""
    return nnx.graphdef(nnx.eval_shape(lambda: DCENet(config, dtype=dtype, rngs=nnx.Rngs(0))))


def init_params(config: NetworkConfig, *, seed: int) -> dict:
    """Draw initial parameters, as a nested dict of arrays.

    Args:
        config: The architecture.
        seed: Same seed, same parameters.
    """

    def draw() -> dict:
        return nnx.to_pure_dict(nnx.state(DCENet(config, rngs=nnx.Rngs(seed)), nnx.Param))

    # As one program: drawn one by one, each shape would be compiled for itself.
    return jax.jit(draw)()


def _convolve(
    x: Float[Array, "b h w inputs"], kernel: Float[Array, "3 3 inputs outputs"]
) -> Float[Array, "b h w outputs"]:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=PRECISION,
    )


def _max_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Overlapping 3x3 max-pooling, stride 1, of values that are not negative.

    After a ReLU zeros around the image change no maximum. Rows and then columns, as maxima of
    shifted copies, whose gradient takes a CPU half as long (benchmarks/README.md).
    """
    for axis in (1, 2):
        size = x.shape[axis]
        around = [(0, 0)] * 4
        around[axis] = (1, 1)
        padded = jnp.pad(x, around)
        before, here, after = (
            jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)
        )
        x = jnp.maximum(jnp.maximum(before, here), after)
    return x
