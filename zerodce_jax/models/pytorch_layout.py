"""Conversion between our parameters and the state dicts of the PyTorch originals.

PyTorch has other names (``e_conv1.weight``) and stores kernels as (out, in, height, width).
"""

from collections.abc import Mapping

import numpy as np

from zerodce_jax.config import NetworkConfig
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models.network import Network, fit_params, flatten

# PyTorch's name for each part of our dotted names.
_TORCH_PARTS = {"depthwise": "depth_conv", "pointwise": "point_conv"}
_TORCH_PARTS |= {"kernel": "weight", "bias": "bias"}
_TORCH_PARTS |= {f"conv{i}": f"e_conv{i}" for i in range(1, 8)}


def to_torch(network: Network) -> dict[str, np.ndarray]:
    """Return the parameters with the names and layout of the PyTorch originals.

    Raises:
        UsageError: The network is a scene network, which has no original in PyTorch.
    """
    if not isinstance(network.config, NetworkConfig):
        raise UsageError(f"{network.architecture} has no original in PyTorch; use the layout jax")
    return {
        _torch_name(name): array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        for name, array in flatten(network.params).items()
    }


def from_torch(
    tensors: Mapping[str, np.ndarray],
    *,
    config: NetworkConfig | None = None,
    source: str = "state dict",
) -> Network:
    """Return the network of a PyTorch state dict, which error messages call `source`.

    If the config is None, names and shapes determine it.

    Raises:
        InputError: Tensors do not fit the architecture; the message names each.
    """
    notes: tuple[str, ...] = ()
    if config is None:
        config, note = _recognize(tensors, source)
        notes = (note,)
    torch_names = {name: _torch_name(name) for name in config.param_shapes}
    our_names = {torch_name: name for name, torch_name in torch_names.items()}
    arrays = {
        our_names.get(name, name): array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        for name, array in tensors.items()
    }
    params = fit_params(arrays, config, source, file_names=torch_names)
    return Network(config, params, notes=notes)


def _recognize(tensors: Mapping[str, np.ndarray], source: str) -> tuple[NetworkConfig, str]:
    """Derive the architecture from names and shapes; also return a note on what was assumed."""
    separable = "e_conv1.point_conv.weight" in tensors
    suffix = ".point_conv.weight" if separable else ".weight"
    first, last = tensors.get(f"e_conv1{suffix}"), tensors.get(f"e_conv7{suffix}")
    if first is None or last is None:
        raise InputError(
            f"{source}: not a DCE-Net: no tensors e_conv1 to e_conv7 among"
            f" {', '.join(sorted(tensors)[:5]) or 'none'}"
        )
    features, maps = (tensor.shape[0] if tensor.ndim else 0 for tensor in (first, last))
    if not features or not maps or maps % 3:
        raise InputError(f"{source}: not a DCE-Net: {features} features, {maps} curve maps")
    shared = maps == 3
    config = NetworkConfig(
        features=features,
        pool=features == 16 and not separable,
        separable=separable,
        iterations=8 if shared else maps // 3,
        shared_curve=shared,
    )
    name = f"the preset {config.preset}" if config.preset else "a custom architecture"
    return config, (
        f"{source}: the weights do not show whether the network has a max-pool; assuming {name}"
        f" {'with' if config.pool else 'without'} a max-pool because of its {features} features"
        " (--preset overrides this)"
    )


def _torch_name(name: str) -> str:
    return ".".join(_TORCH_PARTS[part] for part in name.split("."))
