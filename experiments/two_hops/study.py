"""What in the protocol decides whether four loops are sooner than two?

Question: R = 4 answers two-hop questions of OOD facts later than R = 2 here, and sooner
in the paper. Which of the differences between the two protocols turns the order?

Predictions, written before any run of this study; each is a claim below:
- scaled: with branches times 1 / R the best rate does not depend on R (arXiv
  2606.18524), so R = 4 is sooner with them than without, and closer to R = 2;
- pad: a one-hop row that is answered behind r1 no longer practices the bridge at r1, so
  the last stage is later after memorization, and for R = 2 by more than for R = 4;
- phi 7.2: at a coverage of 89 % instead of the paper's 38 %, ID is complete as soon as
  the training rows are;
- facts once, embedding: nothing alone; together with pad, nearest to the paper's
  protocol, R = 4 is sooner than R = 2;
- one block: a core of one block stores a fact once, so the second hop need not be
  learned in another block, and the delay of R = 4 is gone;
- deep supervision, drawn loops, injection: each makes early loops useful by themselves,
  and brings R = 4 forward.

Rates and decays of R = 2 and of R = 4 are chosen each by itself on graphs 10 and 11,
which nothing is reported of: `cpu` is that search.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.grokking import Bound
from rdt_jax.analysis.runs import LOOPS, WEIGHT_DECAY, Run
from rdt_jax.figures import comparison, terminal, words
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

KOHLI = "Kohli et al. (2026), arXiv:2604.07822"
RATE = "optimizer.learning_rate"
MEMORIZED, ID, OOD = "memorized", "id_generalized", "ood_generalized"
LEAST = 2  # evaluations by which a time must differ to be sooner

# What an arm changes of the preset. Every trial sets all of these keys, so that its arm
# can be read off its config.
_PRESET: Mapping[str, Any] = {
    "model.branch_scale": "loops",
    "model.core_blocks": 2,
    "model.embedding_std": 0.02,
    "model.injection": "none",
    "loss.deep_supervision": 0.0,
    "recurrence.sampling": "fixed",
    "task.kwargs.answer_at": "last",
    "task.kwargs.atomic_repeats": 6,
    "task.kwargs.num_entities": 50,
    "task.kwargs.phi": 3.0,
}
_DRAWN = {
    "recurrence.sampling": "uniform",
    "recurrence.min_loops": 2,
    "recurrence.max_loops": 4,
}
_TOWARDS_PAPER = {
    "task.kwargs.answer_at": "pad",
    "task.kwargs.atomic_repeats": 1,
    "model.embedding_std": 1.0,
}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "preset": {},
    "not scaled": {"model.branch_scale": "none"},
    "pad": {"task.kwargs.answer_at": "pad"},
    "facts once": {"task.kwargs.atomic_repeats": 1},
    "embedding": {"model.embedding_std": 1.0},
    "all three": _TOWARDS_PAPER,
    "phi 7.2": {"task.kwargs.phi": 7.2},
    "one block": {"model.core_blocks": 1},
    "100 entities": {"task.kwargs.num_entities": 100},
    "deep supervision": {"loss.deep_supervision": 0.5},
    "drawn loops": _DRAWN,
    "injection": {"model.injection": "add"},
}
TRAINING = ("deep supervision", "drawn loops", "injection")  # procedures, for R = 4

# What graphs 10 and 11 chose of each loop count; `cpu` is that search.
TUNED: Mapping[int, tuple[float, float]] = {2: (5e-3, 0.1), 4: (5e-3, 0.1)}
SEARCHED_ON = (10, 11)  # graphs
SEARCHED = ((2e-3, 0.1), (5e-3, 0.1), (1e-2, 0.1), (5e-3, 0.03))  # rate and decay


def trial_of(
    loops: int, rate: float, decay: float, arm: str = "preset"
) -> dict[str, Any]:
    """Returns the overrides of an arm at a loop count, rate and decay."""
    tuned = {LOOPS: loops, RATE: rate, WEIGHT_DECAY: decay}
    return {**tuned, **_PRESET, **ARMS[arm]}


def _pairs(graphs: Sequence[int], seeds: Sequence[int]) -> list[dict[str, Any]]:
    return spec.product(spec.grid("task.seed", *graphs), spec.grid("seed", *seeds))


_SEARCH = [trial_of(loops, *cell) for loops in TUNED for cell in SEARCHED]
_COMPARED = [
    trial_of(loops, *TUNED[loops], arm)
    for arm in ARMS
    for loops in TUNED
    if loops == 4 or arm not in TRAINING
]
SWEEPS = {
    "smoke": (
        [
            {LOOPS: loops, RATE: 5e-3, WEIGHT_DECAY: 0.1, **_PRESET, **ARMS[arm]}
            | {"task.kwargs.num_entities": 20}
            for arm in ("preset", "not scaled", "pad")
            for loops in (2, 4)
        ],
        _pairs((0,), (0,)),
    ),
    "cpu": (_SEARCH, _pairs(SEARCHED_ON, (10,))),
    "cpu_long": (_COMPARED, _pairs((0, 1), (0, 1))),
}
sweep = spec.by_preset(SWEEPS)


Cell = tuple[str, int]  # arm and loop count
Replicate = tuple[int, int]  # graph and seed


def by_arm(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Returns the runs of each arm, in the order of ARMS."""
    arms = {}
    for arm, changes in ARMS.items():
        wanted = {**_PRESET, **changes}
        arms[arm] = [
            run
            for run in runs
            if all(run_folders.value_of(run, k) == v for k, v in wanted.items())
        ]
    return {arm: members for arm, members in arms.items() if members}


