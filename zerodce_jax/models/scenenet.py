"""SceneNet: the flax.nnx network that predicts a bilateral grid of curve maps for a whole image.

It sees a thumbnail and decides the exposure of each place and brightness itself: three strided
convolutions reduce the thumbnail to the cells of the grid, dilated residual blocks look around, and
a global branch (the mean over all places, and a histogram of brightness) tells every cell what kind
of scene it is part of, as in Gharbi et al., "Deep Bilateral Learning for Real-Time Image
Enhancement", 2017. Images are float32 in [0, 1], (batch, height, width, 3).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from zerodce_jax.config import SceneConfig
from zerodce_jax.models.dcenet import PRECISION
from zerodce_jax.ops.grid import (
    AMPLITUDE,
    CENTER,
    DARK_OFFSET,
    LEVEL_EXPONENT,
    area_weights,
    cell_positions,
    interpolate_levels,
)
from zerodce_jax.ops.resampling import linear_weights


class SceneNet(nnx.Module):
    """A network that predicts the curve maps of images from a thumbnail of each.

    Args:
        config: The architecture.
        dtype: Data type of the convolutions, float32 or bfloat16; parameters are float32.
        rngs: Source of the initial weights, normal with the variance 2 / inputs (He et al. 2015);
            the last layer starts at 0, so that at first every image is brightened alike. None
            starts all of them at 0: where only the structure is needed, drawing costs time.
    """

    def __init__(
        self, config: SceneConfig, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs | None
    ) -> None:
        self.config = config
        self._dtype = dtype
        draw = nnx.initializers.he_normal()
        for name, shape in config.param_shapes.items():
            layer, part = name.split(".")
            if part == "kernel":
                kernel = jnp.zeros(shape)
                if rngs is not None and layer != "grid2":
                    kernel = draw(rngs.params(), shape, jnp.float32)
                setattr(self, layer, nnx.Dict(kernel=nnx.Param(kernel)))
            else:
                getattr(self, layer)[part] = nnx.Param(jnp.zeros(shape))

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w maps"]:
        """Predict the curve maps of whole images, at their size."""
        return self.upsample(self.estimate(images), images)

    def estimate(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b cells cells outputs"]:
        """Predict the grids of whole images."""
        return self.forward(self.thumbnails(images))

    def thumbnails(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b side side 3"]:
        """Return the thumbnails of whole images, of means over areas."""
        vertical, horizontal = (
            area_weights(size, self.config.thumbnail, jnp) for size in images.shape[1:3]
        )
        rows = jnp.einsum("yh,bhwc->bywc", vertical, images, precision=PRECISION)
        return jnp.einsum("xw,bywc->byxc", horizontal, rows, precision=PRECISION)

    def upsample(
        self, grid: Float[Array, "b cells cells outputs"], images: Float[Array, "b h w 3"]
    ) -> Float[Array, "b h w maps"]:
        """Read grids at every pixel of their images."""
        cells = self.config.cells
        vertical, horizontal = (
            linear_weights(cell_positions(size, cells, jnp), cells) for size in images.shape[1:3]
        )

        def upsample(maps: Array) -> Array:
            # Channels come first, which makes the gradient five times as fast on a CPU.
            maps = jnp.moveaxis(maps, -1, 1)
            maps = jnp.einsum("hy,bcyx->bchx", vertical, maps, precision=PRECISION)
            maps = jnp.einsum("wx,bchx->bchw", horizontal, maps, precision=PRECISION)
            return jnp.moveaxis(maps, 1, -1)

        return interpolate_levels(grid, images, self.config.levels, upsample)

    def forward(
        self, thumbnails: Float[Array, "b side side 3"]
    ) -> Float[Array, "b cells cells outputs"]:
        """Predict the grids of images from their thumbnails."""
        config = self.config
        encoded = jnp.exp(LEVEL_EXPONENT * jnp.log(thumbnails + DARK_OFFSET))
        brightness = encoded.max(-1, keepdims=True)
        chroma = brightness - encoded.min(-1, keepdims=True)
        x = jnp.concatenate([thumbnails, encoded, brightness, chroma], axis=-1)
        for layer in ("down1", "down2", "down3"):
            x = jax.nn.relu(self._convolve(layer, x, stride=2))
        for i in range(config.blocks):
            x = x + jax.nn.relu(self._convolve(f"block{i + 1}", x, dilation=2**i))
        scene = jnp.concatenate([x.mean((1, 2)), self._histogram(brightness)], axis=-1)
        scene = self._dense("global2", jax.nn.relu(self._dense("global1", scene)))
        x = jax.nn.relu(x + scene[:, None, None].astype(x.dtype))
        x = jax.nn.relu(self._convolve("grid1", x))
        return CENTER + AMPLITUDE * jnp.tanh(self._convolve("grid2", x).astype(jnp.float32))

    def _histogram(self, brightness: Float[Array, "b y x 1"]) -> Float[Array, "b bins"]:
        """Return the share of pixels in each bin; a pixel between two bins counts for both."""
        bins = self.config.bins
        return linear_weights(brightness[..., 0] * (bins - 1), bins).mean((1, 2))

    def _convolve(self, name: str, x: Array, *, stride: int = 1, dilation: int = 1) -> Array:
        layer = getattr(self, name)
        before = 1 if stride == 1 else 0
        kernel = layer["kernel"][...].astype(self._dtype)
        # Groups of 16 outputs keep XLA's CPU backend on its fast path for the gradient of the
        # weights (benchmarks/README.md).
        groups = jnp.split(kernel, list(range(16, kernel.shape[-1], 16)), axis=-1)
        results = [
            jax.lax.conv_general_dilated(
                x.astype(self._dtype),
                group,
                (stride, stride),
                [(before * dilation, dilation)] * 2,
                rhs_dilation=(dilation, dilation),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                precision=PRECISION,
            )
            for group in groups
        ]
        return jnp.concatenate(results, axis=-1) + layer["bias"][...].astype(self._dtype)

    def _dense(self, name: str, x: Array) -> Array:
        layer = getattr(self, name)
        return jnp.dot(x, layer["kernel"][...], precision=PRECISION) + layer["bias"][...]
