"""A network in memory, and the dotted names of its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zerodce_jax.config import AnyNetworkConfig, EnhanceSettings
from zerodce_jax.errors import InputError


@dataclass(frozen=True)
class Network:
    """A network in memory: its architecture, its parameters, and how it enhances images."""

    config: AnyNetworkConfig
    """Architecture."""
    params: dict
    """Nested dict of float32 NumPy arrays; kernels are (height, width, in, out)."""
    settings: EnhanceSettings = field(default_factory=EnhanceSettings)
    """Settings that images are enhanced with, unless the caller overrides them."""
    notes: tuple[str, ...] = ()
    """Assumptions made while reading the network, each a sentence for the user."""

    @property
    def architecture(self) -> str:
        """Name of the preset, or ``custom architecture`` if no preset has this config."""
        return self.config.preset or "custom architecture"

    @property
    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(array.size for array in flatten(self.params).values())


def flatten(params: dict, prefix: str = "") -> dict[str, Any]:
    """Turn nested parameters into one dict with dotted names, such as ``conv1.kernel``."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        path = f"{prefix}{name}"
        flat |= flatten(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat


def unflatten(flat: dict[str, Any]) -> dict:
    """Nest parameters by their dotted names; the inverse of `flatten`."""
    params: dict = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        branch = params
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return params


def fit_params(
    arrays: Mapping[str, np.ndarray],
    config: AnyNetworkConfig,
    source: str,
    *,
    file_names: Mapping[str, str] | None = None,
) -> dict:
    """Check that arrays by dotted name fit an architecture, and nest them as float32 parameters.

    Kernels are (height, width, in, out). Error messages name the source, and the arrays by their
    `file_names` (by dotted name) if these differ.

    Raises:
        InputError: Arrays are missing, unexpected, of the wrong shape, or hold NaN or infinity; the
            message names each.
    """
    expected = config.param_shapes
    problems = []
    for name, shape in expected.items():
        if name not in arrays or arrays[name].shape != shape:
            found = f"shape {arrays[name].shape}" if name in arrays else "missing"
            file_name = file_names[name] if file_names else name
            problems.append(f"{file_name}: {found}, expected {shape}")
    for name, array in arrays.items():
        if name not in expected:
            problems.append(f"{name}: unexpected, shape {array.shape}")
    if problems:
        raise InputError(
            f"{source}: {len(problems)} tensors do not fit {config.preset or 'its config'}"
            f" (shapes are height, width, in, out):",
            *problems,
        )
    with np.errstate(over="ignore", invalid="ignore"):
        params = {name: np.asarray(arrays[name], np.float32) for name in expected}
    named = {file_names[name] if file_names else name: params[name] for name in params}
    require_finite(named, source)
    return unflatten(params)


def require_finite(arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Raise an InputError that names the arrays which hold NaN or infinity, if there are any."""
    broken = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if broken:
        raise InputError(f"{source}: NaN or infinity in {', '.join(broken)}")
