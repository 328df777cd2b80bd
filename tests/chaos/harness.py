"""Kills processes that train, lets them finish, and compares with one left alone."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from rdt_jax.store import files
from tests.chaos import cases, child
from tests.training import bits

ROOT = cases.ROOT
LIMIT = 600  # seconds for one process
TIME = "time"
_ATTEMPTS = 20  # to draw a moment that is not after the end of its process
# Inside these functions the process is for a while where no moment is.
_LASTING = ("saving", "pinning", "evaluating", "training", "restoring")
_comparing = threading.Lock()  # JAX and the filter of warnings are the process's own.


class Kill(NamedTuple):
    """When to kill a process."""

    kind: str  # of the moment (child.py), or TIME
    number: int  # of the moment, from 1; 0 with TIME
    delay: float  # seconds after it, or after the process's start

    def __str__(self) -> str:
        delay = f"+{self.delay:.6f}" if self.delay else ""
        return f"{self.kind}:{self.number}{delay}"


class Alone(NamedTuple):
    """A case, trained by a process that was left alone."""

    case: str  # a name of CASES
    workdir: pathlib.Path  # what it wrote
    settings: dict[str, str]  # environment variables of its processes
    counts: dict[str, int]  # moments it saw, by kind
    seconds: dict[str, float]  # typical time inside a function, by kind
    lasted: float  # seconds from its start to its end


class Outcome(NamedTuple):
    """What came of killing."""

    killed: bool  # whether every kill found its process alive
    difference: str | None  # from the case left alone; None if there is none
    lasted: float  # seconds of the process that finished


def parse(text: str) -> tuple[Kill, ...]:
    """Reads kills in a row, as they are printed: `saving:17+0.030000,any:9`."""
    kills = []
    for part in text.split(","):
        kind, _, rest = part.partition(":")
        number, _, delay = rest.partition("+")
        kills.append(Kill(kind, int(number), float(delay or 0)))
    return tuple(kills)


def write(kills: tuple[Kill, ...]) -> str:
    """Writes kills in a row as `parse` reads them."""
    return ",".join(map(str, kills))


def leave_alone(
    case: str,
    folder: pathlib.Path,
    name: str,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Alone:
    """Trains a case without disturbing it, in a workdir `name` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cases.write(case, folder / "case.json")
    cache = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    alone = Alone(case, folder / name, cache | dict(settings), {}, {}, 0.0)
    begin = time.monotonic()
    seen = _finish(alone, alone.workdir)
    return alone._replace(**seen, lasted=time.monotonic() - begin)


def checkpoints(alone: Alone) -> list[pathlib.Path]:
    """Returns the folders of checkpoints of a case, one for each pack."""
    return sorted(alone.workdir.glob("packs/*/checkpoints"))


def ends(alone: Alone) -> dict[str, int]:
    """Returns the last step of the runs of a case by why they ended."""
    statuses = map(files.read_json, alone.workdir.glob("*/status.json"))
    return {status["reason"]: status["step"] for status in statuses}


def compare(actual: pathlib.Path, expected: pathlib.Path) -> None:
    """Fails unless two workdirs hold the same runs, bit by bit."""
    with _comparing:
        bits.assert_same_runs(actual, expected)


def draw(chance: random.Random, alone: Alone, kind: str) -> tuple[Kill, ...]:
    """Draws a moment of a kind, or of any and then another while it recovers."""
    if kind == "twice":
        others = set(kinds(alone)) - {"twice", TIME, child.ENDING}
        first = draw(chance, alone, chance.choice(sorted(others)))
        # What a process that only recovers passes, mostly.
        number = chance.randint(1, alone.counts[child.ANY] // 4)
        return (*first, Kill(child.ANY, number, 0.0))
    if kind == TIME:
        return (Kill(TIME, 0, chance.uniform(0, alone.lasted)),)
    inside = kind in _LASTING and chance.random() < 0.5
    delay = chance.uniform(0, alone.seconds[kind]) if inside else 0.0
    return (Kill(kind, chance.randint(1, alone.counts[kind]), round(delay, 6)),)


def kinds(alone: Alone) -> list[str]:
    """Returns the kinds of moments that `draw` knows for a case."""
    return [TIME, *sorted(set(alone.counts) - {child.ANY}), "twice"]


def kill(alone: Alone, kills: tuple[Kill, ...], workdir: pathlib.Path) -> Outcome:
    """Kills one process after another in a workdir, then finishes and compares."""
    killed, begin = True, 0.0
    try:
        for each in kills:
            killed &= _kill(alone, each, workdir)
        begin = time.monotonic()
        _finish(alone, workdir)
        lasted = time.monotonic() - begin
        compare(workdir, alone.workdir)
    except AssertionError as error:
        how = f"python -m tests.chaos --case {alone.case} --replay {write(kills)}"
        return Outcome(killed, f"{error}\nAgain: {how}", 0.0)
    return Outcome(killed, None, lasted)


def kill_once(
    alone: Alone, chance: random.Random, kind: str, folder: pathlib.Path
) -> Outcome:
    """Draws moments of a kind until one comes while its process lives.

    Workdirs that are as they should be are removed from the folder.
    """
    for attempt in range(_ATTEMPTS):
        kills, workdir = draw(chance, alone, kind), folder / str(attempt)
        outcome = kill(alone, kills, workdir)
        if outcome.difference is None:
            shutil.rmtree(workdir)
        if outcome.killed or outcome.difference is not None:
            return outcome
    raise AssertionError("no kill came in time")


def _kill(alone: Alone, kill: Kill, workdir: pathlib.Path) -> bool:
    """Starts a process and kills it; says whether it lived so long."""
    if kill.kind != TIME:
        process = _start(alone, workdir, *map(str, kill))
        _, error = process.communicate(timeout=LIMIT)
    else:
        process = _start(alone, workdir)
        try:
            _, error = process.communicate(timeout=kill.delay)
        except subprocess.TimeoutExpired:
            process.kill()
            _, error = process.communicate(timeout=LIMIT)
    assert process.returncode in (0, -9), f"{kill} ended by itself:\n{error}"
    return process.returncode == -9


def _finish(alone: Alone, workdir: pathlib.Path) -> dict[str, Any]:
    """Trains to the end; returns what the process saw."""
    process = _start(alone, workdir)
    _, error = process.communicate(timeout=LIMIT)
    assert (process.returncode, error) == (0, ""), f"It ended with:\n{error}"
    return json.loads(_seen(workdir).read_text())


def _start(alone: Alone, workdir: pathlib.Path, *moment: str) -> subprocess.Popen:
    inputs = alone.workdir.with_name("case.json")
    command = ["-m", "tests.chaos.child", inputs, workdir, _seen(workdir), *moment]
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | alone.settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _seen(workdir: pathlib.Path) -> pathlib.Path:
    return workdir.with_name(f"{workdir.name}.json")
