"""Builders of all tasks: found by tfds, equal when read back, whole after any kill."""

import errno
import fcntl
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.data import tfds_builders
from rdt_jax.tasks import arguments, identity, presets
from tests.conftest import ROOT
from tests.tasks import examples

SPEC = f"{ROOT}/configs/knowledge_composition.py:smoke"  # Four splits and two tags.


@pytest.fixture(scope="module")
def config():
    return configs.load(SPEC)


@pytest.fixture(scope="module")
def prepared(config, tmp_path_factory):
    """A cache that was prepared without any interruption."""
    cache = tmp_path_factory.mktemp("cache")
    tfds_builders.load_table(config, cache)
    return cache


def _assert_equal(table, expected):
    for name in identity.ARRAYS:
        values, wanted = getattr(table, name), getattr(expected, name)
        np.testing.assert_array_equal(values, wanted, err_msg=name, strict=True)
    assert list(table.tags) == list(expected.tags)
    for name, wanted in expected.tags.items():
        np.testing.assert_array_equal(table.tags[name], wanted, name, strict=True)
    assert table.tag_names == expected.tag_names
    assert table.vocab == expected.vocab
    assert table.certificate == expected.certificate
    assert identity.hash_arrays(table) == identity.hash_arrays(expected)


def _files(folder):
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def _folders(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_dir())


def _entry(cache):
    (manifest,) = cache.rglob(tfds_builders.MANIFEST)
    return manifest.parent


def _child(code, *arguments):
    """Starts Python with `load(cache)`, which prints the hash of what it has read."""
    start = f"""
import os, pathlib, signal, sys, time
from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.data import tfds_builders
from rdt_jax.tasks import identity

def load(cache):
    table = tfds_builders.load_table(configs.load({SPEC!r}), pathlib.Path(cache))
    print(identity.hash_arrays(table))

kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", start + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_tfds_finds_every_task_and_preset(tmp_path):
    for task in tasks.TASKS:
        name = f"rdt_{task}"
        presets = arguments.of_presets(task)
        assert set(presets) <= set(tfds.builder_cls(name).builder_configs)
        for preset, kwargs in presets.items():
            builder = tfds.builder(f"{name}/{preset}", data_dir=tmp_path)
            assert builder.builder_config.kwargs == kwargs
            assert builder.info.full_name.startswith(f"{name}/{preset}/1.0.")
    assert list(tmp_path.iterdir()) == []  # Nothing is made before it is asked for.


def test_variants_of_scan_are_found(tmp_path):
    builder = tfds.builder("rdt_scan/length", data_dir=tmp_path)
    assert builder.builder_config.kwargs == {"seed": 0, "variant": "length"}
    assert len(tfds.builder_cls("rdt_scan").builder_configs) == 4 + 12


def test_a_data_source_holds_the_rows_of_each_split(tmp_path, config):
    sources = tfds.data_source("rdt_knowledge_composition/smoke", data_dir=tmp_path)
    table = tasks.make_table(config)
    parts = [split for split in tasks.SPLITS if table.rows_of(split).size]
    assert list(sources) == parts
    for split, source in sources.items():
        (record,) = source  # Fewer rows than one record holds.
        rows = table.rows_of(split)
        assert set(record) == {"tokens", "answer_positions", "targets", "columns"}
        for name in ("tokens", "answer_positions", "targets"):
            np.testing.assert_array_equal(record[name], getattr(table, name)[rows])
        columns = [rows, table.repeats[rows], *(t[rows] for t in table.tags.values())]
        np.testing.assert_array_equal(record["columns"], np.stack(columns, 1))
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("task", tasks.BUILT_IN)
def test_what_is_read_equals_what_was_made(task, tmp_path, monkeypatch):
    config = examples.smoke(task)
    monkeypatch.setattr(tfds_builders, "ROWS_PER_RECORD", 17)  # More than one record.
    _assert_equal(tfds_builders.load_table(config, tmp_path), tasks.make_table(config))


def test_a_prepared_table_is_not_made_again(config, prepared, monkeypatch):
    expected = tasks.make_table(config)
    before = {p: p.stat().st_mtime_ns for p in prepared.rglob("*")}
    monkeypatch.setattr(tasks, "table_of", None)
    reports = []
    table = tfds_builders.load_table(config, prepared, reports.append)
    _assert_equal(table, expected)
    assert reports == []
    assert {p: p.stat().st_mtime_ns for p in prepared.rglob("*")} == before


def test_two_processes_prepare_equal_tables(config, prepared, tmp_path):
    """Of equal names; within a file the order of a record's features may differ."""
    child = _child("load(sys.argv[1]); print('tensorflow' in sys.modules)", tmp_path)
    out, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert (out.split()[1], errors) == ("False", "")  # Nothing else is printed.
    assert _files(tmp_path).keys() == _files(prepared).keys()
    tables = [tfds_builders.load_table(config, cache) for cache in (tmp_path, prepared)]
    _assert_equal(*tables)


