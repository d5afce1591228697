"""Light up photographs; ``python enhance.py`` takes the same arguments as ``zerodce enhance``."""

import sys

from zerodce_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["enhance", *sys.argv[1:]], command="python enhance.py"))
