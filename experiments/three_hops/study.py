"""Are more loops needed, and then sooner, where a question has more hops?

Question: with questions of two and of three hops about OOD facts, which loop counts R
answer them, and which are the first to?

Prediction, written before any run of this study: two loops of two blocks learn two hops
(experiments/depth_extrapolation), so R = 2 never completes three hops of OOD facts and
R = 4 does: what "more loops, sooner" (Kohli et al. 2026, arXiv:2604.07822, Figure 3) is
where hops exceed what fewer loops can do. The R that is soonest grows with the hops.

Added after the first run of each loop count (graph 0, seed 0), in which no OOD phase
completed: R = 4 completes ID sooner than R = 2, at two hops and at three. It is judged
without that replicate, which suggested it.
"""

from collections.abc import Mapping, Sequence

from experiments.two_hops import study as two_hops
from rdt_jax import wording
from rdt_jax.analysis import claims as judging
from rdt_jax.analysis import grokking
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.claims import Claim
from rdt_jax.analysis.runs import LOOPS, Run
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_hops.py"

ID = {2: "id_2_hops", 3: "id_3_hops"}  # hops -> event
OOD = {2: "ood_2_hops", 3: "ood_3_hops"}
SOURCE = "prediction of this study"
SUGGESTED_BY = (0, 0)  # graph and seed that suggested the claims about ID

_PAIRS = spec.product(spec.grid("task.seed", 0, 1), spec.seeds(2))
SWEEPS = {
    "smoke": (spec.grid(LOOPS, 1, 2), spec.seeds(1)),
    "cpu": (
        spec.chain(
            spec.product(spec.grid(LOOPS, 1, 2, 4), spec.seeds(1)),
            spec.product(spec.grid(LOOPS, 2, 4), spec.seeds(1, first=1)),
        ),
    ),
    "cpu_long": (spec.grid(LOOPS, 1, 2, 4, 8), _PAIRS),
}
sweep = spec.by_preset(SWEEPS)


def claims(runs: Sequence[Run]) -> list[Claim]:
    """Judges the predictions on what has been run so far."""
    by_loops = {
        ("", loops): members
        for (loops,), members in run_folders.group(runs, (LOOPS,)).items()
    }
    others = {
        cell: [
            r for r in members if (r.config.task.seed, r.config.seed) != SUGGESTED_BY
        ]
        for cell, members in by_loops.items()
    }
    return [
        _arrive(by_loops.get(("", 2), []), "R = 2", do=False),
        _arrive(by_loops.get(("", 4), []), "R = 4", do=True),
        *(
            two_hops.is_sooner(
                by_loops if name == "OOD" else others,
                f"R = 4 completes {name} of {hops} hops sooner than R = 2.",
                SOURCE,
                expected,
                ("", 4),
                ("", 2),
                event,
            )
            for name, hops, event, expected in (
                ("OOD", "three", OOD[3], "R = 2 never does"),
                ("ID", "three", ID[3], "suggested by the first replicate"),
                ("ID", "two", ID[2], "suggested by the first replicate"),
            )
        ),
        _soonest_grows(by_loops),
    ]


def _arrive(runs: Sequence[Run], name: str, *, do: bool) -> Claim:
    """Judges whether most runs of a loop count complete three hops of OOD facts.

    One whose budget is over and that has not counts as one that does not.
    """
    arrived = grokking.arrived(runs, OOD[3])
    waiting = grokking.awaited(runs, OOD[3])
    counts = len(arrived), len(runs) - len(arrived) - len(waiting)
    right, wrong = counts if do else reversed(counts)
    holds = judging.majority(right, wrong, len(waiting))
    missing = [] if runs else [f"runs with {name}"]
    if holds is None:
        missing += grokking.ends_of(waiting)
    budget = max((run.config.num_steps for run in runs), default=0)
    return judging.judge(
        f"Most runs with {name} {'' if do else 'do not '}complete OOD of three hops "
        "within the budget.",
        source=SOURCE,
        expected=f"all {'do' if do else 'do not'}",
        measured=f"{len(arrived)} of {wording.count(len(runs), 'run')} do, within "
        f"{grokking.format_steps(budget)} updates",
        holds=holds,
        missing=missing,
        runs=runs,
        test="majority of runs",
    )


def _soonest_grows(by_loops: Mapping[two_hops.Cell, Sequence[Run]]) -> Claim:
    """Judges whether the R of the least median time is larger for more hops.

    A median is a bound where half of the runs or more have not arrived; it is open
    which R is soonest where no median is known, or two are equal.
    """
    soonest, said = {}, []
    for hops, event in OOD.items():
        medians = {
            loops: grokking.median(
                [grokking.completion(grokking.grok_times(r), event) for r in members]
            )
            for (_, loops), members in by_loops.items()
        }
        known = sorted((t.steps, r) for r, t in medians.items() if not t.beyond)
        if known and [time for time, _ in known].count(known[0][0]) == 1:
            soonest[hops] = known[0][1]
        said.append(
            f"{hops} hops: " + ", ".join(f"R = {r} {t}" for r, t in medians.items())
        )
    runs = [run for members in by_loops.values() for run in members]
    missing = grokking.ends_of(
        [run for run in runs if any(grokking.awaited([run], e) for e in OOD.values())]
    )
    if len(soonest) < len(OOD):
        missing.append("one R that is soonest for each number of hops")
    return judging.judge(
        "The R that completes OOD soonest is larger for three hops than for two.",
        source=SOURCE,
        expected="R = 2 for two hops, R = 4 for three",
        measured=f"median updates, {'; '.join(said)}",
        holds=soonest.get(3, 0) > soonest.get(2, 0),
        missing=missing,
        runs=runs,
        test="comparison of medians over runs",
    )
