"""Six small runs whose numbers must not drift, from their configs to their folders.

Whoever moves code proves by them that nothing changed: on the machine that wrote
golden.json the parameters are equal bit by bit, on another the metrics to five digits.
A change that means to change them writes them again, and says why in its commit:

    python -m tests.training.test_golden
"""

import hashlib
import importlib.metadata
import json
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest

from rdt_jax import config as configs
from rdt_jax.training import run, validation
from tests.training import bits

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = pathlib.Path(__file__).with_name("golden.json")
COMMAND = "python -m tests.training.test_golden"
# float32 has 7 digits; compiled for another processor, sums of some thousand terms keep
# their first five or six, and an update of Adam may turn a rounding into more.
RTOL, ATOL = 2e-4, 2e-5

_SHORT = {
    "num_steps": 6,
    "eval_every_steps": 3,
    "checkpoint_every_steps": 3,
    "batch_size": 11,
    "optimizer.warmup_steps": 2,
    "optimizer.epsilon": 1e-6,
}
_SMALL = {"model.width": 10, "model.num_heads": 2, "model.core_blocks": 1}
_FACTS = {
    "task.kwargs.num_entities": 13,
    "task.kwargs.num_relations": 5,
    "task.kwargs.out_degree": 3,
    "task.kwargs.phi": 1.5,
    "task.kwargs.atomic_repeats": 2,
    "task.kwargs.max_heldout": 7,
}
# name -> the named config, what is changed for all lanes, and for each.
RUNS: Mapping[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "composition with dropout": (
        "knowledge_composition",
        _SMALL | _FACTS | {
            "model.coda_blocks": 1,
            "model.output_init": "gpt2",
            "model.embedding_std": 0.5,
            "model.dropout": 0.1,
            "model.embedding_dropout": 0.05,
            "model.remat": "full",
            "recurrence.num_loops": 3,
            "recurrence.backprop_depth": 2,
            "optimizer.schedule": "cosine",
            "optimizer.learning_rate": 0.01,
            "optimizer.weight_decay": 0.3,
            "loss.label_smoothing": 0.1,
        },
        [{"seed": 5}],
    ),
    "curriculum": (
        "knowledge_depth",
        _SMALL | {
            "task.kwargs.num_entities": 7,
            "task.kwargs.num_relations": 3,
            "task.kwargs.max_hops": 6,
            "task.kwargs.max_train_hops": 4,
            "task.kwargs.train_per_hop": 40,
            "task.kwargs.heldout_per_hop": 20,
            "curriculum.reset_optimizer": True,
        },
        [{"seed": 23}],
    ),
    "drawn depth": (
        "knowledge_composition",
        _SMALL | _FACTS | {
            "recurrence.sampling": "poisson",
            "recurrence.mean_loops": 2.0,
            "recurrence.min_loops": 1,
            "recurrence.max_loops": 4,
            "recurrence.eval_loops": (1, 3),
        },
        [{"seed": 1}],
    ),
    "moeut": ("moeut", _FACTS | {"model.width": 12}, [{"seed": 2}]),
    "muon with grokfast": (
        "knowledge_composition",
        _SMALL | _FACTS | {
            "optimizer.name": "muon",
            "gradient.filter": "grokfast_ema",
            "gradient.clip_norm": 1.0,
        },
        [{"seed": 3}],
    ),
    "four lanes": (
        "knowledge_composition",
        _SMALL | _FACTS,
        [
            {"seed": seed, "optimizer.weight_decay": decay}
            for seed in (0, 1)
            for decay in (0.1, 1.0)
        ],
    ),
}  # fmt: skip


def machine() -> str:
    """Names what decides the last bits: the processor and the compiler."""
    lines = pathlib.Path("/proc/cpuinfo")
    text = lines.read_text() if lines.exists() else ""
    model = [x.partition(": ")[2] for x in text.splitlines() if "model name" in x]
    version = importlib.metadata.version("jaxlib")
    return f"{model[0] if model else 'unknown'}, jaxlib {version}"


def measure(name: str, workdir: pathlib.Path) -> dict[str, Any]:
    """Trains a pack and returns what golden.json holds of it."""
    file, overrides, lanes = RUNS[name]
    base = configs.load(f"{ROOT}/configs/{file}.py:smoke")
    base = configs.override(base, _SHORT | overrides)
    pack = [configs.override(base, lane) for lane in lanes]
    for config in pack:
        validation.check(config)
    run.train(pack, workdir)
    found: dict[str, Any] = {"params": [], "metrics": []}
    for config in pack:
        folder = workdir / configs.run_id(config)
        params, _ = bits.read_checkpoint(folder / "transitions" / "final-after-6")
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            digest.update(
                jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes()
            )
        found["params"].append(digest.hexdigest())
        rows = (folder / "metrics.jsonl").read_text().splitlines()
        # Breakdowns follow from the same predictions.
        found["metrics"].append(
            [{k: v for k, v in json.loads(r).items() if "[" not in k} for r in rows]
        )
    return found


# The other three compile for a minute and a half.
QUICK = ("composition with dropout", "curriculum", "four lanes")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.exhaustive)
        for name in RUNS
    ],
)
def test_a_run_gives_the_numbers_that_it_always_gave(name, tmp_path):
    golden = json.loads(PATH.read_text())
    kept, found = golden["runs"][name], measure(name, tmp_path)
    again = f"if that is meant to be so, run `{COMMAND}` and say why in the commit"
    for lane, (rows, expected) in enumerate(
        zip(found["metrics"], kept["metrics"], strict=True)
    ):
        assert [row.keys() for row in rows] == [row.keys() for row in expected], again
        for row, wanted in zip(rows, expected, strict=True):
            np.testing.assert_allclose(
                list(row.values()), list(wanted.values()), RTOL, ATOL,
                err_msg=f"lane {lane}, step {row['step']}, {list(row)}; {again}",
            )  # fmt: skip
    if golden["machine"] == machine():
        assert found["params"] == kept["params"], again


if __name__ == "__main__":
    # As the tests run it (tests/conftest.py).
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_disable_most_optimizations", True)
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: measure(name, pathlib.Path(folder) / name) for name in RUNS}
    PATH.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")
