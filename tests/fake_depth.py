"""Runs of a curriculum that were never trained, and what would be measured of them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rdt_jax import config as configs
from rdt_jax.analysis import depth, halting
from rdt_jax.analysis.runs import Run
from tests import fake_runs

EVERY = 100
BUDGET = 4_000
HOPS = 6  # trained, stage by stage from 2
ASKED = 9
ROWS = 40  # of each number of hops
LOOPS = 24
ENTITIES = 10  # so chance is .1
DYNAMIC = {
    "recurrence.sampling": "poisson",
    "recurrence.mean_loops": 4.0,
    "recurrence.min_loops": 2,
    "recurrence.max_loops": 8,
}


_BASE = configs.override(
    configs.load(f"{fake_runs.ROOT}/configs/knowledge_depth.py:smoke"),
    {
        "num_steps": BUDGET,
        "eval_every_steps": EVERY,
        "checkpoint_every_steps": EVERY,
        "task.kwargs.num_entities": ENTITIES,
        "task.kwargs.max_hops": ASKED,
        "task.kwargs.max_train_hops": HOPS,
    },
)


def make(
    *,
    passed: Mapping[int, int],
    loops: int,
    seed: int = 0,
    until: int = BUDGET,
    state: str = "done",
    reason: str | None = "budget",
    hops: int = HOPS,
    partly: Mapping[int, Callable[[int], float]] | None = None,
    **overrides: Any,
) -> Run:
    """Returns a run that has `passed` hops, held-out rows of so many, at given steps.

    It trains at most `hops`, stage by stage from 2, and was evaluated `until` a step.
    Where `partly` has a function, that gives the accuracy on so many hops by step;
    elsewhere it is 0 before they are learned and 1 after. In `overrides`, further
    config keys, `__` stands for a dot.
    """
    changed = {key.replace("__", "."): value for key, value in overrides.items()}
    config = configs.override(
        _BASE,
        {
            "recurrence.num_loops": loops,
            "seed": seed,
            "task.kwargs.max_train_hops": hops,
            **changed,
        },
    )
    metrics, events, stage = [], [], 2
    for step in range(0, until + 1, EVERY):
        score = {
            k: float(k in passed and step >= passed[k]) for k in range(2, hops + 1)
        }
        score |= {k: accuracy(step) for k, accuracy in (partly or {}).items()}
        names = {f"id/accuracy@{loops}[hops={k}]": v for k, v in score.items()}
        mean = float(np.mean(list(score.values())))
        metrics.append(
            {
                "step": step,
                "curriculum/stage": stage,
                f"id/accuracy@{loops}": mean,
                **names,
            }
        )
        for learned, at in passed.items():
            if at == step:
                row = {"event": "hop_learned", "hops": learned, "split": "id"}
                events.append(row | {"step": step, "kind": "completed", "onset": step})
        while stage < hops and passed.get(stage, until + 1) <= step:
            stage += 1
    return fake_runs.of(config, metrics, events, state=state, reason=reason, step=until)


def run(
    learned: int, loops: int, *, first: int = 1_000, each: int = 500, **options: Any
) -> Run:
    """Returns a run that learns two hops after `first` updates, more every `each`."""
    passed = {k: first + each * (k - 2) for k in range(2, learned + 1)}
    return make(passed=passed, loops=loops, **options)


def drawn(learned: int, **options: Any) -> Run:
    """Returns such a run that drew its loops, 8 at the most."""
    overrides = {key.replace(".", "__"): value for key, value in DYNAMIC.items()}
    return run(learned, 8, **overrides | options)


def measured(
    accuracy: Callable[[int, int], float],
    margin: Callable[[int, int], float] | None = None,
) -> depth.Depth:
    """Returns a measurement with an accuracy, and perhaps a margin, by (hops, loops).

    The rows that are right are spread evenly; without `margin` it is 1 or -1 by row.
    """
    levels, loops = np.arange(2, ASKED + 1), np.arange(1, LOOPS + 1)
    hops = np.repeat(levels, ROWS)
    # Of ROWS numbers in [0, 1), so many lie below an accuracy as it says; of each half
    # as well, since neighbors are in different halves.
    place = np.tile((np.arange(ROWS) + 0.5) / ROWS, levels.size)
    right = np.array(
        [[p < accuracy(k, r) for r in loops] for k, p in zip(hops, place, strict=True)]
    )
    margins = np.where(right, 1.0, -1.0)
    if margin is not None:
        margins = np.array([[margin(k, r) for r in loops] for k in hops])
    return depth.assemble(
        row=np.arange(hops.size),
        hops=hops,
        correct=right,
        margin=margins.astype(np.float32),
        change=np.full(right.shape, 0.1, np.float32),
        flops=np.outer(1 + levels, loops) * 100,
    )


def stopped(
    loops: Mapping[str, Callable[[int], int]],
    accuracy: Callable[[int, int], float],
) -> halting.Halting:
    """Returns what rules make of a model with the given accuracies, as `measured`.

    By rules such as `kl_now`, rows of so many hops take `loops` at all thresholds.
    """
    found = measured(accuracy)
    settings = [s for s in halting.settings_of(2 * ENTITIES) if s[0] in loops]
    every = found.loops
    taken = [np.full(found.hops.size, count) for count in every]
    taken += [np.array([loops[rule](k) for k in found.hops]) for rule, _ in settings]
    return halting.assemble(
        rule=[halting.FIXED] * every.size + [rule for rule, _ in settings],
        thresholds=[(float(count),) for count in every]
        + [tuple(thresholds.values()) for _, thresholds in settings],
        row=found.row,
        hops=found.hops,
        loops=np.array(taken, np.int32),
        right=found.correct,
        flops=found.flops,
    )
