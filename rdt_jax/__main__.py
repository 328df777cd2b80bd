"""`python -m rdt_jax` is the command `rdt`."""

import sys

from rdt_jax.cli import main

sys.exit(main())
