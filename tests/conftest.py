"""JAX settings of the test session, and the toy run that many tests share.

Tests that measure bits, memory, cost or collectives start a subprocess without these
settings.
"""

import functools
import os
import pathlib
import tempfile

import jax
import ml_collections
import pytest

from rdt_jax import cli, tasks
from rdt_jax import config as configs
from tests import packages

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_disable_most_optimizations", True)  # Halves compile time.

# One cache for all workers and all commands that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory(prefix="rdt-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAPS = pathlib.Path("/proc/self/maps")


# Files of half a minute and more come first, the longest foremost, so that workers that
# share the files end together.
LONG = (
    "chaos/test_chaos.py", "training/test_golden.py", "training/test_session.py",
    "training/test_curriculum.py", "training/test_mesh.py", "training/test_recipes.py",
    "test_adding_a_task.py", "models/test_combinations.py", "models/test_recurrent.py",
    "test_configs.py", "profile/test_memory.py", "test_cli.py",
    "test_adding_a_study.py", "training/test_run_interrupted.py",
    "training/test_budget.py", "sweep/test_engines_conformance.py",
    "cli/test_supervisor.py", "training/test_packing.py", "analysis/test_stability.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path, len(LONG)))


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Frees what was compiled, before it is too much for one process.

    Each program maps memory several times; where a process runs into the limit of the
    system (`vm.max_map_count`, 65,530), LLVM crashes.
    """
    yield
    if not MAPS.exists() or MAPS.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def tiny_config() -> ml_collections.ConfigDict:
    """The smoke preset at toy size: the smallest run that passes every check."""
    smoke = configs.load(f"{ROOT}/configs/knowledge_composition.py:smoke")
    return configs.override(
        smoke,
        {
            "num_steps": 6,
            "eval_every_steps": 2,
            "checkpoint_every_steps": 4,
            "batch_size": 13,
            "task.kwargs.num_entities": 11,
            "task.kwargs.num_relations": 5,
            "task.kwargs.out_degree": 3,
            "task.kwargs.phi": 1.5,
            "task.kwargs.atomic_repeats": 2,
            "model.width": 14,
            "model.num_heads": 2,
            "model.core_blocks": 1,
            "optimizer.warmup_steps": 2,
        },
    )


@pytest.fixture(scope="session")
def tiny_table(tiny_config: ml_collections.ConfigDict) -> tasks.Table:
    """The table of `tiny_config`."""
    return tasks.make_table(tiny_config)


@pytest.fixture
def command(capsys):
    """Runs a command here, which ends with a code; returns what was said until then."""

    def command(words, code=0):
        assert cli.main(words) == code
        return capsys.readouterr()

    return command


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package for a test: `packages.install` into a folder of its own."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield functools.partial(packages.install, folder)
    monkeypatch.undo()
    packages.forget()
