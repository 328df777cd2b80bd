"""The hash of arrays sees every change of them; that of code, versions and files."""

import dataclasses
import inspect
import types

import numpy as np
import pytest

from rdt_jax import tasks
from rdt_jax.tasks import base, depths, identity, modular, nesting, splits


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


def test_the_version_of_a_module_of_ours_counts_and_not_its_source(monkeypatch):
    own, other = tasks.BUILT_IN["modular"], tasks.BUILT_IN["scan"]
    before = identity.hash_code(own, {}), identity.hash_code(other, {})
    assert before[0] != before[1]
    monkeypatch.setattr(modular, "VERSION", modular.VERSION + 1)
    assert identity.hash_code(own, {}) != before[0]
    assert identity.hash_code(other, {}) == before[1]


@pytest.mark.parametrize("name", tasks.BUILT_IN)
def test_every_task_of_ours_has_a_version(name):
    assert type(inspect.getmodule(tasks.BUILT_IN[name]).VERSION) is int


def test_the_source_of_an_installed_task_counts(install):
    path = install()
    function = tasks.lookup("toy")
    before = identity.hash_code(function, {})
    path.write_text(path.read_text() + "\n# Another line.\n")
    assert identity.hash_code(function, {}) != before


@pytest.mark.parametrize("helper", [base, splits, depths, nesting, modular])
def test_what_an_installed_task_may_build_on_counts(install, monkeypatch, helper):
    install()
    function, own = tasks.lookup("toy"), tasks.BUILT_IN["dyck"]
    before = identity.hash_code(function, {}), identity.hash_code(own, {})
    assert before[0] == identity.hash_code(function, {})
    monkeypatch.setattr(helper, "VERSION", helper.VERSION + 1)
    assert identity.hash_code(function, {}) != before[0]
    # Of tasks of ours the hashes of their tables say that their VERSION is another.
    assert identity.hash_code(own, {}) == before[1]


def test_the_version_of_numpy_counts(monkeypatch):
    function = tasks.BUILT_IN["modular"]
    before = identity.hash_code(function, {})
    monkeypatch.setattr(np, "__version__", "9.9")
    assert identity.hash_code(function, {}) != before


def test_the_content_of_a_path_counts(tmp_path):
    function = tasks.BUILT_IN["modular"]
    path = tmp_path
    hash_now = lambda: identity.hash_code(function, {"path": str(path)})
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
    assert identity.hash_code(function, {"path": None}) == seen[0]