def test_two_processes_at_once(prepared, tmp_path):
    # One row per record makes it last, so that the two of them meet.
    code = """
tfds_builders.ROWS_PER_RECORD = 1
pathlib.Path(sys.argv[2]).touch()
while not os.path.exists(sys.argv[3]):
    time.sleep(0.001)
load(sys.argv[1])
"""
    cache, go = tmp_path / "cache", tmp_path / "go"
    ready = [tmp_path / "ready0", tmp_path / "ready1"]
    children = [_child(code, cache, path, go) for path in ready]
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in ready):
        assert time.monotonic() < deadline and all(c.poll() is None for c in children)
        time.sleep(0.01)
    go.touch()
    ends = [child.communicate(timeout=60) for child in children]
    expected = identity.hash_arrays(tasks.make_table(configs.load(SPEC)))
    for child, (out, errors) in zip(children, ends, strict=True):
        assert (child.returncode, out.strip()) == (0, expected), errors
    assert sorted(_files(cache)) == sorted(_files(prepared))
    assert _folders(cache) == _folders(prepared)


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("tasks.table_of = kill", "incomplete."),
        ("tfds_builders.ARRAYS += ('gone',)\nsys.excepthook = kill", ".lock"),
        ("tfds_builders.hash_file = kill", "dataset_info.json"),
        ("pathlib.Path.rename = kill", "manifest.part"),
    ],
    ids=["making", "error", "unproven", "proving"],
)
def test_a_killed_prepare_leaves_nothing_behind(moment, left, prepared, tmp_path):
    # The killed one is another table, as it would be in a sweep with one task.
    code = f"{moment}\nload(sys.argv[1])\n"
    child = _child(code, tmp_path)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    if left != ".lock":
        assert any(path.name.startswith(left) for path in tmp_path.rglob("*"))
        assert list(tmp_path.rglob(".lock"))
    table = tfds_builders.load_table(configs.load(SPEC), tmp_path)
    _assert_equal(table, tasks.make_table(configs.load(SPEC)))
    assert _files(tmp_path) == _files(prepared)
    assert _folders(tmp_path) == _folders(prepared)


def test_an_unproven_table_is_prepared_again_by_its_builder(tmp_path):
    builder = tfds.builder("rdt_modular/smoke", data_dir=tmp_path)
    builder.download_and_prepare()
    before = _files(tmp_path)
    (_entry(tmp_path) / tfds_builders.MANIFEST).unlink()
    again = tfds.builder("rdt_modular/smoke", data_dir=tmp_path)
    again.download_and_prepare()
    assert _files(tmp_path) == before
    config = configs.load(f"{ROOT}/configs/modular.py:smoke")
    _assert_equal(tfds_builders.read_table(again), tasks.make_table(config))


