"""Train a network: ``python train.py --data DIR --workdir DIR`` is the same as ``zerodce train``."""

import sys

from zerodce_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
