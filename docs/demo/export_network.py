"""Write what the live demo needs of the network `scene` into a folder.

    python docs/demo/export_network.py FOLDER

`grid.onnx` predicts the bilateral grid of a thumbnail, `apply.onnx` enhances a tile with a grid,
and `settings.json` holds the numbers that the page needs. They are the models of the engine `onnx`.
"""

import json
import sys
from pathlib import Path

from zerodce_jax.config import SceneConfig
from zerodce_jax.engines import onnx_graph
from zerodce_jax.models.serialization import load_network
from zerodce_jax.ops.enhancement import reach


def main(folder: Path) -> None:
    """Write the three files."""
    network = load_network("scene")
    config, settings = network.config, network.settings
    assert isinstance(config, SceneConfig)
    folder.mkdir(parents=True, exist_ok=True)
    models = {
        "grid": onnx_graph.predict_grid(network),
        "apply": onnx_graph.apply(network, "uint8", settings.steps),
    }
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    numbers = {
        "thumbnail": config.thumbnail,
        "cells": config.cells,
        "reach": reach(settings.steps, config.levels),
        "protectHighlights": settings.protect_highlights,
        "gamma": settings.gamma,
    }
    (folder / "settings.json").write_text(json.dumps(numbers), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
