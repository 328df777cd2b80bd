"""Of a run that is gone nobody knows what it did, so no verdict may depend on it."""

import numpy as np
import pytest

from experiments.accelerators import cells as recipes
from rdt_jax import config as configs
from rdt_jax.analysis import laws, statistics
from rdt_jax.figures import study as studies
from tests import fake_runs
from tests.conftest import ROOT

KNOWLEDGE = configs.load(f"{ROOT}/configs/knowledge_composition.py:smoke")
MODULAR = configs.load(f"{ROOT}/configs/modular.py:smoke")
# What any run may have done: when its accuracies on train, ID and OOD rose.
OUTCOMES = (
    (20, 40, 60), (20, 40, 170), (20, 120, None), (10, 10, 10), (20, None, None),
    (None, None, None), "nan",
)  # fmt: skip
GROKS, NEVER = (20, 60, 150), (20, 50, None)


def run(outcome, place, *, splits, base):
    """Returns a run of a place in a sweep, with an outcome."""
    failed = outcome == "nan"
    jumps = dict(
        zip(("train", "id", "ood"), 3 * [None] if failed else outcome, strict=True)
    )
    how = {"until": 60, "state": "failed", "reason": "nan"} if failed else {}
    made = fake_runs.make(
        jumps={split: jumps[split] for split in splits}, base=base, **place, **how
    )
    top = 17.0 if jumps["id"] is None else 12.0
    for row in made.metrics:
        row["model/weight_norm"] = float(
            np.interp(row["step"], (0, 60, 230), (14, 17, top))
        )
    return made


def grid(loops, seeds, **fixed):
    return [{"loops": r, "seed": seed, **fixed} for r in loops for seed in seeds]


def of_recipe(name, seeds):
    keys = recipes.overrides_of(name) | {recipes.RATE: 5e-4}
    flat = {key.replace(".", "__"): value for key, value in keys.items()}
    return [{"seed": seed, "decay": 0.1, **flat} for seed in seeds]


def addition(decay=1.0, fraction=0.6, **more):
    more["task__kwargs__train_fraction"] = fraction
    return [{"loops": 1, "seed": seed, "decay": decay, **more} for seed in range(3)]


# study -> its places, what each did, the splits it has, and the base of its configs
LOOPED = [*grid((1, 2, 4), range(3))]
STUDIES = {
    "depth_by_decay": (LOOPED, [NEVER] * 3 + [GROKS] * 3 + [(20, 40, 60)] * 3, 3),
    "grokking_stages": (LOOPED, [NEVER] * 3 + [GROKS] * 3 + [(20, 40, 60)] * 3, 3),
    "modular_addition": (
        [*addition(snapshot_steps=(0, 10)), *addition(0.6), *addition(1.4),
         *addition(0.0, snapshot_steps=(0, 10)), *addition(fraction=0.5),
         *addition(fraction=0.7)],
        [GROKS] * 3 + [(20, 110, 0)] * 3 + [(20, 40, 0)] * 3
        + [(20, None, 0)] * 3 + [(20, 100, 0)] * 3 + [(20, 40, 0)] * 3,
        2,
    ),
    "accelerators": (
        of_recipe("adamw", range(30, 38)) + of_recipe("muon", range(30, 38)),
        [(20, 150, 0)] * 8 + [(20, 30 + 10 * k, 0) for k in range(8)],
        2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_a_verdict_beside_a_lost_run_stands_whatever_that_run_did(name, monkeypatch):
    monkeypatch.setattr(laws, "BOOTSTRAPS", 50)
    monkeypatch.setattr(statistics, "DRAWS", 99)
    study = configs.load_module(ROOT / "experiments" / name / "study.py", "study")
    places, outcomes, count = STUDIES[name]
    kind = {"splits": ("train", "id", "ood")[:count]}
    kind["base"] = KNOWLEDGE if count == 3 else MODULAR
    members = [run(o, p, **kind) for o, p in zip(outcomes, places, strict=True)]
    judge = lambda runs: {claim.text: claim.holds for claim in study.claims(runs)}
    assert set(judge(members).values()) & {True, False}
    checked = 0
    for index in range(0, len(members), max(1, len(members) // 4)):
        beside = lambda other, i=index: [*members[:i], other, *members[i + 1 :]]
        gone = beside(fake_runs.lost(members[index]))
        assert (
            studies.table(study, gone).row_count
            == studies.table(study, members).row_count
        )
        stands = {t: v for t, v in judge(gone).items() if v is not None}
        for outcome in OUTCOMES:
            found = judge(beside(run(outcome, places[index], **kind)))
            differing = {t: found[t] for t in stands if found[t] != stands[t]}
            assert not differing, (places[index], outcome)
            checked += len(stands)
    assert checked
