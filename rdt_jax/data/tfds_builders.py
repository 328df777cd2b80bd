"""Every task as a tensorflow-datasets builder, and reading it back; no TensorFlow.

Importing this module registers `rdt_<task>` for every task. Its configs are the presets
of `configs/<task>.py` and, if the task has an argument `variant`, its choices
(VARIANT_CHOICES beside its function) with the other arguments of its most faithful
preset; a task without presets whose arguments all have a value has `default`.

The splits are those of the table. A record holds up to ROWS_PER_RECORD rows, since the
cost of reading is per record: the arrays of a Table, and `columns` with what is one
number in a row, named by the metadata `columns`. The last number of a builder's version
is of `identity.hash_code`: what other code of the task has prepared is not read.

    import rdt_jax.data.tfds_builders
    rows = tfds.data_source("rdt_modular/cpu", data_dir="tables")["train"]
    rows[0]["tokens"]  # int32 [up to ROWS_PER_RECORD, T]
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import io
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_collections
import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from rdt_jax import machine, tasks
from rdt_jax.tasks import SPLITS, Certificate, Table, arguments, identity, in_files

ROWS_PER_RECORD = 1024
FAITHFUL = ("paper", "paper_code", "cpu_long", "cpu", "smoke")  # best first
MANIFEST = "manifest.json"  # file -> SHA-256; written last: with it, a table is whole
ARRAYS = ("tokens", "answer_positions", "targets")


def load_table(
    config: ml_collections.ConfigDict,
    cache: pathlib.Path,
    log: Callable[[str], None] = lambda message: None,
) -> Table:
    """Reads the table of a run's checked `task` section, after preparing it if need be.

    An entry of the `cache`, which any number of processes share, that is not what was
    written is reported to `log`, removed, and prepared again. Where files cannot be
    locked the table is made and not kept; nor is that of a function in a file, of which
    nobody knows what it imports and reads. OSError if the cache cannot be written.
    """
    if in_files.is_file(config.task.name):
        return tasks.make_table(config)
    kwargs = arguments.of_section(config.task)
    name = hashlib.sha256(json.dumps(kwargs, sort_keys=True).encode()).hexdigest()[:12]
    entry = _table_config(name, tasks.lookup(config.task.name), kwargs)
    of_task = builder_class(config.task.name)
    folder = cache / of_task.name / entry.name / str(entry.version)
    proof = folder / MANIFEST  # Without it, preparing was interrupted.
    damaged = proof.exists() and _damage(folder)
    if damaged or not proof.exists():
        cache.mkdir(parents=True, exist_ok=True)
        if not machine.can_lock(cache):
            return tasks.make_table(config)
    if damaged:
        with _alone(folder.parents[1]):  # Another process may have prepared it again.
            if proof.exists() and (damage := _damage(folder)):
                log(f"A prepared table is damaged and made again: {damage}")
                shutil.rmtree(folder)
    with _quiet():  # tfds would warn that it has no such preset.
        builder = of_task(config=entry, data_dir=cache)
    if not proof.exists():
        tfds.disable_progress_bar()  # The terminal shows how the training goes.
        builder.download_and_prepare()
    return read_table(builder)


def read_table(builder: tfds.core.DatasetBuilder) -> Table:
    """Reads a prepared builder's table, equal in every field to what it was given."""
    metadata = builder.info.metadata
    arrays: dict[str, np.ndarray] = {}
    for split in builder.info.splits:
        source = builder.as_data_source(split)
        for record in source:
            rows = record["columns"][:, 0]
            record["split"] = np.int8(SPLITS.index(split))
            for name, values in record.items():
                if name not in arrays:
                    shape = (metadata["num_rows"], *values.shape[1:])
                    arrays[name] = np.empty(shape, values.dtype)
                arrays[name][rows] = values
    _, repeats, *tags = (np.ascontiguousarray(c) for c in arrays.pop("columns").T)
    return Table(
        **arrays,
        repeats=repeats,
        tags=dict(zip(metadata["columns"][2:], tags, strict=True)),
        tag_names={n: tuple(words) for n, words in metadata["tag_names"].items()},
        vocab=tuple(metadata["vocab"]),
        certificate=Certificate(**metadata["certificate"]),
    )


@dataclasses.dataclass(eq=False)
class _TableConfig(tfds.core.BuilderConfig):
    """A name for the arguments of a task, seed included."""

    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _table_config(name: str, function, kwargs: Mapping[str, Any]) -> _TableConfig:
    code = int(identity.hash_code(function, kwargs)[:8], 16)
    return _TableConfig(name=name, version=f"1.0.{code}", kwargs=kwargs)


