"""Search for the one DCE-Net among the tensors of a PyTorch checkpoint.

Training code nests state dicts in other dicts, together with optimizers and other networks, and
wrappers of a network prefix its names: ``module.``, ``_orig_mod.``, the name of an attribute. What
comes before ``e_conv1`` is the key of a DCE-Net, such as ``state_dict/net``.
"""

import re
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from zerodce_jax.errors import InputError, one_line

_LAYER = re.compile(r"(?P<prefix>(.*[./])?)e_conv[1-7]\.", re.DOTALL)
_EMA = re.compile(r"(?<![a-z])ema(?![a-z])", re.IGNORECASE)
_Tensor = TypeVar("_Tensor", bound=Hashable)


def find_state_dict(
    tensors: Mapping[str, _Tensor], key: str | None = None, *, objects: Sequence[str] = ()
) -> tuple[dict[str, _Tensor], tuple[str, ...]]:
    """Return the tensors of the one DCE-Net, and notes on how it was chosen.

    Where a checkpoint holds weights and their moving average (EMA), the average is chosen.

    Args:
        tensors: Whatever stands for the tensors, by names with a slash after each nested dict;
            equal values are the same tensor.
        key: Key of the DCE-Net, or its first parts; None considers all.
        objects: Names of what else the checkpoint holds, for the error message.

    Returns:
        The tensors by the names that the network itself gives them, and sentences for the user.

    Raises:
        InputError: No DCE-Net has this key, or several have it; the message lists all keys.
    """
    prefixes = dict.fromkeys(layer["prefix"] for layer in map(_LAYER.match, tensors) if layer)
    networks: dict[str, dict[str, _Tensor]] = {prefix: {} for prefix in prefixes}
    others = []
    for name, tensor in tensors.items():
        prefix = _prefix_of(name, networks)
        if prefix is None:
            others.append(name)
        else:
            networks[prefix][name.removeprefix(prefix)] = tensor
    if not networks:
        raise InputError(_no_network(tensors, objects))
    chosen, notes = _choose(networks, key)
    folder = chosen.rpartition("/")[0]
    if ignored := [name for name in others if name.rpartition("/")[0] == folder]:
        notes += (f"ignored tensors beside the DCE-Net: {_listed(ignored)}",)
    return networks[chosen], notes


def _prefix_of(name: str, prefixes: Collection[str]) -> str | None:
    """Return the longest of the prefixes that stands in the same dict as a tensor, or None."""
    folder, slash, rest = name.rpartition("/")
    parts = rest.split(".")
    for count in reversed(range(len(parts))):
        prefix = folder + slash + "".join(f"{part}." for part in parts[:count])
        if prefix in prefixes:
            return prefix
    return None


def _choose(
    networks: Mapping[str, Mapping[str, _Tensor]], key: str | None
) -> tuple[str, tuple[str, ...]]:
    """Return the prefix of the DCE-Net to take, and notes."""
    keys = {prefix: prefix.rstrip("./") for prefix in networks}
    candidates = [prefix for prefix in networks if key is None or keys[prefix] == key]
    if not candidates:
        candidates = [prefix for prefix in networks if prefix.startswith((f"{key}.", f"{key}/"))]
    if not candidates:
        raise InputError(f"no DCE-Net has the key {key!r}; --key takes {_listed(keys.values())}")
    # A network that is the attribute of two modules is stored twice.
    by_tensors: dict[frozenset, str] = {}
    for prefix in candidates:
        by_tensors.setdefault(frozenset(networks[prefix].items()), prefix)
    distinct = list(by_tensors.values())
    if len(distinct) == 1:
        return distinct[0], ()
    averages = [prefix for prefix in distinct if _EMA.search(keys[prefix])]
    if len(averages) != 1:
        listed = _listed(keys[prefix] for prefix in distinct)
        raise InputError(f"holds {len(distinct)} DCE-Nets; choose one with --key: {listed}")
    rest = _listed(keys[prefix] for prefix in distinct if prefix != averages[0])
    average = _listed([keys[averages[0]]])
    return averages[0], (f"took the moving average {average}, not {rest} (--key chooses)",)


def _no_network(tensors: Iterable[str], objects: Sequence[str]) -> str:
    names = _listed(sorted(tensors)[:5])
    message = f"no tensors e_conv1 to e_conv7 among {names}" if names else "no tensors"
    if objects:
        message += (
            f"; it holds {_listed(objects)}, whose code is never run;"
            " save the weights alone: torch.save(model.state_dict(), FILE)"
        )
    return f"not a DCE-Net: {message}"


def _listed(names: Iterable[str]) -> str:
    names = [one_line(name) or "''" for name in names]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
