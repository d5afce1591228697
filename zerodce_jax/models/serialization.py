"""Networks in files: PyTorch ``.pth``, Orbax folders, ``.safetensors``, and the shipped ones.

Reading never guesses in silence: where shapes cannot tell the architecture (a pool has no weights)
the assumption is kept in `Network.notes`, and every tensor that does not fit is named at once.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors
import safetensors.numpy

from zerodce_jax.atomic import replacing
from zerodce_jax.config import EnhanceSettings, NetworkConfig, flatten, nest, preset
from zerodce_jax.errors import InputError, UsageError
from zerodce_jax.models import hub
from zerodce_jax.models.pytorch_pickle import read_state_dict

Layout = Literal["jax", "torch"]

# Our name for each part of a parameter's name, and PyTorch's.
_TORCH_PARTS = {
    "depthwise": "depth_conv",
    "pointwise": "point_conv",
    "kernel": "weight",
    "bias": "bias",
} | {f"conv{i}": f"e_conv{i}" for i in range(1, 8)}


@dataclass(frozen=True)
class Network:
    """A network in memory: what it is, and its weights."""

    config: NetworkConfig
    params: dict
    """Nested dict of float32 NumPy arrays, kernels as (height, width, in, out)."""
    settings: EnhanceSettings = field(default_factory=EnhanceSettings)
    """How pictures are enhanced with it, unless they are told otherwise."""
    notes: tuple[str, ...] = ()
    """What had to be assumed when it was read, each a sentence for the user."""

    @property
    def parameters(self) -> int:
        """How many parameters it has."""
        return sum(array.size for array in flatten(self.params).values())


def load(source: str | Path, *, preset: str | None = None, scale: int | None = None) -> Network:
    """Read a network from wherever it is.

    Args:
        source: The name of a shipped network (``reduced``), an Orbax folder (``DIR`` for its best
            or newest step, ``DIR@STEP`` for one of them), a ``.safetensors`` or ``.pth`` file, or
            ``hf://OWNER/NAME[@REVISION][/FILE.safetensors]``, a network on the Hugging Face hub.
        preset: The architecture of a file that does not say it.
        scale: The scale at which curves are estimated, instead of the stored one.

    Raises:
        InputError: There is nothing there, or it is damaged, or tensors do not fit; the message
            names every one of them.
        UsageError: There is no such preset.
        OSError: The file cannot be read.
    """
    network = _load(source, preset)
    if scale is not None:
        network = replace(network, config=replace(network.config, scale=scale))
    return network


def _load(source: str | Path, preset: str | None) -> Network:
    if isinstance(source, str) and source in shipped():
        with resources.as_file(_weights() / f"{source}.safetensors") as file:
            return _load_safetensors(file, preset)
    if isinstance(source, str) and source.startswith(hub.SCHEME):
        return _load_safetensors(hub.download(source), preset)
    path = Path(source)
    if path.is_dir() or _step_of(path) is not None:
        # Orbax takes a second to import: only where it is needed.
        from zerodce_jax.models import checkpoint

        step = None if path.is_dir() else _step_of(path)
        directory = path if step is None else path.with_name(path.name.rpartition("@")[0])
        if not checkpoint.is_checkpoint(directory):
            raise InputError(f"{directory}: holds no checkpoint of this program")
        config, params, settings = checkpoint.load_network(directory, step)
        return Network(config, params, settings)
    if not path.exists():
        names = ", ".join(shipped()) or "none yet"
        raise InputError(f"{source}: no such network file, and none of the shipped ones ({names})")
    if path.suffix == ".safetensors":
        return _load_safetensors(path, preset)
    return from_torch(read_state_dict(path), preset=preset, source=str(path))


def to_safetensors(network: Network, *, layout: Layout = "jax") -> bytes:
    """The contents of a ``.safetensors`` file, which `save` explains."""
    tensors = to_torch(network) if layout == "torch" else flatten(network.params)
    metadata = {
        "format": "pt" if layout == "torch" else "jax",
        "config": json.dumps(network.config.to_dict()),
        "preset": network.config.preset or "",
        "settings": json.dumps(network.settings.to_dict()),
    }
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return safetensors.numpy.save(contiguous, metadata)


def save(network: Network, path: Path, *, layout: Layout = "jax") -> None:
    """Write a network, whole or not at all.

    Args:
        network: What to write.
        path: A name ending in ``.safetensors`` makes such a file, any other an Orbax folder.
        layout: For ``.safetensors``: ``jax`` keeps our names and (height, width, in, out)
            kernels; ``torch`` writes (out, in, height, width) under the names of the PyTorch
            originals, for their ``load_state_dict``.

    Raises:
        UsageError: The name asks for a format that cannot be written.
        InputError: A folder of that name holds something else than a checkpoint; it is kept.
        OSError: The file cannot be written.
    """
    if path.suffix in {".pth", ".pt", ".npz", ".onnx"}:
        raise UsageError(
            f"{path}: networks are written as .safetensors or as a folder;"
            " PyTorch reads .safetensors written with --layout torch"
        )
    if path.is_dir():
        from zerodce_jax.models import checkpoint

        if any(path.iterdir()) and not checkpoint.is_checkpoint(path):
            raise InputError(f"{path}: a folder that holds no checkpoint; it is not replaced")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if path.suffix == ".safetensors":
            # Not save_file, which lets nobody but the owner read what it writes.
            temporary.write_bytes(to_safetensors(network, layout=layout))
        else:
            from zerodce_jax.models import checkpoint

            checkpoint.save_network(temporary, network.config, network.params, network.settings)


def round_trip(network: Network) -> list[tuple[str, tuple[int, ...], float]]:
    """Write a network in every format, read it back, and compare.

    Returns:
        Of each parameter its name, its shape, and the largest absolute difference over all formats.
    """
    before = flatten(network.params)
    largest = dict.fromkeys(before, 0.0)
    formats: list[tuple[str, Layout]] = [
        ("orbax", "jax"),
        ("jax.safetensors", "jax"),
        ("torch.safetensors", "torch"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, layout in formats:
            path = Path(folder) / name
            save(network, path, layout=layout)
            for key, array in flatten(load(path).params).items():
                difference = float(np.max(np.abs(array - before[key])))
                largest[key] = max(largest[key], difference)
    return [(key, array.shape, largest[key]) for key, array in before.items()]


def shipped() -> list[str]:
    """Names of the networks that come with the package."""
    if not _weights().is_dir():
        return []
    names = (entry.name for entry in _weights().iterdir())
    return sorted(n.removesuffix(".safetensors") for n in names if n.endswith(".safetensors"))


def to_torch(network: Network) -> dict[str, np.ndarray]:
    """Name and lay tensors out as the PyTorch originals do: OIHW, ``e_conv1.weight`` and so on."""
    return {
        _torch_name(name): array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
        for name, array in flatten(network.params).items()
    }


def from_torch(
    tensors: Mapping[str, np.ndarray],
    *,
    preset: str | None = None,
    config: NetworkConfig | None = None,
    settings: EnhanceSettings | None = None,
    source: str = "state dict",
) -> Network:
    """Recognise a PyTorch state dict and take its weights over.

    Args:
        tensors: Arrays under the names of the originals, with or without the ``module.`` of
            DataParallel.
        preset: The architecture, where it is known; otherwise names and shapes tell.
        config: The same in full, from a file that carries it.
        settings: How pictures are enhanced with it; None is the recipe of Zero-DCE-improved.
        source: What to call the state dict in messages.

    Raises:
        InputError: Tensors are missing, left over or misshaped; all are named.
        UsageError: There is no such preset.
    """
    tensors = {name.removeprefix("module."): array for name, array in tensors.items()}
    notes: tuple[str, ...] = ()
    if config is None:
        config, notes = _recognise(tensors, preset, source)
    arrays = {}
    ours = {_torch_name(name): name for name in config.param_shapes}
    for name, array in tensors.items():
        key = ours.get(name, name)
        arrays[key] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    names = {name: torch_name for torch_name, name in ours.items()}
    params = _fitted(arrays, config, source, names=names)
    return Network(config, params, settings or EnhanceSettings(), notes)


def _recognise(
    tensors: Mapping[str, np.ndarray], preset_name: str | None, source: str
) -> tuple[NetworkConfig, tuple[str, ...]]:
    if preset_name is not None:
        return preset(preset_name), ()
    separable = "e_conv1.point_conv.weight" in tensors
    part = ".point_conv.weight" if separable else ".weight"
    first, last = tensors.get(f"e_conv1{part}"), tensors.get(f"e_conv7{part}")
    if first is None or last is None:
        raise InputError(
            f"{source}: not a DCE-Net: no tensors e_conv1 to e_conv7 among"
            f" {', '.join(sorted(tensors)[:5]) or 'none'}"
        )
    features, maps = (tensor.shape[0] if tensor.ndim else 0 for tensor in (first, last))
    shared = maps == 3
    if not features or not maps or maps % 3:
        raise InputError(f"{source}: not a DCE-Net: {features} features, {maps} curve maps")
    config = NetworkConfig(
        features=features,
        pool=features == 16 and not separable,
        separable=separable,
        iterations=8 if shared else maps // 3,
        shared_curve=shared,
    )
    pooled = "with its max-pool" if config.pool else "without a max-pool"
    called = f"the preset {config.preset}" if config.preset else "an architecture of its own"
    return config, (
        f"{source}: weights cannot tell whether there is a pool; {features} features"
        f" are taken for {called}, {pooled} (--preset says otherwise)",
    )


def _load_safetensors(path: Path, preset: str | None) -> Network:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file, or damaged ({error})") from error
    config, settings = None, EnhanceSettings()
    try:
        if "config" in metadata:
            config = NetworkConfig.from_dict(json.loads(metadata["config"]))
        if "settings" in metadata:
            settings = EnhanceSettings.from_dict(json.loads(metadata["settings"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: its metadata describe no network ({error})") from error
    if config is None or metadata.get("format") == "pt":
        return from_torch(
            tensors, preset=preset, config=config, settings=settings, source=str(path)
        )
    return Network(config, _fitted(tensors, config, str(path)), settings)


def _fitted(
    arrays: Mapping[str, np.ndarray],
    config: NetworkConfig,
    source: str,
    *,
    names: Mapping[str, str] | None = None,
) -> dict:
    """Check every tensor against the config, then nest them; `names` are those of the file."""
    names = names or {}
    expected = config.param_shapes
    problems = [
        f"{names.get(name, name)}: missing, expected {shape}"
        for name, shape in expected.items()
        if name not in arrays
    ]
    problems += [
        f"{name}: left over, shape {array.shape}"
        for name, array in arrays.items()
        if name not in expected
    ]
    problems += [
        f"{names.get(name, name)}: shape {arrays[name].shape}, expected {shape}"
        for name, shape in expected.items()
        if name in arrays and arrays[name].shape != shape
    ]
    if problems:
        called = config.preset or "its config"
        raise InputError(
            f"{source}: {len(problems)} tensors do not fit {called}"
            f" (shapes as height, width, in, out):",
            *problems,
        )
    return nest({name: np.asarray(arrays[name], np.float32) for name in expected})


def _torch_name(name: str) -> str:
    return ".".join(_TORCH_PARTS[part] for part in name.split("."))


def _step_of(path: Path) -> int | None:
    directory, at, step = path.name.rpartition("@")
    return int(step) if at and directory and step.isdecimal() and not path.exists() else None


def _weights() -> Traversable:
    return resources.files("zerodce_jax") / "weights"
