"""What the tests of every task take from its file, and from that of its own tests."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any

import ml_collections

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.tasks import base, presets


def of_tests(name: str, wanted: str, otherwise: Any = None) -> Any:
    """Returns what test_TASK.py of this folder, or test_FILE.py, has for a task."""
    own = f"tests.tasks.test_{name}"
    is_there = importlib.util.find_spec(own) is not None
    path = own if is_there else f"tests.tasks.test_{tasks.FILES[name]}"
    return getattr(importlib.import_module(path), wanted, otherwise)


def restate(name: str, table: base.Table) -> Iterator[tuple]:
    """Yields (tags, parts) of each row, said anew from its words.

    It is `restate` in the file of the task's tests, or `restate_TASK` where those of
    several tasks stand there.
    """
    function = of_tests(name, f"restate_{name}") or of_tests(name, "restate")
    assert function, f"the tests of {name} must have restate or restate_{name}"
    return function(table)


def smoke(name: str) -> ml_collections.ConfigDict:
    """Returns the config of a task at `smoke`, with the path of its first example."""
    config = presets.config_of(name, "smoke")
    paths = {k: v for k, v in EXAMPLES[name][0].items() if k == "path"}
    return configs.override(config, {f"task.kwargs.{k}": v for k, v in paths.items()})


def _examples(name: str, function: Callable[..., base.Table]) -> list[dict[str, Any]]:
    """Returns a task's EXAMPLES, all but the first as changes of that.

    What they say of a path, the tests make one of.
    """
    cases = getattr(sys.modules[function.__module__], "EXAMPLES", {}).get(name)
    assert cases, f"{tasks.FILES[name]}.py needs EXAMPLES of {name}: small arguments"
    return [
        {
            key: of_tests(name, key)(value) if key == "path" else value
            for key, value in (cases[0] | case).items()
        }
        for case in cases
    ]


# Task -> arguments of small tables, among them each value of an argument that chooses.
EXAMPLES = {name: _examples(name, task) for name, task in tasks.BUILT_IN.items()}
CASES = [(name, kwargs) for name, cases in EXAMPLES.items() for kwargs in cases]
