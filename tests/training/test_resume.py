"""Kill -9 at random moments, start again: the result is that of a run left alone.

The runs are subprocesses without the test session's JAX settings. What is compared is
the last checkpoint, metrics, events and every pinned transition, to the bit.
"""

import os
import pathlib
import random
import subprocess
import sys
import time

import pytest

from rdt_jax import config as configs
from rdt_jax.training import loop, records
from tests.training import bits

_SCRIPT = """
import pathlib, sys
from rdt_jax import config
from rdt_jax.training import loop
workdir, file = map(pathlib.Path, sys.argv[1:])
print(loop.train([config.from_json(file.read_text())], workdir)[0]["state"])
"""
KILLS = 3
LIMIT = 300  # seconds for one process to get to its next evaluation, or to its end


@pytest.fixture(scope="module")
def config(toy):
    """Saves at every other evaluation, so that most of the time goes into saving."""
    often = {"eval_every_steps": 2, "checkpoint_every_steps": 4, "num_steps": 40}
    return toy(often)


@pytest.fixture(scope="module")
def start(config, root, tmp_path_factory):
    """Returns a function that starts a process training `config` in a workdir."""
    inputs = tmp_path_factory.mktemp("inputs")
    (inputs / "config.json").write_text(configs.to_json(config))
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(inputs / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    def start(workdir: pathlib.Path) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, workdir, inputs / "config.json"],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.mark.slow
def test_killed_at_random_moments(start, config, tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    finish(start(alone))
    moments = random.Random(20)
    # Of 21 evaluations; the last seven take longer than the delay.
    targets = sorted(moments.sample(range(2, 15), KILLS))
    metrics = killed / configs.run_id(config) / "metrics.jsonl"
    for number, target in enumerate(targets):
        before = metrics.stat().st_ino if number else None
        process = start(killed)
        wait_until(process, lambda b=before: exists_and_is_not(metrics, b))
        wait_until(process, lambda t=target: metrics.read_bytes().count(b"\n") >= t)
        if number == 0:
            with pytest.raises(BlockingIOError, match="Another process is training"):
                loop.train([config], killed)
        time.sleep(moments.uniform(0, 0.4))  # About one save.
        process.kill()
        assert process.wait(LIMIT) == -9, "it was done before the kill"
        process.communicate()
        assert records.read_status(metrics.parent)["state"] == "running"
    finish(start(killed))
    bits.assert_same_runs(killed, alone)


def finish(process) -> None:
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out.strip()) == (0, "done"), err
    assert "not bit-identical" not in err


def wait_until(process, happened) -> None:
    deadline = time.monotonic() + LIMIT
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.003)


def exists_and_is_not(path: pathlib.Path, inode: int | None) -> bool:
    # A resumed run replaces its records, cut back to the checkpoint it starts from.
    return path.exists() and path.stat().st_ino != inode