def cells(runs: Sequence[Run]) -> dict[Cell, list[Run]]:
    """Returns the runs that are compared, by arm and loop count."""
    compared = [run for run in runs if run.config.task.seed not in SEARCHED_ON]
    return {
        (arm, loops): same
        for arm, members in by_arm(compared).items()
        for (loops,), same in run_folders.group(members, (LOOPS,)).items()
    }


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the predictions on what has been run so far; see `is_sooner`.

    The runs of the search are behind no claim.
    """
    by_cell = cells(runs)
    return [is_sooner(by_cell, *comparison) for comparison in _SOONER] + [
        _is_closer(by_cell, *comparison) for comparison in _CLOSER
    ]


_KOHLI = f"{KOHLI}, Figure 3 left", "R = 2 takes 7,000 epochs, R = 4 takes 2,000"
_SCALE = "arXiv:2606.18524", "the best rate depends on R unless branches are over R"
_OURS = "prediction of this study", "see its docstring"
# Claim, source, what it expects, and the cells of which the first is to be sooner.
_SOONER: Sequence[tuple[str, str, str, Cell, Cell]] = [
    ("R = 4 completes OOD sooner than R = 2, each at its own rate and decay.",
     *_KOHLI, ("preset", 4), ("preset", 2)),
    ("Near the paper's protocol (answers at a pad, facts once an epoch, embeddings of "
     "standard deviation 1) R = 4 completes OOD sooner than R = 2.",
     *_KOHLI, ("all three", 4), ("all three", 2)),
    ("With branches times 1 / R, R = 4 completes OOD sooner than without.",
     *_SCALE, ("preset", 4), ("not scaled", 4)),
    *(
        (f"R = 4 completes OOD sooner with {arm} than without.",
         *_OURS, (arm, 4), ("preset", 4))
        for arm in TRAINING
    ),
]  # fmt: skip
# Claim, source, what it expects, and the arms of which R = 4 is to be less late in the
# first, relative to R = 2.
_CLOSER: Sequence[tuple[str, str, str, str, str]] = [
    ("R = 4 is closer to R = 2 with branches times 1 / R than without.",
     *_SCALE, "preset", "not scaled"),
    ("R = 4 is closer to R = 2 where answers are read at a pad.",
     *_OURS, "pad", "preset"),
    ("R = 4 is closer to R = 2 with one block than with two.",
     *_OURS, "one block", "preset"),
    ("R = 4 is closer to R = 2 on a graph of twice the size.",
     *_OURS, "100 entities", "preset"),
]  # fmt: skip


def _times(runs: Sequence[Run], event: str = OOD) -> dict[Replicate, Bound]:
    return {
        (run.config.task.seed, run.config.seed): grokking.completion(
            grokking.grok_times(run), event
        )
        for run in runs
    }


def is_sooner(
    by_cell: Mapping[Cell, Sequence[Run]],
    text: str,
    source: str,
    expected: str,
    first: Cell,
    second: Cell,
    event: str = OOD,
) -> Claim:
    """Judges whether most replicates complete an event sooner in the first cell.

    Both runs of a replicate have one graph and one seed. The first is sooner if it is
    by LEAST evaluations, and not sooner if both times are known and it is not, or if
    the second is sooner by as much. All others are open: what they are may not turn a
    verdict. There is no error rate: four replicates are too few for a test.
    """
    runs = [*by_cell.get(first, []), *by_cell.get(second, [])]
    least = LEAST * max((run.config.eval_every_steps for run in runs), default=0)
    one, other = (_times(by_cell.get(cell, []), event) for cell in (first, second))
    answers: list[bool | None] = []
    for key in one.keys() & other.keys():
        a, b = one[key], other[key]
        if not a.beyond and b.steps - a.steps >= least:
            answers.append(True)
        elif not b.beyond and (not a.beyond or a.steps - b.steps >= least):
            answers.append(False)
        else:
            answers.append(None)
    medians = [
        f"{arm + ', ' if arm else ''}R = {loops}: {grokking.median([*times.values()])}"
        for (arm, loops), times in ((first, one), (second, other))
        if times
    ]
    what = "median updates"
    return _judge(text, source, expected, answers, what, medians, runs, event)


def _is_closer(
    by_cell: Mapping[Cell, Sequence[Run]],
    text: str,
    source: str,
    expected: str,
    arm: str,
    than: str,
) -> Claim:
    """Judges whether R = 4 over R = 2 is less in most replicates of the first arm.

    A replicate in which a time is not known is open.
    """
    ratios = [log_ratios(by_cell, name) for name in (arm, than)]
    answers = [
        None if None in (a, b) else a < b  # type: ignore[operator]
        for a, b in ((ratios[0][k], ratios[1][k]) for k in ratios[0] if k in ratios[1])
    ]
    said = [f"{name}: {ratio_text(by_cell, name)}" for name in (arm, than)]
    runs = [
        run
        for name in (arm, than)
        for loops in (2, 4)
        for run in by_cell.get((name, loops), [])
    ]
    what = "updates of R = 4 over those of R = 2"
    return _judge(text, source, expected, answers, what, said, runs)


def _judge(
    text: str,
    source: str,
    expected: str,
    answers: Sequence[bool | None],
    what: str,
    said: Sequence[str],
    runs: Sequence[Run],
    event: str = OOD,
) -> Claim:
    yes, no, open_ones = (answers.count(answer) for answer in (True, False, None))
    holds = judging.majority(yes, no, open_ones)
    missing = []
    if holds is None:
        ends = grokking.ends_of(grokking.awaited(runs, event))
        missing = ends or ["replicates that agree, with times within the budget"]
    return judging.judge(
        text,
        source=source,
        expected=expected,
        measured=f"so in {yes}, not so in {no}, open in {open_ones} of "
        f"{wording.count(len(answers), 'replicate')}; {what}: "
        f"{', '.join(said) or 'none'}",
        holds=holds,
        missing=missing,
        runs=runs,
        test="majority of replicates",
    )


def log_ratios(
    by_cell: Mapping[Cell, Sequence[Run]], arm: str
) -> dict[Replicate, float | None]:
    """Returns log of R = 4 over R = 2 in each replicate; None if not known."""
    two, four = (_times(by_cell.get((arm, loops), [])) for loops in (2, 4))
    return {
        key: None
        if two[key].beyond or four[key].beyond
        else math.log(four[key].steps / two[key].steps)
        for key in two.keys() & four.keys()
    }


def ratio_text(by_cell: Mapping[Cell, Sequence[Run]], arm: str) -> str:
    """Says the median ratio of R = 4 to R = 2, its range, and how many are known."""
    ratios = log_ratios(by_cell, arm)
    known = sorted(math.exp(ratio) for ratio in ratios.values() if ratio is not None)
    if not known:
        return "not known"
    text = f"{statistics.median(known):.2f} ({known[0]:.2f} to {known[-1]:.2f})"
    return text + f" in {len(known)} of {len(ratios)}" * (len(known) < len(ratios))


def table(runs: Sequence[Run]) -> Table:
    """Builds the table of arms: the updates of each loop count, and their ratio."""
    by_cell = cells(runs)
    found = terminal.table(
        "Updates to OOD >= 0.5 by what the protocol changes",
        ("arm", "R", "rate", "decay", "train", "ID", "OOD", "n/N", "OOD at end"),
        caption="Medians over replicates (graph, seed); > marks what lies beyond the "
        "budget. R = 4 over R = 2, median and range: "
        + "; ".join(
            f"{arm} {ratio_text(by_cell, arm)}" for arm in ARMS if (arm, 4) in by_cell
        )
        + ".",
        words=("arm",),
    )
    for arm, members in by_arm(runs).items():
        for cell in grokking.cells(members, (LOOPS, RATE, WEIGHT_DECAY)):
            events = [cell.times[event] for event in (MEMORIZED, ID, OOD)
                      if event in cell.times]  # fmt: skip
            if len(events) < 3 or "ood" not in cell.final:  # not evaluated yet
                continue
            found.add_row(
                arm, str(cell.values[LOOPS]), f"{cell.values[RATE]:g}",
                f"{cell.values[WEIGHT_DECAY]:g}", *(str(t.median) for t in events),
                f"{events[-1].reached}/{events[-1].runs}",
                f"{cell.final['ood'].median:.2f}",
            )  # fmt: skip
    return found


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the updates to OOD of every arm and loop count; ValueError if no run."""
    if not runs:
        raise ValueError("No run yet; `rdt sweep` trains them.")
    times = {
        f"{arm}, R = {loops} ({rate:g}, {decay:g})": np.array(
            [np.inf if t.beyond else t.steps for t in _times(members).values()]
        )
        for arm, of_arm in by_arm(runs).items()
        for (loops, rate, decay), members in run_folders.group(
            of_arm, (LOOPS, RATE, WEIGHT_DECAY)
        ).items()
    }
    by_loops: dict[str, list[Run]] = {}
    for run in runs:
        by_loops.setdefault(f"R = {run.num_loops}", []).append(run)
    return {
        "times": comparison.times_by_group(
            times,
            budget=max(run_folders.values_of(runs, "num_steps")),
            title=f"OOD completes in {words.reached(by_loops, OOD)}",
            line="by what the protocol changes, R and (rate, decay); a dot per graph "
            "and seed",
            notes=(),
            event="OOD >= 0.5",
        )
    }
