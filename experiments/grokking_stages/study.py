"""Does the third stage of grokking need loops, and is it reached sooner with more?

Question: do train, ID and OOD accuracy complete in this order, with which delays, and
what does it take in updates, operations and time, at loop depth R = 1, 2 and 4?

Prediction (Kohli et al. 2026, arXiv:2604.07822, Section 5.2 and Figure 3): OOD never
leaves zero at R = 1; with loops it completes last, long after memorization, starts to
rise while ID still rises, and settles near .75; R = 4 is sooner than R = 2 in updates
and in time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.grokking_stages import claims as judging
from experiments.grokking_stages import drawing
from rdt_jax import registry
from rdt_jax.analysis import claims as verdicts
from rdt_jax.analysis import compute, grokking, survival
from rdt_jax.analysis import runs as run_folders
from rdt_jax.analysis.runs import Run
from rdt_jax.sweep import spec

CONFIG = "configs/knowledge_composition.py"

claims = judging.claims

LOOPS, DECAY = "recurrence.num_loops", "optimizer.weight_decay"
OOD = "ood_generalized"

_PAPER = (spec.grid(LOOPS, 1, 2, 4), spec.grid("seed", 0, 1, 2))
SWEEPS: Mapping[str, tuple[list[dict[str, Any]], ...]] = {
    "smoke": (spec.grid(LOOPS, 1, 2), spec.grid(DECAY, 0.1), spec.grid("seed", 0)),
    "cpu": (
        spec.grid(LOOPS, 1, 2, 4),
        spec.grid(DECAY, 0.1),
        spec.grid("seed", 0, 1, 2),
    ),
    "cpu_long": (
        spec.grid(LOOPS, 1, 2, 4),
        spec.grid(DECAY, 0.1),
        spec.grid("num_steps", 20_000),
        spec.grid("seed", *range(5)),
    ),
    "paper": _PAPER,  # at the weight decay of the config
}


def sweep(preset: str) -> list[dict[str, Any]]:
    """Returns the overrides of each trial; ValueError lists the presets."""
    return spec.product(*registry.lookup("preset", SWEEPS, preset))


def figures(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the study; ValueError if there is no run."""
    by_depth = judging.by_depth(runs)
    budget = run_folders.shared_value(runs, "num_steps")
    curves = {
        depth: survival.survival([judging.completed(run, OOD) for run in members])
        for depth, members in by_depth.items()
    }
    seeds = verdicts.fewest_seeds(runs)
    return {
        "stages": drawing.stages(
            by_depth,
            {run.run_id: compute.training_flops(run) / 1e12 for run in runs},
            shown=_shown(by_depth),
            chance=run_folders.chance(runs[0], "ood"),
            cost_label="operations of training (10¹²)",
        ),
        "arrivals": drawing.arrivals(
            curves,
            budget=budget,
            title="Runs that have not completed OOD: knowledge composition",
            notes=(
                f"Kaplan-Meier, {seeds} or more seeds of each R; band: pointwise 95% "
                "interval. A run is censored at its last evaluation.",
                "Completed: as in the figure of the stages.",
            ),
        ),
    }


def _shown(by_depth: Mapping[int, Sequence[Run]]) -> int:
    """The depth whose stages are drawn: most seeds that completed OOD, then deepest."""
    arrived = lambda depth: len(grokking.arrived(by_depth[depth], OOD))
    return max(by_depth, key=lambda depth: (arrived(depth), depth))
