"""The private names of other packages that this one cannot do without, all of them.

Checked with jax 0.10.2 and 0.12.0.1. Where another version lacks one, whoever needs it
is told so.
"""

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

_CHECKED = {"jax": "0.10.2 and 0.12.0.1"}


def distributed_state() -> Any:
    """Returns what JAX knows of the job that several processes are.

    Its key-value store has no public name.
    """
    return _get("jax", "jax._src.distributed", "global_state")


def num_compiled(jitted: Callable[..., Any]) -> int:
    """Returns how many programs a jitted function has compiled."""
    count = getattr(jitted, "_cache_size", None)
    if count is None:
        raise _missing("jax", "_cache_size of a jitted function")
    return count()


def _get(package: str, module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _missing(package, f"{module}.{name}") from error


def _missing(package: str, name: str) -> RuntimeError:
    version = importlib.metadata.version(package)
    return RuntimeError(
        f"{package} {version} has no {name}, which rdt_jax needs; it was checked with "
        f"{_CHECKED[package]}. Install one of these (constraints.txt)."
    )
