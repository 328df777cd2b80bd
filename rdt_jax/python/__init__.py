"""The names of `import rdt_jax as rdt`; docs/python.md shows them.

Compiled programs are kept as those of the command are.
"""

import os
import sys

from rdt_jax import machine

machine.use_compile_cache(lambda text: print(f"rdt: {text}", file=sys.stderr))
_jax, _folder = sys.modules.get("jax"), os.environ.get("JAX_COMPILATION_CACHE_DIR")
if _jax and _folder and not _jax.config.jax_compilation_cache_dir:
    # It was imported before, and has read the environment.
    _jax.config.update("jax_compilation_cache_dir", _folder)
    _jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
