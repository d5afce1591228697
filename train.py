"""Train a network; ``python train.py`` takes the same arguments as ``zerodce train``."""

import sys

from zerodce_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], command="python train.py"))
