"""Reading and writing of networks: ``.safetensors``, Orbax folders, PyTorch ``.pth``, the hub.

`load_network` and `save_network` choose the format. Reading reports everything it assumes in
`Network.notes`, and names all tensors that do not fit in one error.
"""

import json
import tempfile
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors
import safetensors.numpy

from zerodce_jax.atomic import replacing
from zerodce_jax.config import EnhanceSettings, NetworkConfig, SceneConfig, network_config
from zerodce_jax.config import preset as preset_config
from zerodce_jax.errors import (
    InputError,
    UsageError,
    one_line,
    prefix_errors,
    require_training,
)
from zerodce_jax.models import hub
from zerodce_jax.models.network import Network, fit_params, flatten
from zerodce_jax.models.number_types import SAFETENSORS_TYPES, decode
from zerodce_jax.models.pytorch_file import open_checkpoint
from zerodce_jax.models.pytorch_layout import from_torch, to_torch
from zerodce_jax.models.pytorch_state_dict import find_state_dict

Layout = Literal["jax", "torch"]
TensorType = Literal["float32", "float16"]


def load_network(
    source: str | Path,
    *,
    preset: str | None = None,
    scale: int | None = None,
    key: str | None = None,
) -> Network:
    """Read a network.

    Args:
        source: The name of a shipped network (``scene``); an Orbax folder (``DIR`` for its best
            or newest step, ``DIR@STEP`` for one step); a ``.safetensors`` or ``.pth`` file; or
            ``hf://OWNER/NAME[@REVISION][/FILE.safetensors]`` on the Hugging Face hub.
        preset: Name of the architecture, for a file that does not store it.
        scale: Scale at which the network estimates curves; None keeps the stored one.
        key: Key of the network in a PyTorch checkpoint that holds several, such as ``params``.

    Raises:
        InputError: The network does not exist, is damaged, has tensors that do not fit or that hold
            NaN or infinity, or the file holds several networks.
        UsageError: No preset has this name, a scale is given for a scene network, a key for another
            file than a PyTorch checkpoint, or Orbax, which reads folders, is not installed.
        OSError: The file cannot be read.
    """
    network = _load(source, None if preset is None else preset_config(preset), key)
    if scale is None:
        return network
    if not isinstance(network.config, NetworkConfig):
        raise UsageError(
            f"{source}: {network.architecture} always sees a thumbnail; omit the scale"
        )
    return replace(network, config=replace(network.config, scale=scale))


def _load(source: str | Path, config: NetworkConfig | None, key: str | None) -> Network:
    if source in shipped_networks():
        with resources.as_file(_weights() / f"{source}.safetensors") as file:
            return _load_safetensors(file, config, key)
    if isinstance(source, str) and source.startswith(hub.SCHEME):
        return _load_safetensors(hub.download(source), config, key)
    path = Path(source)
    folder, _, step = path.name.rpartition("@")
    has_step = folder and step.isdecimal() and not path.exists()
    if path.is_dir() or has_step:
        require_training(f"the folder {path}")
        # Importing Orbax takes a second, so only networks in folders pay for it.
        from zerodce_jax.models import checkpoint

        directory = path.with_name(folder) if has_step else path
        if not checkpoint.is_checkpoint(directory):
            raise InputError(f"{directory}: not a checkpoint folder of zerodce_jax")
        _require_no_key(key, directory)
        return checkpoint.read_checkpoint(directory, int(step) if has_step else None)
    if not path.exists():
        names = ", ".join(shipped_networks()) or "none"
        raise InputError(f"{source}: no such file, and no shipped network ({names})")
    if path.suffix == ".safetensors":
        return _load_safetensors(path, config, key)
    with open_checkpoint(path) as file:
        tensors, notes = find_state_dict(file.tensors, key, objects=file.objects)
        arrays = file.read(tensors)
    return _from_torch(arrays, config, path, notes)


def save_network(
    network: Network, path: Path, *, layout: Layout = "jax", dtype: TensorType = "float32"
) -> None:
    """Write a network atomically: the file or folder is complete, or keeps its old content.

    Args:
        network: The network.
        path: A name that ends in ``.safetensors`` for such a file; any other for an Orbax folder.
        layout: Layout of a ``.safetensors`` file: ``jax`` for our names and kernels (height, width,
            in, out), or ``torch`` for ``load_state_dict`` of the PyTorch originals.
        dtype: Data type of the tensors in a ``.safetensors`` file. ``float16`` halves the file, and
            rounds the parameters; `load_network` returns float32.

    Raises:
        UsageError: The name stands for a format that this package does not write, float16 is asked
            of a folder, or Orbax, which writes folders, is not installed.
        InputError: The folder exists and is not a checkpoint; it is kept. Or a parameter does not
            fit float16.
        OSError: The file cannot be written.
    """
    if path.suffix in {".pth", ".pt", ".npz", ".onnx"}:
        raise UsageError(
            f"{path}: networks are written as .safetensors or as a folder;"
            " PyTorch reads .safetensors written with --layout torch"
        )
    if dtype == "float16" and path.suffix != ".safetensors":
        raise UsageError(f"{path}: only .safetensors files store float16")
    if path.is_dir() or path.suffix != ".safetensors":
        require_training(f"the folder {path}")
    if path.is_dir():
        from zerodce_jax.models import checkpoint

        if any(path.iterdir()) and not checkpoint.is_checkpoint(path):
            raise InputError(f"{path}: not replaced, because this folder is not a checkpoint")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if path.suffix == ".safetensors":
            # safetensors' save_file would make the file unreadable for other users.
            temporary.write_bytes(to_safetensors(network, layout=layout, dtype=dtype))
        else:
            from zerodce_jax.models import checkpoint

            checkpoint.write_checkpoint(temporary, network)


