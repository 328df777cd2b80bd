"""Grokking and compositional generalization in recurrent-depth transformers.

    import rdt_jax as rdt

    config = rdt.load_config("modular:smoke", {"model.width": 64})
    run = rdt.train(config, workdir="runs")  # finished, or gone on with
    run.metrics().to_pandas()

docs/python.md shows all names. They are imported when one is first used: importing this
package imports neither JAX nor numpy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdt_jax.python.models import (
        Model,
        Output,
        load_config,
        make_config,
        make_table,
    )
    from rdt_jax.python.runs import Rows, Run, Runs, open
    from rdt_jax.python.training import run_sweep, train

__version__ = "0.2.0"
__all__ = [
    "Model",
    "Output",
    "Rows",
    "Run",
    "Runs",
    "load_config",
    "make_config",
    "make_table",
    "open",
    "run_sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rdt_jax.python import models, runs, training

    places = (place for place in (models, runs, training) if hasattr(place, name))
    return getattr(next(places), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