def test_an_unproven_table_is_unfinished_and_no_damage(config, prepared, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(prepared, cache)
    (_entry(cache) / tfds_builders.MANIFEST).unlink()
    reports: list[str] = []
    table = tfds_builders.load_table(config, cache, reports.append)
    _assert_equal(table, tasks.make_table(config))
    assert _files(cache) == _files(prepared) and not reports


def test_another_table_clears_up_too(config, tmp_path):
    child = _child("tasks.table_of = kill\nload(sys.argv[1])\n", tmp_path)
    child.communicate(timeout=60)
    assert list(tmp_path.rglob("incomplete.*"))
    other = configs.override(config, {"task.seed": 1})
    tfds_builders.load_table(other, tmp_path)
    assert not list(tmp_path.rglob("incomplete.*"))


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _edit(path):
    path.write_text(path.read_text().replace("entity_1", "entity_X"))


DAMAGE = {
    "*train.array_record*": [_flip, pathlib.Path.unlink],
    "metadata.json": [_edit, pathlib.Path.unlink],
    "dataset_info.json": [lambda path: path.write_text("{"), pathlib.Path.unlink],
    "manifest.json": [_flip, lambda p: p.write_text("[]"), lambda p: p.write_text("")],
}


@pytest.mark.parametrize(
    ("pattern", "harm"), [(p, h) for p, harms in DAMAGE.items() for h in harms]
)
def test_a_damaged_entry_is_reported_and_made_again(
    pattern, harm, config, prepared, tmp_path
):
    cache = tmp_path / "cache"
    shutil.copytree(prepared, cache)
    (path,) = _entry(cache).glob(pattern)
    harm(path)
    reports = []
    table = tfds_builders.load_table(config, cache, reports.append)
    _assert_equal(table, tasks.make_table(config))
    (report,) = reports
    assert report.startswith("A prepared table is damaged and made again: ")
    assert _files(cache) == _files(prepared)


def test_without_locks_a_table_is_made_and_not_kept(
    config, prepared, tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    table = tfds_builders.load_table(config, tmp_path / "cache")
    _assert_equal(table, tasks.make_table(config))
    assert not list((tmp_path / "cache").iterdir())
    # One that is there is read: that needs no lock.
    monkeypatch.setattr(tasks, "make_table", None)
    _assert_equal(tfds_builders.load_table(config, prepared), table)


def test_files_of_others_in_an_entry_do_not_matter(config, prepared, tmp_path):
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    (_entry(tmp_path) / ".DS_Store").write_bytes(b"of somebody else")
    (_entry(tmp_path) / "notes").mkdir()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    tfds_builders.load_table(config, tmp_path, pytest.fail)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_a_changed_generator_never_reads_a_stale_table(config, prepared, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(prepared, cache)
    first = _entry(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "hash_code", lambda *_: "0000000a" + 56 * "0")
        tfds_builders.load_table(config, cache)
    entries = {path.parent for path in cache.rglob(tfds_builders.MANIFEST)}
    assert entries == {first, first.parent / "1.0.10"}


def test_seed_arguments_and_task_have_entries_of_their_own(config, tmp_path):
    for overrides in ({}, {"task.seed": 1}, {"task.kwargs.phi": 2.0}, {"seed": 7}):
        changed = configs.override(config, overrides)
        table = tfds_builders.load_table(changed, tmp_path)
        _assert_equal(table, tasks.make_table(changed))
    assert len(list(tmp_path.rglob(tfds_builders.MANIFEST))) == 3  # A run's seed: none.


def test_metadata_says_what_the_table_is(config, prepared):
    metadata = json.loads((_entry(prepared) / "metadata.json").read_text())
    assert metadata["task"] == "knowledge_composition"
    assert metadata["kwargs"] == arguments.of_section(config.task)
    assert metadata["columns"] == ["row", "repeats", "hops", "pattern"]


VARIANTS = """
import numpy as np
from rdt_jax.tasks import modular

VARIANT_CHOICES = ("add", "subtract")

def choosy(*, seed: int, variant: str, modulus: int = 5):
    return modular.modular(
        seed=seed, operation=variant, modulus=modulus, train_fraction=0.5
    )
"""


def test_variants_are_configs(install, tmp_path):
    install(VARIANTS, "[rdt_jax.tasks]\nchoosy = toys_module:choosy\n")
    configs_of = {
        config.name: config.kwargs
        for config in tfds_builders.builder_class("choosy").BUILDER_CONFIGS
    }
    assert configs_of == {
        variant: {"seed": 0, "modulus": 5, "variant": variant}
        for variant in ("add", "subtract")
    }


def test_an_installed_task_has_a_config_if_its_arguments_have_values(install):
    install()
    (config,) = tfds_builders.builder_class("toy").BUILDER_CONFIGS
    assert (config.name, config.kwargs) == ("default", {"seed": 0, "size": 12})


def test_a_table_of_a_task_in_a_file_is_not_kept(tmp_path):
    path, cache = tmp_path / "Größer: 2.py", tmp_path / "cache"
    source = (
        "from rdt_jax.tasks import Row\n\ndef f():\n"
        "    for n in range(50):\n        yield Row(f'n{n}', 'v' + str(n % 7))\n"
    )
    config = functools.partial(presets.config_of, f"{path}:f", "smoke")
    path.write_text(source)
    first = tfds_builders.load_table(config(), cache)
    _assert_equal(tfds_builders.load_table(config(), cache), first)
    path.write_text(source.replace("% 7", "% 5"))
    second = tfds_builders.load_table(config(), cache)
    _assert_equal(second, tasks.make_table(config()))
    assert len(second.vocab) == len(first.vocab) - 2
    # What the function imports and reads may change as well, which nothing here sees.
    assert not cache.exists()
