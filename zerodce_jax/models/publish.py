"""Contents of a repository on the Hugging Face hub: a network with a model card."""

from zerodce_jax.models import hub
from zerodce_jax.models.network import Network
from zerodce_jax.models.serialization import to_safetensors


def repository_files(network: Network, repo: str, license: str | None) -> dict[str, bytes]:  # noqa: A002
    """Return the files of a network's repository ``OWNER/NAME``, for `hub.upload`."""
    card = model_card(network, repo, license).encode()
    return {hub.NETWORK_FILE: to_safetensors(network), "README.md": card}


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
