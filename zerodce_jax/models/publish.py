"""A network with its model card, for others to find on the Hugging Face hub."""

from zerodce_jax.models import hub, serialization
from zerodce_jax.models.serialization import Network


def push(
    network: Network,
    repo: str,
    *,
    license: str | None = None,  # noqa: A002
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload a zerodce_jax network",
) -> tuple[str, tuple[str, ...]]:
    """Publish a network as ``model.safetensors`` with a ``README.md``.

    Args:
        network: What to publish.
        repo: ``OWNER/NAME``, made where it does not exist.
        license: For a new card, by the hub's names (``apache-2.0``, ``cc-by-nc-4.0``, ``other``).
        private: Whether a new repository is private.
        revision: The branch; None is the main one.
        message: Of the commit.

    Returns:
        The commit's address, and the names of files that were there and are kept.

    Raises:
        InputError: The hub refuses, or cannot be reached.
        UsageError: The name is malformed, or the client is not installed.
    """
    files = {
        hub.NETWORK_FILE: serialization.to_safetensors(network),
        "README.md": card(network, repo, license).encode(),
    }
    return hub.upload(files, repo, private=private, revision=revision, message=message)


def card(network: Network, repo: str, license: str | None) -> str:  # noqa: A002
    """The model card: what the hub wants to know, and how the network is used."""
    name = network.config.preset or "an architecture of its own"
    settings = "\n".join(
        f"- {key.replace('_', ' ')}: {value}" for key, value in network.settings.to_dict().items()
    )
    licence = "" if license is None else f"license: {license}\n"
    return f"""---
{licence}library_name: zerodce-jax
pipeline_tag: image-to-image
tags:
- low-light-image-enhancement
- zero-dce
- jax
---

# {repo.rpartition("/")[2]}

Lights up dark photographs: a network of {network.parameters:,} parameters ({name}) predicts tone
curves for each pixel.

```python
from zerodce_jax import Enhancer

bright = Enhancer.load("hf://{repo}")(image)
```

    zerodce enhance photographs/ -o bright -m hf://{repo}

Settings that it is used with, unless others are given:

{settings}
"""
