"""Bitwise comparison of trees, and reading checkpoints without the library."""

import json
import pathlib
import warnings

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp


def assert_same(actual, expected) -> None:
    """Fails unless two trees have equal leaves, bit for bit."""
    actual, expected = jax.device_get((actual, expected))
    named = jax.tree_util.tree_leaves_with_path(actual)
    leaves = jax.tree.leaves(expected)
    assert len(named) == len(leaves)
    for (path, left), right in zip(named, leaves, strict=True):
        name = jax.tree_util.keystr(path)
        left, right = np.asarray(left), np.asarray(right)
        assert (left.shape, left.dtype) == (right.shape, right.dtype), name
        assert left.tobytes() == right.tobytes(), name


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
    assert jax.tree.structure(left) == jax.tree.structure(right)
    assert_same(left, right)
    assert left_extra == right_extra


def assert_same_runs(actual: pathlib.Path, expected: pathlib.Path) -> None:
    """Fails unless two workdirs hold the same runs, clocks and file names aside."""
    folders = sorted(path.parent.name for path in expected.glob("*/config.json"))
    assert folders
    assert folders == sorted(p.parent.name for p in actual.glob("*/config.json"))
    for folder in folders:
        for name in ("config.json", "metrics.jsonl", "events.jsonl"):
            left, right = (w / folder / name for w in (actual, expected))
            assert left.read_bytes() == right.read_bytes(), left
        left, right = (w / folder / "transitions" for w in (actual, expected))
        names = sorted(path.name for path in right.iterdir())
        assert names == sorted(path.name for path in left.iterdir())
        for name in names:
            assert_same_checkpoint(left / name, right / name)
    for pack in (expected / "packs").iterdir():
        name = f"packs/{pack.name}/checkpoints"
        newest = max(int(p.name) for p in (expected / name).iterdir())
        assert newest == max(
            int(p.name) for p in (actual / name).iterdir() if p.name.isdigit()
        )
        assert_same_checkpoint(
            actual / name / str(newest), expected / name / str(newest)
        )
