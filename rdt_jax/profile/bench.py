"""How fast training is here, beside PyTorch: measures the cases of `rdt bench`.

Every program is compiled in a process of its own, without a compile cache. What is
compared takes turns, one dispatch each, for some rounds, while the others are idle: a
ratio is the median of the ratios of the rounds, so that a machine that slows down for a
while slows both.
"""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from rdt_jax import config as configs
from rdt_jax import machine, sharding
from rdt_jax.devices import default_lanes, default_workers, worker_threads
from rdt_jax.profile import bench_cases, estimate, line_server, memory
from rdt_jax.profile.bench_cases import Bound, Case, Loops, Overhead, Seeds, Updates
from rdt_jax.profile.throughput import Facts
from rdt_jax.store import environment, records

TORCH = "PyTorch"
COMPILES = 3  # of each loop count


class Row(NamedTuple):
    """What one program did. None where it was not measured."""

    name: str  # of the program within its case
    # Median over the rounds, of all lanes and processes together.
    updates_per_second: float | None = None
    slowest: float | None = None  # of the rounds
    fastest: float | None = None  # of the rounds
    # That many updates times the operations that ours needs.
    flops_per_second: float | None = None
    # Of the best product of matrices, in the same processes.
    share_of_peak: float | None = None
    # The same, of the operations that our program multiplies.
    executed_share: float | None = None
    compile_seconds: float | None = None  # median, if there are several
    temporary_bytes: int | None = None  # of one process
    compilations: int | None = None  # of the training chunk in one process
    ratio: float | None = None  # median over the rounds of its rate to PyTorch's
    facts: Mapping[str, Any] = {}  # of throughput.Facts, or of PyTorch


class Verdict(NamedTuple):
    """A bound, and what came out."""

    bound: Bound  # of the case
    value: float | None  # None if it was not measured
    holds: bool | None  # None likewise


class Measured(NamedTuple):
    """What came out of a case."""

    rows: Sequence[Row]  # of its programs
    quantities: Mapping[str, float | None]  # by name, those that bounds may be about
    verdicts: Sequence[Verdict]  # one for each bound
    seconds: float  # that measuring it took
    # Lines for the user, one for each program whose predicted memory is far from what
    # its compiler says.
    warnings: Sequence[str] = ()


Report = Callable[[str], None]
_Found = tuple[list[Row], dict[str, float | None]]


def check_torch(python: str) -> None:
    """Raises ValueError if `python` is no Python with torch and transformers."""
    probe = [python, "-c", "import torch, transformers"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True)
    except OSError as error:
        raise ValueError(f"--torch-python must be a Python, got {error}.") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ValueError(
            f"--torch-python must be a Python with torch and transformers (pip install "
            f"-e '.[torch]'), but {python} says: {last}"
        )


def measure(
    case: Case, torch_python: str | None = None, log: Report = lambda _: None
) -> Measured:
    """Measures a valid case; nothing else should run on the machine.

    RuntimeError, with what it said last, if a process fails. Without `torch_python`, a
    Python with torch, the ratios to PyTorch are left out; `log` takes what is being
    done.
    """
    begin = time.perf_counter()
    config = bench_cases.resolve(case)
    if isinstance(case, Updates):
        rows, quantities = _measure_updates(case, config, torch_python, log)
    elif isinstance(case, Seeds):
        rows, quantities = _measure_seeds(case, config, torch_python, log)
    elif isinstance(case, Loops):
        rows, quantities = _measure_loops(case, config, log)
    else:
        rows, quantities = _measure_overhead(case, config, log)
    warnings = [
        f"{row.name}: {told}"
        for row in rows
        if "predicted_bytes" in row.facts
        and (
            told := memory.misprediction(
                row.facts["predicted_bytes"], row.facts["temporary_bytes"]
            )
        )
    ]
    verdicts = [judge(bound, quantities[bound.quantity]) for bound in case.bounds]
    seconds = time.perf_counter() - begin
    return Measured(rows, quantities, verdicts, seconds, warnings)


def reference() -> pathlib.Path:
    """Returns the script that trains with PyTorch."""
    return bench_cases.ROOT / "experiments" / "throughput" / "torch_reference.py"


def torch_case(
    config: ml_collections.ConfigDict, facts: Facts, length: int | None = None
) -> dict[str, Any]:
    """Returns what PyTorch needs to know to train the like of a config.

    Its blocks are those that GPT-2 has, looped a fixed number of times. `length` are
    the tokens of a row, padded; None for as many as ours.
    """
    model, optimizer = config.model, config.optimizer
    rates = ("learning_rate", "weight_decay", "b1", "b2", "epsilon", "warmup_steps")
    return {
        "width": model.width,
        "heads": model.num_heads,
        "blocks": model.core_blocks,
        "loops": config.recurrence.num_loops,
        "batch_size": facts.batch_size,
        "length": length or facts.length,
        "words": facts.length,
        "vocab_size": facts.vocab_size,
        "position": model.position,
        "dropout": model.dropout,
        "embedding_dropout": model.embedding_dropout,
        "embedding_std": model.embedding_std,
        "label_smoothing": config.loss.label_smoothing,
        "threads": machine.cores(),
        **{name: optimizer[name] for name in rates},
    }


