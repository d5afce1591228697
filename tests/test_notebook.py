"""examples/quickstart.ipynb: its code runs from top to bottom."""

import json
from pathlib import Path

import numpy as np
import pytest

from zerodce_jax.models.serialization import load_network


@pytest.mark.slow
@pytest.mark.needs("matplotlib")
def test_the_notebook_enhances_trains_and_converts(
    root: Path, monkeypatch: pytest.MonkeyPatch, no_compilation_cache: None
) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    notebook = json.loads((root / "examples" / "quickstart.ipynb").read_text("utf-8"))
    monkeypatch.chdir(root / "examples")
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), names)
    dark, half, bright = (np.asarray(names[name]).mean() for name in ("dark", "half", "bright"))
    assert dark < half < bright
    losses = names["losses"]
    assert isinstance(losses, list)
    assert len(losses) == 50
    assert losses[-1] < losses[0]
    folder = names["folder"]
    assert isinstance(folder, Path)
    for name in ("mine.safetensors", "torch.safetensors"):
        assert load_network(folder / name).config.features == 4
