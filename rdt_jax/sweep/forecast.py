"""Forecast of the costs of a sweep, for `rdt sweep --dry-run`; writes nothing."""

import contextlib
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import NamedTuple

from rdt_jax import config as configs
from rdt_jax import devices, wording
from rdt_jax.profile import line_server
from rdt_jax.sweep import ledger, packing, spec

_MEASURED_SECONDS = 1.0


class Forecast(NamedTuple):
    """The packs that a sweep has to train, and what they will need.

    Attributes:
      over: number of trials that are done or failed already.
      flops: floating-point operations of the updates of their whole budgets
        (models/cost.py). Evaluations are not counted, early stops not foreseen.
      largest: pack with the most operations; None if there is no pack.
    """

    trials: int
    over: int
    packs: int
    needs: packing.Needs
    flops: int
    largest: packing.Pack | None


def forecast(
    workdir: pathlib.Path,
    plan: spec.Plan,
    options: ledger.Options,
    retry_failed: bool = False,
) -> Forecast:
    """Forms the packs of a plan as a sweep would, and adds up what they need.

    The arguments are those of `ledger.write_plan`.
    """
    states = [
        "pending" if retry_failed and ledger.is_retried(status) else status["state"]
        for status in ledger.statuses_of(workdir, plan.trials)
    ]
    settled = (*ledger.OVER, "unreadable")
    unfinished = {
        name
        for name, state in zip(plan.run_ids, states, strict=True)
        if state not in settled
    }
    entries = [
        entry
        for entry in ledger.form_packs(workdir, plan, options)
        if unfinished & set(entry.runs) and ledger.is_readable(workdir, entry.runs)
    ]
    planned = spec.configs_of(plan.trials)
    packs = [
        [planned.get(name) or configs.read_run(workdir / name) for name in entry.runs]
        for entry in entries
    ]
    max_pins = [entry.max_pins for entry in entries]
    flops = [entry.flops for entry in entries]
    return Forecast(
        trials=len(states),
        over=sum(state in ledger.OVER for state in states),
        packs=len(packs),
        needs=packing.needs(packs, max_pins, packing.predictor()),
        flops=sum(flops),
        largest=packs[flops.index(max(flops))] if packs else None,
    )


def measure(
    pack: packing.Pack, exact: bool, num_workers: int, log: Callable[[str], None]
) -> float:
    """Measures the operations per second of all workers together on a pack.

    Each worker is a process with its share of the devices. All train the pack at the
    same time, for about a second after its program is compiled, which may take many
    minutes. RuntimeError, with its last output, if a process ended.
    """
    order = {
        "pack": [json.loads(configs.to_json(config)) for config in pack],
        "exact": exact,
        "devices": 1,
    }
    command = [sys.executable, "-m", "rdt_jax.profile.throughput"]
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(line_server.start(command, {**os.environ, **variables}))
            for variables in devices.variables(num_workers)
        ]
        count = wording.count(num_workers, "worker")
        log(f"compiling the program of the largest pack, in {count} at once")
        facts = line_server.ask(workers, json.dumps(order))[0]
        log("compiled; timing its first updates")
        pilots = line_server.ask(workers, f"pilot {_MEASURED_SECONDS}")
        updates = min(pilot["updates"] for pilot in pilots)
        log(f"timing {wording.count(updates, 'update')} in each worker")
        answers = line_server.ask(workers, f"dispatch {updates}")
    flops = facts["needed_flops"] * len(pack) * updates
    return sum(flops / answer["seconds"] for answer in answers)