def to_safetensors(
    network: Network, *, layout: Layout = "jax", dtype: TensorType = "float32"
) -> bytes:
    """Return the contents of a ``.safetensors`` file; `save_network` explains the arguments."""
    tensors = to_torch(network) if layout == "torch" else flatten(network.params)
    metadata = {
        "format": "pt" if layout == "torch" else "jax",
        "config": json.dumps(network.config.to_dict()),
        "preset": network.config.preset or "",
        "settings": json.dumps(network.settings.to_dict()),
    }
    for name, array in tensors.items():
        # The negation refuses NaN too.
        if not (largest := np.abs(array).max()) <= np.finfo(dtype).max:
            raise InputError(f"{name}: a parameter of {largest:g} does not fit {dtype}")
    contiguous = {name: np.ascontiguousarray(array, dtype) for name, array in tensors.items()}
    return safetensors.numpy.save(contiguous, metadata)


def round_trip_differences(network: Network) -> list[tuple[str, tuple[int, ...], float]]:
    """Write a network in every format, read it back, and compare.

    Returns:
        The name of each parameter, its shape, and its largest absolute difference in any format.
    """
    before = flatten(network.params)
    largest = dict.fromkeys(before, 0.0)
    formats: dict[str, Layout] = {"orbax": "jax", "1.safetensors": "jax"}
    if isinstance(network.config, NetworkConfig):
        formats["2.safetensors"] = "torch"
    with tempfile.TemporaryDirectory() as folder:
        for file_name, layout in formats.items():
            path = Path(folder) / file_name
            save_network(network, path, layout=layout)
            for name, array in flatten(load_network(path).params).items():
                largest[name] = max(largest[name], float(np.max(np.abs(array - before[name]))))
    return [(name, array.shape, largest[name]) for name, array in before.items()]


def shipped_networks() -> list[str]:
    """Return the names of the networks that the package contains."""
    if not _weights().is_dir():
        return []
    names = (entry.name for entry in _weights().iterdir())
    return sorted(n.removesuffix(".safetensors") for n in names if n.endswith(".safetensors"))


def _load_safetensors(path: Path, config: NetworkConfig | None, key: str | None) -> Network:
    """Read a file; `config` is the architecture if the file does not store one."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        # safe_open does not read float8 as NumPy arrays.
        stored_tensors = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file, or damaged ({error})") from error
    tensors = {}
    for name, tensor in stored_tensors:
        if tensor["dtype"] not in SAFETENSORS_TYPES:
            raise InputError(f"{path}: {one_line(name)} has the unknown type {tensor['dtype']}")
        flat = decode(tensor["data"], SAFETENSORS_TYPES[tensor["dtype"]])
        tensors[name] = flat.reshape(tensor["shape"])
    stored = None
    try:
        if "config" in metadata:
            stored = network_config(json.loads(metadata["config"]))
        settings = EnhanceSettings.from_dict(json.loads(metadata.get("settings", "{}")))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: its metadata do not describe a network ({error})") from error
    if isinstance(stored, SceneConfig) or (stored and metadata.get("format") != "pt"):
        _require_no_key(key, path)
        return Network(stored, fit_params(tensors, stored, str(path)), settings)
    with prefix_errors(path):
        names, notes = find_state_dict({name: name for name in tensors}, key)
    arrays = {name: tensors[stored_name] for name, stored_name in names.items()}
    return replace(_from_torch(arrays, stored or config, path, notes), settings=settings)


def _from_torch(
    arrays: dict[str, np.ndarray], config: NetworkConfig | None, path: Path, notes: tuple[str, ...]
) -> Network:
    network = from_torch(arrays, config=config, source=str(path))
    notes = tuple(f"{path}: {note}" for note in notes)
    return replace(network, notes=notes + network.notes)


def _require_no_key(key: str | None, path: Path) -> None:
    if key is not None:
        raise UsageError(f"{path}: not a PyTorch checkpoint, so omit the key")


def _weights() -> Traversable:
    return resources.files("zerodce_jax") / "weights"
