"""``python -m zerodce_jax``: the same as ``zerodce``."""

import sys

from zerodce_jax.cli import main

sys.exit(main())
