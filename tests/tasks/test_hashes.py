"""No table of a named config or task changes unseen: the SHA-256 of its arrays is kept.

tests/test_configs.py makes the tables of presets and compares them with what is kept;
here are those of tasks without a config, with the arguments of their signatures. All
join by being there. `python -m tests.tasks.test_hashes` writes the hashes again, of the
names that it is given or of all, and refuses other rows of the same arguments without
another VERSION; a change is explained in its commit.
"""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest

from rdt_jax import config as configs
from rdt_jax import tasks
from rdt_jax.tasks import arguments, identity
from tests import pins
from tests.conftest import ROOT

PATH = ROOT / "tests" / "tasks" / "hashes.json"
KEPT = json.loads(PATH.read_text()) if PATH.exists() else {}
COMMAND = "\n    .venv/bin/python -m tests.tasks.test_hashes"
NAMES = {*configs.named_configs(), *tasks.BUILT_IN}


def sections(name: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Returns the task and its arguments of every preset that has a table here.

    Those that read a folder of the user's have none. Of a task without a config it is
    `default`, the arguments of its signature.
    """
    path = configs.named_configs().get(name)
    if path is None:
        function = tasks.lookup(name)
        reads_files = "path" in arguments.parameters(function)
        return {} if reads_files else {"default": (name, arguments.defaults(function))}
    sections = {
        preset: configs.load(f"{path}:{preset}").task
        for preset in configs.preset_names(path)
    }
    found = {p: (s.name, arguments.of_section(s)) for p, s in sections.items()}
    return {
        p: (n, kw) for p, (n, kw) in found.items() if kw.get("path", "") is not None
    }


def describe(section: tuple[str, dict[str, Any]], table: tasks.Table) -> dict[str, Any]:
    """Returns what hashes.json holds of the table of a section."""
    return {
        "arguments": _hash_arguments(section),
        "rows": len(table.tokens),
        "sha256": identity.hash_arrays(table),
        "version": sys.modules[tasks.lookup(section[0]).__module__].VERSION,
    }


def _hash_arguments(section: tuple[str, dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()[:12]


def check(name: str, preset: str, table: tasks.Table) -> None:
    """Compares a table with what is kept of it, if it is to be kept."""
    section = sections(name).get(preset)
    if section is None:
        return  # It reads a folder of the user's.
    kept = KEPT.get(name, {}).get(preset)
    assert kept, f"{name}:{preset} has no hash; take it in with{COMMAND} {name}"
    assert kept == describe(section, table), (
        f"The table of {name}:{preset} has changed. If that is meant, raise VERSION in "
        "the file of its task, and in base, splits, depths, nesting or words if they "
        "made the change, so that tables and runs of before are known as such, and "
        f"write the hashes again with{COMMAND} {name}"
    )


@pytest.mark.parametrize("name", sorted(NAMES - set(configs.named_configs())))
def test_the_arrays_of_a_task_without_a_config_are_those_kept(name):
    for preset, (task, kwargs) in sections(name).items():
        check(name, preset, tasks.lookup(task)(**kwargs))


def test_nothing_is_kept_of_what_is_gone():
    there = {name: set(sections(name)) for name in NAMES}
    gone = {
        f"{name}:{preset}"
        for name, presets in KEPT.items()
        for preset in presets
        if preset not in there.get(name, ())
    }
    assert not gone, f"There is no {gone} any more; forget them with{COMMAND}"


def _write(names: Sequence[str]) -> None:
    hashes = {name: kept for name, kept in KEPT.items() if name in NAMES}
    for name in names or sorted(NAMES):
        written: dict[str, dict[str, Any]] = {}
        done: dict[str, dict[str, Any]] = {}
        for preset, section in sections(name).items():
            start = time.perf_counter()
            key = json.dumps(section, sort_keys=True)
            task, kwargs = section
            if key not in done:
                done[key] = describe(section, tasks.lookup(task)(**kwargs))
            written[preset] = done[key]
            print(f"{name}:{preset} {time.perf_counter() - start:.2f} s")
        merged = pins.merged(KEPT.get(name, {}), written)
        hashes[name] = {preset: merged[preset] for preset in written}
    PATH.write_text(_text({name: kept for name, kept in hashes.items() if kept}))


def _text(hashes: dict[str, dict[str, Any]]) -> str:
    """Writes a line for each preset, so that a change of it is one of a line."""
    configs_of = [
        f" {json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(p)}: {json.dumps(r)}" for p, r in presets.items())
        + "\n }"
        for name, presets in sorted(hashes.items())
    ]
    return "{\n" + ",\n".join(configs_of) + "\n}\n"


if __name__ == "__main__":
    _write(sys.argv[1:])
