"""Publish a network with a model card on the Hugging Face hub."""

from zerodce_jax.models import hub
from zerodce_jax.models.network import Network
from zerodce_jax.models.serialization import to_safetensors


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
        network: The network.
        repo: ``OWNER/NAME`` of the repository, which is created if it does not exist.
        license: Name of the license on the hub (``apache-2.0``, ``cc-by-nc-4.0``, ``other``), for a
            new model card.
        private: Whether to make a new repository private.
        revision: Branch to commit to; None is the main branch.
        message: Commit message.

    Returns:
        The address of the commit, and the names of existing files that were kept.

    Raises:
        InputError: The hub refuses, or cannot be reached.
        UsageError: The name is malformed, or the client is not installed.
    """
    files = {
        hub.NETWORK_FILE: to_safetensors(network),
        "README.md": model_card(network, repo, license).encode(),
    }
    return hub.upload(files, repo, private=private, revision=revision, message=message)


def model_card(network: Network, repo: str, license: str | None) -> str:  # noqa: A002
    """Return the model card: metadata for the hub, and instructions for users."""
    settings = "\n".join(
        f"- {key.replace('_', ' ')}: {value}" for key, value in network.settings.to_dict().items()
    )
    license_line = "" if license is None else f"license: {license}\n"
    return f"""---
{license_line}library_name: zerodce-jax
pipeline_tag: image-to-image
tags:
- low-light-image-enhancement
- zero-dce
- jax
---

# {repo.rpartition("/")[2]}

This network lights up dark photographs. Its {network.parameter_count:,} parameters
({network.architecture}) predict a tone curve for each pixel.

```python
from zerodce_jax import Enhancer

bright = Enhancer.load("hf://{repo}")(image)
```

    zerodce enhance photographs/ -o bright -m hf://{repo}

Default settings:

{settings}
"""
