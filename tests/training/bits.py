"""Bitwise comparison of trees, and reading checkpoints without the library."""

import json
import pathlib
import warnings

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from rdt_jax import config as configs
from rdt_jax.store import packs


def assert_same(actual, expected) -> None:
    """Fails unless two trees have equal leaves, bit for bit."""
    actual, expected = jax.device_get((actual, expected))
    named = jax.tree_util.tree_leaves_with_path(actual)
    leaves = jax.tree.leaves(expected)
    assert len(named) == len(leaves), f"{len(named)} leaves, not {len(leaves)}"
    for (path, left), right in zip(named, leaves, strict=True):
        name = jax.tree_util.keystr(path)
        left, right = np.asarray(left), np.asarray(right)
        assert (left.shape, left.dtype) == (right.shape, right.dtype), name
        assert left.tobytes() == right.tobytes(), name


def pack_name(pack) -> str:
    """Names the pack of some configs."""
    return packs.pack_of([configs.run_id(config) for config in pack])


def copy(tree):
    """Copies a tree to the host, since programs consume their state."""
    return jax.tree.map(lambda x: np.array(x), jax.device_get(tree))


def read_checkpoint(folder: pathlib.Path):
    """Reads the arrays and the extra value of a checkpoint folder, by orbax alone."""
    extra = json.loads((folder / "extra.json").read_text())
    with warnings.catch_warnings():  # That the shapes come from the folder itself.
        warnings.simplefilter("ignore", UserWarning)
        return ocp.load(folder.absolute() / "state"), extra


def assert_same_checkpoint(actual: pathlib.Path, expected: pathlib.Path) -> None:
    """Fails unless two checkpoint folders hold the same arrays and extra value."""
    (left, left_extra), (right, right_extra) = map(read_checkpoint, (actual, expected))
    assert jax.tree.structure(left) == jax.tree.structure(right), actual
    assert left_extra == right_extra, f"{actual}: {left_extra}, not {right_extra}"
    try:
        assert_same(left, right)
    except AssertionError as error:
        raise AssertionError(f"{actual} is not {expected}: {error}") from None


def assert_same_runs(actual: pathlib.Path, expected: pathlib.Path) -> None:
    """Fails unless two workdirs hold the same runs, clocks and file names aside."""
    folders = sorted(path.parent.name for path in expected.glob("*/config.json"))
    assert folders
    assert folders == sorted(p.parent.name for p in actual.glob("*/config.json"))
    for folder in folders:
        assert_same_run(actual / folder, expected / folder)
    for pack in (expected / "packs").iterdir():
        name = f"packs/{pack.name}/checkpoints"
        kept = sorted(p.name for p in (expected / name).iterdir())
        found = sorted(
            p.name for p in (actual / name).iterdir() if p.suffix != ".damaged"
        )
        assert found == kept, f"{actual / name} holds {found}, not {kept}"
        newest = max(kept, key=int)
        assert_same_checkpoint(actual / name / newest, expected / name / newest)


def assert_same_run(actual: pathlib.Path, expected: pathlib.Path) -> None:
    """Fails unless two run folders hold the same run, clocks and file names aside."""
    names = [sorted(path.name for path in f.iterdir()) for f in (actual, expected)]
    assert names[0] == names[1], f"{actual} holds {names[0]}, not {names[1]}"
    for name in ("config.json", "metrics.jsonl", "events.jsonl"):
        left, right = actual / name, expected / name
        assert left.read_bytes() == right.read_bytes(), f"{left} is not {right}"
    for name, clocks in (
        ("status.json", {"updates_per_second"}),
        ("environment.json", {"segments"}),
    ):
        left, right = (json.loads((f / name).read_text()) for f in (actual, expected))
        if name == "environment.json":  # The code is perhaps at work.
            own = {"step": 0, "commit": None, "code": None}
            ends = [each["segments"][-1] | own for each in (left, right)]
            assert ends[0] == ends[1], f"{actual / name} says {left}, not {right}"
        for clock in clocks:
            del left[clock], right[clock]
        assert left == right, f"{actual / name} says {left}, not {right}"
    steps = [
        [
            json.loads(row)["step"]
            for row in (f / "timing.jsonl").read_text().split("\n")[:-1]
        ]
        for f in (actual, expected)
    ]
    assert steps[0] == steps[1], f"{actual / 'timing.jsonl'} has rows of {steps[0]}"
    left, right = (f / "transitions" for f in (actual, expected))
    pins = sorted(path.name for path in right.iterdir())
    assert pins == sorted(path.name for path in left.iterdir()), left
    for name in pins:
        assert_same_checkpoint(left / name, right / name)
