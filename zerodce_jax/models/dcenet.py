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
from jaxtyping import Array, Float

from zerodce_jax.config import NetworkConfig
from zerodce_jax.ops import resampling
from zerodce_jax.ops.grid import block_means, blocks, shrink_level_contrast, slice_grid

INIT = nnx.initializers.normal(0.02)
# Full float32 where it is asked for: accelerators would otherwise round to TF32.
PRECISION = jax.lax.Precision.HIGHEST


class DenseConv(nnx.Module):
    """A 3x3 convolution of one or several inputs, which count as one with all their channels."""

    def __init__(
        self, inputs: int, outputs: int, *, dtype: DTypeLike, inference: bool, rngs: nnx.Rngs
    ) -> None:
        self.kernel = nnx.Param(INIT(rngs.params(), (3, 3, inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs))
        self._dtype = dtype
        self._inference = inference

    def __call__(self, *inputs: Float[Array, "b h w _"]) -> Float[Array, "b h w outputs"]:
        """Convolve, zeros around the image."""
        kernel = self.kernel[...].astype(self._dtype)
        bias = self.bias[...].astype(self._dtype)
        on_cpu = jax.default_backend() == "cpu"
        if self._inference and on_cpu:
            # XLA's CPU backend is fastest on many channels at once, in spite of the copy
            # (benchmarks/README.md).
            x = jnp.concatenate(inputs, axis=-1).astype(self._dtype)
            few = x.shape[-1] < 8 and x.shape[2] % 2 == 0
            return (_convolve_pairs if few else _convolve)(x, kernel) + bias
        # Splitting the kernel saves the concatenation. And XLA's CPU backend leaves its fast path
        # for the weight gradient of 24 outputs, but not for 16 and 8 (benchmarks/README.md).
        blocks = list(range(16, kernel.shape[-1], 16)) if on_cpu else []
        parts = []
        for block in jnp.split(kernel, blocks, axis=-1):
            ends = np.cumsum([x.shape[-1] for x in inputs])[:-1].tolist()
            slices = zip(inputs, jnp.split(block, ends, axis=2), strict=True)
            parts.append(sum(_convolve(x.astype(self._dtype), part) for x, part in slices))
        return jnp.concatenate(parts, axis=-1) + bias


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
        inference: Whether to convolve in the form that is fastest where no gradient is taken; the
            results differ by rounding alone.
        rngs: Source of the initial weights, drawn from N(0, 0.02); biases start at 0.
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
        n = config.features

        def conv(inputs: int, outputs: int) -> DenseConv | SeparableConv:
            if config.separable:
                return SeparableConv(inputs, outputs, dtype=dtype, rngs=rngs)
            return DenseConv(inputs, outputs, dtype=dtype, inference=inference, rngs=rngs)

        self.conv1 = conv(3, n)
        self.conv2 = conv(n, n)
        self.conv3 = conv(n, n)
        self.conv4 = conv(n, n)
        self.conv5 = conv(2 * n, n)
        self.conv6 = conv(2 * n, n)
        self.conv7 = conv(2 * n, config.outputs)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w maps"]:
        """Predict the curve maps of whole images, estimated at the config's scale.

        Args:
            images: (batch, height, width, 3), in [0, 1].

        Returns:
            Curve maps at the images' own size, (batch, height, width, maps), in [-1, 1].
        """
        return self.curves(images)[0]

    def curves(
        self, images: Float[Array, "b h w 3"]
    ) -> tuple[Float[Array, "b h w maps"], Float[Array, "b y x outputs"]]:
        """Predict the curve maps of whole images, and give them as they were estimated too.

        Args:
            images: (batch, height, width, 3), in [0, 1].

        Returns:
            Curve maps at the images' own size, (batch, height, width, maps), and at the size, and
            for the levels of brightness, that the network estimates them; both in [-1, 1].
        """
        estimated = self.estimate(images)
        return self.upsample(estimated, images), estimated

    def estimate(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b y x outputs"]:
        """Predict the curve maps of whole images, as the config's scale and levels have them.

        Args:
            images: (batch, height, width, 3), in [0, 1].

        Returns:
            Curve maps, (batch, rows, columns, outputs), in [-1, 1].
        """
        scale = self.config.scale
        if self.config.levels > 1:
            return self.forward(block_means(images, scale))
        if scale == 1:
            return self.forward(images)
        rows, columns = (resampling.down_positions(size, scale) for size in images.shape[1:3])
        return self.forward(resampling.resample(images, rows, columns))

    def upsample(
        self, estimated: Float[Array, "b y x outputs"], images: Float[Array, "b h w 3"]
    ) -> Float[Array, "b h w maps"]:
        """Bring curve maps to the size of the images that they were estimated for.

        Args:
            estimated: As of `estimate`.
            images: (batch, height, width, 3), in [0, 1].

        Returns:
            Curve maps, (batch, height, width, maps), within the range of those estimated.
        """
        scale = self.config.scale
        height, width = images.shape[1:3]
        if self.config.levels > 1:
            around = jnp.pad(estimated, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
            beyond = [(0, blocks(size, scale) * scale - size) for size in (height, width)]
            maps = slice_grid(
                around,
                jnp.pad(images, [(0, 0), *beyond, (0, 0)]),
                scale=scale,
                levels=self.config.levels,
            )
            return maps[:, :height, :width]
        if scale == 1:
            return estimated
        rows, columns = (
            resampling.up_positions(size, reduced)
            for size, reduced in zip((height, width), estimated.shape[1:3], strict=True)
        )
        return resampling.resample(estimated, rows, columns)

    def forward(
        self, images: Float[Array, "b h w 3"], mask: Float[Array, "b h w 1"] | None = None
    ) -> Float[Array, "b h w outputs"]:
        """Predict curve maps at the very size of the input, whatever the config's scale.

        Args:
            images: Images or tiles of them, (batch, height, width, 3), in [0, 1], 0 where the
                mask is 0.
            mask: 1 on pixels of the image, 0 beyond its edge, (batch, height, width, 1). With it
                every layer meets the zero padding that it would meet in the whole image.

        Returns:
            Curve maps, (batch, height, width, outputs), in [-1, 1].
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
        maps = jnp.tanh(self.conv7(x1, x6).astype(jnp.float32))
        return shrink_level_contrast(maps, self.config.levels)


def graphdef(
    config: NetworkConfig, *, dtype: DTypeLike = jnp.float32, inference: bool = False
) -> nnx.GraphDef[DCENet]:
    """The network's structure without its parameters, to `nnx.merge` with them inside jit."""
    return nnx.graphdef(
        nnx.eval_shape(lambda: DCENet(config, dtype=dtype, inference=inference, rngs=nnx.Rngs(0)))
    )


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
    x: Float[Array, "b h w inputs"],
    kernel: Float[Array, "ky kx inputs outputs"],
    *,
    padding: str = "SAME",
) -> Float[Array, "b y x outputs"]:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=PRECISION,
    )


def _convolve_pairs(
    x: Float[Array, "b h w inputs"], kernel: Float[Array, "3 3 inputs outputs"]
) -> Float[Array, "b h w outputs"]:
    """The same for images of even width, two neighbouring pixels as one with all their channels.

    Of a few input channels alone XLA's CPU backend makes four times as little.
    """
    batch, height, width, inputs = x.shape
    outputs = kernel.shape[-1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    pairs = padded.reshape(batch, height + 2, width // 2 + 1, 2 * inputs)
    # Of the four pixels of two pairs, the left output sees the first three, the right one the last.
    left, right = (jnp.pad(kernel, ((0, 0), (side, 1 - side), (0, 0), (0, 0))) for side in range(2))
    both = jnp.concatenate([left, right], axis=-1).reshape(3, 2, 2 * inputs, 2 * outputs)
    result = _convolve(pairs, both, padding="VALID")
    return result.reshape(batch, height, width, outputs)


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
