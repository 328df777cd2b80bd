"""The hash of arrays sees every change of them; that of sources, every other file."""

import dataclasses
import types

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.tasks import identity


@pytest.fixture
def table(tiny_table):
    return tiny_table


def _changed(values):
    other = np.array(values)
    other.flat[-1] = 1 if other.flat[-1] != 1 else 2
    return other


@pytest.mark.parametrize("name", identity.ARRAYS)
def test_a_changed_number_changes_the_hash(table, name):
    other = dataclasses.replace(table, **{name: _changed(getattr(table, name))})
    assert identity.hash_arrays(other) != identity.hash_arrays(table)


def test_tags_and_words_count(table):
    seen = {identity.hash_arrays(table)}
    tags = dict(table.tags)
    pattern = tags.pop("pattern")
    for fields in (
        {"tags": tags, "tag_names": {}},
        {"tags": tags | {"pattern": _changed(pattern)}},
        {"tags": table.tags | {"patterns": pattern}},
        {"tag_names": {}},
        {"vocab": (*table.vocab[:-1], "other")},
    ):
        seen.add(identity.hash_arrays(dataclasses.replace(table, **fields)))
    assert len(seen) == 6


def test_shape_type_and_order_count_but_not_the_layout_in_memory(table):
    tokens = table.tokens
    seen = identity.hash_arrays(table)
    same = dataclasses.replace(table, tokens=np.asfortranarray(tokens))
    assert identity.hash_arrays(same) == seen
    # As on another machine, and as a table refuses them.
    changed = lambda other: types.SimpleNamespace(**vars(table) | {"tokens": other})
    swapped = changed(tokens.astype(tokens.dtype.newbyteorder(">")))
    assert identity.hash_arrays(swapped) == seen
    for other in (tokens.astype(np.int64), np.pad(tokens, ((0, 0), (0, 1)))):
        assert identity.hash_arrays(changed(other)) != seen


def test_the_certificate_does_not_count(table):
    certificate = dataclasses.replace(table.certificate, held_out="nothing.")
    other = dataclasses.replace(table, certificate=certificate)
    assert identity.hash_arrays(other) == identity.hash_arrays(table)


def test_sources_of_the_repository():
    paths = {path.name for path in identity.sources("rdt_jax.tasks.modular")}
    assert {"base.py", "modular.py", "knowledge.py", "__init__.py"} <= paths
    modular, depth = tasks.BUILT_IN["modular"], tasks.BUILT_IN["knowledge_depth"]
    seen = identity.hash_sources(modular, {})
    assert seen == identity.hash_sources(depth, {"phi": 3})
    assert seen == identity.hash_sources(modular, {})


def test_the_source_of_an_installed_task_counts(install):
    path = install()
    function = tasks.lookup("toy")
    before = identity.hash_sources(function, {})
    assert before != identity.hash_sources(tasks.BUILT_IN["modular"], {})
    path.write_text(path.read_text() + "\n# Another line.\n")
    assert identity.hash_sources(function, {}) != before


def test_the_version_of_numpy_counts(monkeypatch):
    function = tasks.BUILT_IN["modular"]
    before = identity.hash_sources(function, {})
    monkeypatch.setattr(np, "__version__", "9.9")
    assert identity.hash_sources(function, {}) != before


def test_the_content_of_a_path_counts(tmp_path):
    function = tasks.BUILT_IN["modular"]
    path = tmp_path
    hash_now = lambda: identity.hash_sources(function, {"path": str(path)})
    seen = [hash_now()]
    (tmp_path / "train.json").write_text("[1]")
    seen.append(hash_now())
    (tmp_path / "train.json").write_text("[2]")
    seen.append(hash_now())
    (tmp_path / "train.json").rename(tmp_path / "test.json")
    seen.append(hash_now())
    path = tmp_path / "test.json"  # A file alone.
    assert hash_now() == seen[-1]
    path.write_text("[3]")
    seen.append(hash_now())
    assert len(set(seen)) == 5
    assert identity.hash_sources(function, {"path": None}) == seen[0]