def as_json(found: Mapping[str, Measured], failed: Mapping[str, str]) -> dict[str, Any]:
    """Returns measured and failed cases, by name, as plain values, and where it was."""
    told = {}
    for name, measured in found.items():
        rows = [row._asdict() | {"facts": dict(row.facts)} for row in measured.rows]
        verdicts = [
            v.bound._asdict() | {"value": v.value, "holds": v.holds}
            for v in measured.verdicts
        ]
        told[name] = {
            "rows": rows,
            "quantities": dict(measured.quantities),
            "verdicts": verdicts,
            "seconds": measured.seconds,
        }
    return {"environment": _machine(), "cases": told, "failed": dict(failed)}


class Entrant(NamedTuple):
    """Processes that train at the same time; all together are one row."""

    name: str
    processes: Sequence[line_server.Process]
    facts: Sequence[Mapping[str, Any]]
    lanes: int  # of each process


def _measure_updates(
    case: Updates,
    config: ml_collections.ConfigDict,
    torch_python: str | None,
    log: Report,
) -> _Found:
    with contextlib.ExitStack() as stack:
        log("compiling")
        ours = enter(stack, "rdt_jax", [config], devices=sharding.cores_for(config))
        entrants = [ours]
        if case.against_torch and torch_python is not None:
            facts = Facts(**ours.facts[0])
            settings = torch_case(config, facts, case.torch_length)
            entrants.append(_enter_torch(stack, torch_python, settings))
        rows = race(entrants, case, log)
    return rows, {"ratio": rows[0].ratio, "share of peak": rows[0].share_of_peak}


