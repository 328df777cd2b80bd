"""The private names of other packages: in one file, and missed with a clear message."""

import ast
import re

import jax
import pytest

from rdt_jax import borrowed
from tests.conftest import ROOT

PACKAGES = "jax|jnp|orbax|ocp|tfds|flax|nn|optax|chex|ml_collections|config_dict"


def private_names(source):
    """Modules and attributes of other packages that begin with an underscore."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and "._" in f".{node.module or ''}":
            found.append(node.module)
        if isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*", node.attr):
            owner = ast.unparse(node.value)
            if re.match(rf"({PACKAGES})\b", owner) and not owner.startswith("self"):
                found.append(f"{owner}.{node.attr}")
    return found


def test_they_stand_in_one_file():
    for path in (ROOT / "rdt_jax").rglob("*.py"):
        if path.name != "borrowed.py":
            assert private_names(path.read_text()) == [], path


def test_planted_ones_are_seen():
    source = "from jax._src import core\nimport jax\nx = jax.jit._hidden\ny = ours._z"
    assert private_names(source) == ["jax._src", "jax.jit._hidden"]


def test_they_are_there_and_do_what_they_are_for():
    double = jax.jit(lambda x: 2 * x)
    assert borrowed.num_compiled(double) == 0
    double(1.0)
    assert borrowed.num_compiled(double) == 1
    assert borrowed.distributed_state().client is None  # One process.


def test_one_that_is_gone_is_named_with_the_versions_that_have_it(monkeypatch):
    from jax._src import distributed

    monkeypatch.delattr(distributed, "global_state")
    with pytest.raises(
        RuntimeError, match=r"jax .* has no jax\._src\.distributed\.glo"
    ):
        borrowed.distributed_state()
    with pytest.raises(RuntimeError, match="jax .* has no _cache_size of a jitted"):
        borrowed.num_compiled(lambda: None)
