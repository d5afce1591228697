"""``zerodce push``."""

import sys
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg


def push(
    network: Annotated[Positional[str], arg(metavar="NET")],
    repo: Annotated[Positional[str], arg(metavar="OWNER/NAME")],
    /,
    *,
    license: Annotated[str | None, arg(metavar="NAME")] = None,  # noqa: A002
    private: Annotated[bool, FlagCreatePairsOff] = False,
    revision: str | None = None,
    message: str = "Upload a zerodce_jax network",
) -> int:
    """Publish a network on the Hugging Face hub, with a model card.

    Args:
        network: Network, as for enhance.
        repo: Where to; it is made if it does not exist.
        license: For a new model card, by the hub's names: apache-2.0, cc-by-nc-4.0, other.
        private: Make a new repository a private one.
        revision: Branch to commit to, made if it does not exist; the main one if not given.
        message: Of the commit.
    """
    from zerodce_jax.models import publish, serialization

    loaded = serialization.load(network)
    for note in loaded.notes:
        print(f"zerodce: note: {note}", file=sys.stderr)
    address, kept = publish.push(
        loaded, repo, license=license, private=private, revision=revision, message=message
    )
    for name in kept:
        print(f"zerodce: note: {name} is there already, and kept", file=sys.stderr)
    print(address)
    return 0
