"""DCENet: the network that looks at an image and predicts its curve maps (flax.nnx).

Seven 3x3 convolutions of stride 1 with symmetric skip connections (Guo et al. 2020, section 3.2);
Zero-DCE-improved adds the overlapping max-pool, Zero-DCE++ makes the convolutions separable.
Images are channels-last float32 in [0, 1]; curve maps are float32 in [-1, 1].
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from zerodce_jax import resampling
from zerodce_jax.config import NetworkConfig


class SeparableConv(nnx.Module):
    """A depthwise 3x3 convolution followed by a pointwise 1x1, each with a bias."""

    def __init__(self, inputs: int, outputs: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        options = _conv_options(dtype)
        self.depthwise = nnx.Conv(
            inputs, inputs, (3, 3), feature_group_count=inputs, rngs=rngs, **options
        )
        self.pointwise = nnx.Conv(inputs, outputs, (1, 1), rngs=rngs, **options)

    def __call__(self, x: Float[Array, "b h w inputs"]) -> Float[Array, "b h w outputs"]:
        """Convolve, zeros around the image."""
        return self.pointwise(_depthwise(x.astype(self.depthwise.dtype), self.depthwise))


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

        def conv(inputs: int, outputs: int) -> nnx.Module:
            if config.separable:
                return SeparableConv(inputs, outputs, dtype=dtype, rngs=rngs)
            return nnx.Conv(inputs, outputs, (3, 3), rngs=rngs, **_conv_options(dtype))

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
            # After a ReLU, zero padding leaves every maximum as it is; the mask restores the zeros.
            pooled = activate(nnx.max_pool(x3, (3, 3), strides=(1, 1), padding="SAME"))
        x4 = activate(self.conv4(pooled))
        x5 = activate(self.conv5(jnp.concatenate([x3, x4], axis=-1)))
        x6 = activate(self.conv6(jnp.concatenate([x2, x5], axis=-1)))
        maps = self.conv7(jnp.concatenate([x1, x6], axis=-1))
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
    model = DCENet(config, rngs=nnx.Rngs(seed))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def _depthwise(x: Float[Array, "b h w c"], conv: nnx.Conv) -> Float[Array, "b h w c"]:
    """Convolve each channel by itself.

    As a sum of nine shifted products, which XLA fuses into one pass: its grouped convolution on a
    CPU is many times slower.
    """
    height, width = x.shape[1:3]
    kernel = conv.kernel[...].astype(x.dtype)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    result = conv.bias[...].astype(x.dtype)
    for dy in range(3):
        for dx in range(3):
            result = result + kernel[dy, dx, 0] * padded[:, dy : dy + height, dx : dx + width]
    return result


def _conv_options(dtype: DTypeLike) -> dict:
    return {
        "dtype": dtype,
        "param_dtype": jnp.float32,
        "kernel_init": nnx.initializers.normal(0.02),
        # Full float32 where it is asked for: accelerators would otherwise round to TF32.
        "precision": jax.lax.Precision.HIGHEST,
    }
