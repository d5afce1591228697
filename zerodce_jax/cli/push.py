"""``zerodce push``."""

from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from zerodce_jax.cli.messages import note
from zerodce_jax.cli.options import unless


def push(
    network: Annotated[Positional[str], arg(metavar="NET")],
    repo: Annotated[Positional[str], arg(metavar="OWNER/NAME")],
    /,
    *,
    license: Annotated[str | None, unless("NAME", "that of a shipped network")] = None,  # noqa: A002
    private: Annotated[bool, FlagCreatePairsOff] = False,
    revision: Annotated[str | None, unless("BRANCH", "main")] = None,
    message: str = "Upload a zerodce_jax network",
) -> int:
    """Publish a network on the Hugging Face hub, with a model card.

    Args:
        network: Network, as for enhance --model.
        repo: Repository, which is created if it does not exist.
        license: License in a new model card, by its name on the hub, such
            as apache-2.0, cc-by-nc-4.0, other.
        private: Make a new repository private.
        revision: Branch to commit to, which is created if it does not
            exist; by default the main branch.
        message: Commit message.
    """
    from zerodce_jax.models import hub, publish
    from zerodce_jax.models.serialization import load_network

    loaded = load_network(network)
    note(*loaded.notes)
    files = publish.repository_files(loaded, repo, license)
    address, kept = hub.upload(files, repo, private=private, revision=revision, message=message)
    note(*(f"kept the existing {name}" for name in kept))
    print(address)
    return 0