def _configs(task: str) -> list[_TableConfig]:
    function = tasks.lookup(task)
    choices = arguments.of_presets(task)
    values = arguments.defaults(function)
    kwargs = {name: value for name, value in values.items() if name != "seed"}
    if not choices and not arguments.problems(function, kwargs):
        choices["default"] = values
    if "variant" in arguments.parameters(function):
        best = next((choices[name] for name in FAITHFUL if name in choices), values)
        for variant in sys.modules[function.__module__].VARIANT_CHOICES:
            choices.setdefault(variant, best | {"variant": variant})
    return [_table_config(name, function, kwargs) for name, kwargs in choices.items()]


@functools.cache
def builder_class(task: str) -> type[tfds.core.GeneratorBasedBuilder]:
    """Returns the builder of a task, which tfds knows from then on."""

    class Builder(tfds.core.GeneratorBasedBuilder):
        name = f"rdt_{task}"
        __doc__ = tasks.lookup(task).__doc__
        code_path = None  # tfds looks for the checksums of downloads beside it.

        @tfds.core.utils.classproperty
        @classmethod
        @functools.cache
        def BUILDER_CONFIGS(cls) -> list[_TableConfig]:
            return _configs(task)  # When first asked for: it reads a config file.

        def __init__(self, *, file_format="array_record", **kwargs):
            super().__init__(file_format=file_format, **kwargs)

        def download_and_prepare(self, **kwargs) -> None:
            """Prepares the table unless it is prepared, one process at a time."""
            folder = pathlib.Path(self.data_dir)
            with _alone(folder.parents[1]):
                for unfinished in folder.parents[1].glob("*/incomplete.*"):
                    shutil.rmtree(unfinished)
                if folder.exists() and not (folder / MANIFEST).exists():
                    shutil.rmtree(folder)  # Interrupted before its manifest.
                if not folder.exists():
                    # Nothing is downloaded, and nothing of it is announced.
                    with (
                        tempfile.TemporaryDirectory() as downloads,
                        contextlib.redirect_stdout(io.StringIO()),
                    ):
                        super().download_and_prepare(download_dir=downloads, **kwargs)
                    _prove(folder)
            self.info.read_from_directory(folder)  # Another process may have made it.

        def _info(self) -> tfds.core.DatasetInfo:
            matrix = tfds.features.Tensor(
                shape=(None, None), dtype=np.int32, encoding="bytes"
            )
            info = tfds.core.DatasetInfo(
                builder=self,
                disable_shuffling=True,
                metadata=tfds.core.MetadataDict(),
                features=tfds.features.FeaturesDict(
                    dict.fromkeys((*ARRAYS, "columns"), matrix)
                ),
            )
            # It is not published anywhere; asking would leave a temporary folder.
            info.initialize_from_bucket = lambda: None
            return info

        def _split_generators(self, dl_manager):
            del dl_manager  # Nothing is downloaded.
            kwargs = dict(self.builder_config.kwargs)
            table = tasks.table_of(task, kwargs.pop("seed"), kwargs)
            self.info.metadata.update(
                task=task,
                kwargs=dict(self.builder_config.kwargs),
                num_rows=len(table.tokens),
                columns=["row", "repeats", *table.tags],
                tag_names=dict(table.tag_names),
                vocab=table.vocab,
                certificate=dataclasses.asdict(table.certificate),
            )
            return {
                split: self._generate_examples(table, table.rows_of(split))
                for split in SPLITS
                if table.rows_of(split).size
            }

        def _generate_examples(self, table, rows):
            columns = np.stack([table.repeats, *table.tags.values()], axis=1)
            for index in range(0, len(rows), ROWS_PER_RECORD):
                chunk = rows[index : index + ROWS_PER_RECORD].astype(np.int32)
                record = {name: getattr(table, name)[chunk] for name in ARRAYS}
                record["columns"] = np.column_stack([chunk, columns[chunk]])
                yield index, record

    return Builder


def _prove(folder: pathlib.Path) -> None:
    hashes = {path.name: hash_file(path) for path in sorted(folder.iterdir())}
    part = (folder / MANIFEST).with_suffix(".part")
    part.write_text(json.dumps(hashes, indent=2))
    part.rename(folder / MANIFEST)


def hash_file(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _damage(folder: pathlib.Path) -> str | None:
    """Says what is wrong with a prepared table; files of others do not matter."""
    try:
        proven = json.loads((folder / MANIFEST).read_text())
        differs = [name for name in proven if hash_file(folder / name) != proven[name]]
    except (OSError, ValueError, TypeError) as error:
        return f"{folder / MANIFEST} or a file that it names cannot be read ({error})."
    if differs or not proven:
        return f"the files in {folder} are not those of {MANIFEST}."
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
    """Holds the lock of a folder; waits for a process that does, and leaves no file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    while True:
        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        # The holder before removes the file, so the locked one may be gone: try again.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()
    try:
        yield
    finally:
        path.unlink()
        file.close()


for _task in tasks.TASKS:
    builder_class(_task)
