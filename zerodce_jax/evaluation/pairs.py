"""Find pairs of a dark photograph and its reference."""

from pathlib import Path

from zerodce_jax.errors import InputError
from zerodce_jax.media.formats import find_photographs


def pair_by_name(low: Path, high: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pair the photographs of two folders by their relative paths without extensions.

    Args:
        low: Folder of dark photographs.
        high: Folder of their references.

    Returns:
        Pairs of a photograph and its reference, and the photographs of both folders that have no
        partner.

    Raises:
        InputError: A folder holds no photographs, no names match, or two references have the same
            name.
    """
    photographs = [(path, path.relative_to(low).with_suffix("")) for path in find_photographs(low)]
    references: dict[Path, Path] = {}
    for path in find_photographs(high):
        name = path.relative_to(high).with_suffix("")
        if name in references:
            raise InputError(f"{references[name]} and {path} are references with the same name")
        references[name] = path
    pairs = [(path, references[name]) for path, name in photographs if name in references]
    if not pairs:
        raise InputError(f"no photographs of {low} and {high} have the same name")
    unpaired = [path for path, name in photographs if name not in references]
    paired = {reference for _, reference in pairs}
    return pairs, unpaired + [path for path in references.values() if path not in paired]
