"""Find pairs of a dark photograph and its reference."""

from pathlib import Path

from zerodce_jax.errors import InputError
from zerodce_jax.media.formats import find_photographs


def pair_by_name(low: Path, high: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pair dark photographs with their references by relative paths without extensions.

    Returns:
        Pairs of a photograph and its reference, and the photographs of both folders that have no
        partner.

    Raises:
        InputError: A folder holds no photographs, no names match, or two references have the same
            name.
    """
    references: dict[Path, Path] = {}
    for path in find_photographs(high):
        name = path.relative_to(high).with_suffix("")
        if name in references:
            raise InputError(f"{references[name]} and {path} are references with the same name")
        references[name] = path
    partners = {
        path: references.get(path.relative_to(low).with_suffix(""))
        for path in find_photographs(low)
    }
    pairs = [(path, reference) for path, reference in partners.items() if reference]
    if not pairs:
        raise InputError(f"no photographs of {low} and {high} have the same name")
    unpaired = [path for path, reference in partners.items() if reference is None]
    paired = set(partners.values())
    return pairs, unpaired + [path for path in references.values() if path not in paired]
