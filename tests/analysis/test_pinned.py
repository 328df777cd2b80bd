"""What measures say of small models is pinned: other numbers ask for another VERSION.

A stored analysis is current while the VERSION of its measure's module is the one that
it was made with, so a change in models/ or in what measures share must raise it.
`python -m tests.analysis.test_pinned` writes the numbers again, and refuses others of
the same VERSION.
"""

import functools
import inspect
import json

import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.analysis import stored
from rdt_jax.models import presets, recurrent
from tests import pins
from tests.conftest import ROOT

PATH = ROOT / "tests" / "analysis" / "pinned.json"
KEPT = json.loads(PATH.read_text()) if PATH.exists() else {}
MODEL = {
    "model.width": 16,
    "model.num_heads": 2,
    "model.core_blocks": 1,
    "recurrence.num_loops": 2,
    "recurrence.eval_loops": (1, 2, 3),
}
KNOWLEDGE = {
    "task.kwargs.num_entities": 11,
    "task.kwargs.num_relations": 5,
    "task.kwargs.out_degree": 3,
    "task.kwargs.phi": 1.5,
}
# Measure -> the preset of its model and table; the others: knowledge_composition.
PRESETS = {"fourier": "modular", "progress": "modular"}
# Fewer iterations than by default: what they compile is the same.
ARGUMENTS = {"stability": {"steps": 8}, "weights": {"steps": 8}}
MEASURES = {**stored.MEASURES, **stored.RUN_MEASURES}


@functools.cache
def _model(name):
    """Returns (params of two seeds, config, table)."""
    changes = MODEL | (KNOWLEDGE if name == "knowledge_composition" else {})
    config = configs.override(configs.load(f"{ROOT}/configs/{name}.py:smoke"), changes)
    table = tasks.make_table(config)
    init = lambda key: recurrent.init(key, presets.model_config(config, table))
    shapes = jax.eval_shape(init, jax.random.key(0))
    return [_drawn(shapes, seed) for seed in (0, 1)], config, table


def _drawn(shapes, seed):
    """Returns larger parameters than at init, where all attention is uniform."""
    rng = np.random.default_rng(seed)
    draw = lambda leaf: rng.normal(0.2, 0.4, leaf.shape).astype(leaf.dtype)
    return jax.tree.map(draw, shapes)


def _record(what):
    """Returns the mean of each field of numbers, without what is not finite."""
    params, config, table = _model(PRESETS.get(what, "knowledge_composition"))
    given = {0: params[0], 1: params[1]} if what in stored.RUN_MEASURES else params[0]
    fields = MEASURES[what](given, config, table, **ARGUMENTS.get(what, {}))._asdict()
    arrays = {name: np.asarray(values) for name, values in fields.items()}
    numbers = {
        name: float(np.mean(array[np.isfinite(array)], dtype=np.float64))
        for name, array in arrays.items()
        if array.dtype.kind in "bif" and np.isfinite(array).any()
    }
    version = inspect.getmodule(inspect.unwrap(MEASURES[what])).VERSION
    return {"version": version, "numbers": numbers}


def _cases():
    for what in MEASURES:  # Those of second derivatives take seconds to compile.
        marks = [pytest.mark.exhaustive] if what in ARGUMENTS else []
        yield pytest.param(what, marks=marks)


@pytest.mark.parametrize("what", list(_cases()))
def test_a_measure_says_what_it_said(what):
    now = _record(what)
    module = inspect.getmodule(inspect.unwrap(MEASURES[what])).__name__
    assert KEPT[what] == {
        "version": now["version"],
        "numbers": pytest.approx(now["numbers"], abs=1e-5, rel=1e-5),
    }, (
        f"The measure {what} has other numbers than it had. If that is meant, raise "
        f"VERSION in {module}, so that what is stored is made again, and write the "
        "numbers again with\n    .venv/bin/python -m tests.analysis.test_pinned"
    )


if __name__ == "__main__":
    records = pins.merged(KEPT, {what: _record(what) for what in MEASURES})
    PATH.write_text(json.dumps(records, indent=1) + "\n")