def _measure_seeds(
    case: Seeds,
    config: ml_collections.ConfigDict,
    torch_python: str | None,
    log: Report,
) -> _Found:
    seeds = [configs.override(config, {"seed": n}) for n in range(case.num_seeds)]
    workers = default_workers()
    lanes = default_lanes() or case.num_seeds
    packings = [  # (processes, lanes of each at a time, exact)
        (workers, min(lanes, -(-case.num_seeds // workers)), False),
        (workers, -(-case.num_seeds // workers), False),
        (1, case.num_seeds, False),
        (1, case.num_seeds, True),
        (1, 1, False),
    ]
    with contextlib.ExitStack() as stack:
        entrants = []
        for number, lanes, exact in dict.fromkeys(packings):
            name = f"{number} x {lanes} lane{'s' * (lanes > 1)}{', exact' * exact}"
            log(f"compiling {name}")
            pack = seeds[:lanes]
            entrants.append(enter(stack, name, pack, exact, number))
        if torch_python is not None:
            settings = torch_case(config, Facts(**entrants[0].facts[0]))
            entrants.append(_enter_torch(stack, torch_python, settings))
        rows = race(entrants, case, log)
    rows[0] = rows[0]._replace(name=f"{rows[0].name} (sweep)")
    return rows, {"ratio": rows[0].ratio}


def _measure_loops(
    case: Loops, config: ml_collections.ConfigDict, log: Report
) -> _Found:
    config = configs.override(config, {"model.remat": "full"})
    found: dict[int, list[Facts]] = {count: [] for count in case.loops}
    for number in range(COMPILES):
        for count in case.loops:
            log(f"compiling R = {count}, {number + 1} of {COMPILES}")
            with contextlib.ExitStack() as stack:
                pack = [estimate.fixed_loops(config, count)]
                facts = enter(stack, f"R = {count}", pack).facts[0]
                found[count].append(Facts(**facts))
    median = lambda facts: statistics.median(f.compile_seconds for f in facts)
    rows = [
        Row(
            f"R = {count}",
            compile_seconds=median(facts),
            temporary_bytes=facts[0].temporary_bytes,
            facts=facts[0]._asdict(),
        )
        for count, facts in found.items()
    ]
    few, many = (facts[0] for facts in found.values())
    states = (case.loops[1] - case.loops[0]) * few.batch_size * few.length
    grown = many.temporary_bytes - few.temporary_bytes
    return rows, {
        "compile seconds": median(found[case.loops[1]]) / median(found[case.loops[0]]),
        "growth of memory": grown / (states * config.model.width * 4),
    }


def _measure_overhead(
    case: Overhead, config: ml_collections.ConfigDict, log: Report
) -> _Found:
    log("training a whole run")
    with tempfile.TemporaryDirectory() as workdir:
        command = [sys.executable, "-m", "rdt_jax", "train", f"--workdir={workdir}"]
        command += [f"--config={bench_cases.ROOT / case.config}"]
        command += [f"--config.{key}={value}" for key, value in case.overrides.items()]
        done = subprocess.run(command, env=_variables(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"rdt train failed: {done.stderr.strip()[-500:]}")
        folder = pathlib.Path(workdir) / configs.run_id(config)
        rows = records.read_rows(folder / "timing.jsonl")
        end = (folder / "status.json").stat().st_mtime
    total = lambda name: sum(row.get(f"{name}_seconds", 0.0) for row in rows[1:])
    wall = end - rows[0]["time"] - total("compile")
    parts = {name: total(name) for name in ("evaluate", "record", "checkpoint")}
    row = Row(
        "rdt train",
        updates_per_second=rows[-1]["step"] / total("train"),
        facts={"wall_seconds": wall, "train_seconds": total("train")}
        | {f"{name}_seconds": seconds for name, seconds in parts.items()},
    )
    return [row], {"share of wall time": 1 - total("train") / wall}


def race(entrants: Sequence[Entrant], case: Updates | Seeds, log: Report) -> list[Row]:
    """Lets entrants train in turns; the last one is PyTorch, if it is there."""
    log("measuring the peak")
    peaks = [_peak(entrant) for entrant in entrants]
    log("measuring how many updates a round has")
    numbers = [
        # All processes of an entrant make as many, so that they end together.
        min(a["updates"] for a in line_server.ask(e.processes, f"pilot {case.seconds}"))
        for e in entrants
    ]
    rates: list[list[float]] = [[] for _ in entrants]
    compilations: list[int | None] = [None] * len(entrants)
    for turn in range(case.rounds):
        for index, entrant in enumerate(entrants):
            log(f"round {turn + 1} of {case.rounds}: {entrant.name}")
            answers = line_server.ask(entrant.processes, f"dispatch {numbers[index]}")
            made = numbers[index] * entrant.lanes * len(entrant.processes)
            rates[index].append(made / max(answer["seconds"] for answer in answers))
            compilations[index] = answers[0].get("compilations")
    log("measuring the peak again")
    peaks = [max(p, _peak(e)) for p, e in zip(peaks, entrants, strict=True)]
    theirs = rates[-1] if entrants[-1].name == TORCH else None
    rows = []
    for index, entrant in enumerate(entrants):
        rate = statistics.median(rates[index])
        facts, ours = entrant.facts[0], entrants[0].facts[0]
        executed = facts.get("executed_flops")
        rows.append(
            Row(
                name=entrant.name,
                updates_per_second=rate,
                slowest=min(rates[index]),
                fastest=max(rates[index]),
                flops_per_second=rate * ours["needed_flops"],
                share_of_peak=rate * ours["needed_flops"] / peaks[index],
                executed_share=executed and rate * executed / peaks[index],
                compile_seconds=facts.get("compile_seconds"),
                temporary_bytes=facts.get("temporary_bytes"),
                compilations=compilations[index],
                ratio=_median_ratio(rates[index], theirs),
                facts=facts,
            )
        )
    return rows


def _median_ratio(ours: list[float], theirs: list[float] | None) -> float | None:
    if theirs is None:
        return None
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _peak(entrant: Entrant) -> float:
    answers = line_server.ask(entrant.processes, "peak 0")
    return sum(answer["flops_per_second"] for answer in answers)


def judge(bound: Bound, value: float | None) -> Verdict:
    """Returns whether a value is within a bound; None where it was not measured."""
    if value is None:
        return Verdict(bound, None, None)
    enough = bound.at_least is None or value >= bound.at_least
    few = bound.at_most is None or value <= bound.at_most
    return Verdict(bound, value, enough and few)


def enter(
    stack: contextlib.ExitStack,
    name: str,
    pack: Sequence[ml_collections.ConfigDict],
    exact: bool = False,
    processes: int = 1,
    devices: int = 1,
) -> Entrant:
    """Starts processes that train a pack, and waits until it is compiled.

    `stack` ends them. There are so many `processes` at the same time, each with all
    lanes of `pack` and so many `devices`; `exact` lanes are solo runs, bit for bit.
    """
    order = {
        "pack": [json.loads(configs.to_json(config)) for config in pack],
        "exact": exact,
        "devices": devices,
    }
    command = [sys.executable, "-m", "rdt_jax.profile.throughput"]
    variables = worker_threads(processes) | _variables()
    started = [
        stack.enter_context(line_server.start(command, variables))
        for _ in range(processes)
    ]
    return Entrant(
        name, started, line_server.ask(started, json.dumps(order)), len(pack)
    )


def _enter_torch(
    stack: contextlib.ExitStack, python: str, settings: dict[str, Any]
) -> Entrant:
    command = [python, str(reference()), "--serve"]
    started = [stack.enter_context(line_server.start(command, dict(os.environ)))]
    return Entrant(TORCH, started, line_server.ask(started, json.dumps(settings)), 1)


def _variables() -> dict[str, str]:
    """Returns that of this process, on the CPU and without a compile cache."""
    settings = {"JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_PLATFORMS": "cpu"}
    return {**os.environ, **settings}


def _machine() -> dict[str, Any]:
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    versions = {name: importlib.metadata.version(name) for name in names}
    return {
        "versions": versions | {"python": platform.python_version()},
        "machine": platform.machine(),
        "cores": machine.cores(),
        "commit": environment.commit(),
    }
