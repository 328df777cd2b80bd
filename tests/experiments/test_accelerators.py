"""The study of recipes: its sweep, its choice of cells, and claims that can fail."""

import collections
import functools

import numpy as np
import pytest

from experiments.accelerators import cells, study
from rdt_jax.figures import study as studies
from tests import fake_runs
from tests.experiments import verdicts

GRID = ((5e-4, 0.1), (2e-3, 1.0))


def run(recipe, at, seed, cell=GRID[0], train=20, **options):
    """Returns a run of a recipe whose ID accuracy jumps at a step, None for never."""
    overrides = cells.overrides_of(recipe) | {cells.RATE: cell[0]}
    return fake_runs.make(
        jumps={"train": train, "id": at},
        seed=seed,
        decay=cell[1],
        **{key.replace(".", "__"): value for key, value in overrides.items()},
        **options,
    )


def runs_of(recipe, times, chosen=(100, 100), cell=GRID[0], **options):
    """Returns a cell: the two pairs that choose, then those that compare."""
    return [
        run(recipe, at, seed, cell, **options)
        for seed, at in enumerate((*chosen, *times), min(cells.SELECT))
    ]


SOON, LATE = (30, 40, 40, 50, 60, 60), (120, 130, 140, 150, 160, None)
AFTER = (70, 70, 80, 80, 90, 100)  # Late, beside 40 updates to memorize, yet sooner.


def recipe_of_trial(trial):
    keys = cells.overrides_of
    (name,) = (name for name in cells.NAMES if keys(name).items() <= trial.items())
    return name


@pytest.mark.parametrize("preset", study.SWEEPS)
def test_a_sweep_gives_all_recipes_one_grid_and_is_valid(preset):
    trials = study.sweep(preset)
    grids, others = {}, {}
    for trial in trials:
        name, cell = recipe_of_trial(trial), (trial[cells.RATE], trial[cells.DECAY])
        assert trial["seed"] == trial["task.seed"]
        if trial["seed"] in cells.SELECT:
            grids.setdefault(name, set()).add((*cell, trial["seed"]))
        else:
            others.setdefault(name, {}).setdefault(cell, set()).add(trial["seed"])
    assert all(grid == grids[cells.BASELINE] for grid in grids.values())
    assert len(grids[cells.BASELINE]) == len(cells.SELECT) * len(
        {cell[:2] for cell in grids[cells.BASELINE]}
    )
    chosen = study.TUNED.get(preset, others)
    assert others.keys() == chosen.keys() <= grids.keys()
    first = set(study.PAIRS[cells.BASELINE])
    for seeds_of_cells in others.values():
        (seeds,) = seeds_of_cells.values()  # One cell, the tuned one, compares.
        assert seeds <= first and len(seeds) >= 2


def test_every_recipe_is_compared_at_cpu():
    for preset in ("cpu", "cpu_long"):
        names = {recipe_of_trial(trial) for trial in study.sweep(preset)}
        assert names == {cells.BASELINE, *cells.COMPARED}


def test_the_cell_that_was_chosen_is_trained_by_the_pairs_that_compare():
    tuned, seeds = {"muon": (2e-3, 0.1)}, {"muon": (32, 33)}
    trials = study.trials_of(("muon",), (1e-3, 2e-3), (0.1, 0.3), tuned, seeds)
    found = [(t[cells.RATE], t[cells.DECAY], t["seed"]) for t in trials]
    assert [cell for cell in found if cell[2] > 31] == [
        (2e-3, 0.1, s) for s in (32, 33)
    ]
    assert len(found) == 4 * 2 + 2


def test_a_run_tells_its_recipe():
    for name in cells.NAMES:
        assert cells.recipe_of(run(name, 50, 0)) == name
    other = run("muon", 50, 0, optimizer__warmup_steps=1)
    assert cells.recipe_of(other) == "muon"
    two = fake_runs.make(
        jumps={"id": 50}, optimizer__name="muon", gradient__orthogonal=True
    )
    with pytest.raises(ValueError, match="has no recipe of experiments/accelerators"):
        cells.recipe_of(two)


def test_the_seeds_that_choose_do_not_compare():
    """The cell that is best on the seeds that choose is worse on the others."""
    members = runs_of("adamw", SOON, chosen=(90, 110), cell=GRID[0])
    members += runs_of("adamw", LATE, chosen=(60, 80), cell=GRID[1])
    best = cells.best_cells(members)["adamw"]
    assert (best.rate, best.decay) == GRID[1]
    np.testing.assert_array_equal(best.chosen, [80, 100])  # 20 after their jump.
    np.testing.assert_array_equal(best.times, [140, 150, 160, 170, 180, np.inf])
    np.testing.assert_array_equal(best.memorized, [40] * 6)


def test_a_cell_without_other_seeds_is_not_compared_though_it_is_chosen():
    members = runs_of("adamw", SOON, chosen=(90, 110), cell=GRID[0])
    members += runs_of("adamw", (), chosen=(60, 80), cell=GRID[1])
    best = cells.best_cells(members)["adamw"]
    assert (best.rate, best.decay) == GRID[0] and not best.again
    assert verdicts.columns(study.table(members))["chosen"] == ["120*"]
    members += runs_of("adamw", SOON, cell=GRID[1])[2:]
    best = cells.best_cells(members)["adamw"]
    assert (best.rate, best.decay) == GRID[1] and best.again
    assert verdicts.columns(study.table(members))["chosen"] == ["90"]


def test_a_censored_run_counts_as_last_in_the_choice():
    members = runs_of("adamw", SOON, chosen=(20, None), cell=GRID[0])
    members += runs_of("adamw", SOON, chosen=(200, 190), cell=GRID[1])
    assert cells.best_cells(members)["adamw"].rate == GRID[1][0]
    members = runs_of("adamw", SOON, chosen=(None, None), cell=GRID[0])
    members += runs_of("adamw", SOON, chosen=(None, 180), cell=GRID[1])
    assert cells.best_cells(members)["adamw"].rate == GRID[1][0]


def test_p_values_are_those_of_holm():
    members = (
        runs_of("adamw", LATE) + runs_of("muon", SOON) + runs_of("stablemax", LATE)
    )
    tests = cells.compare(cells.best_cells(members))
    assert list(tests) == ["muon", "stablemax"]
    # All 924 ways to choose six of twelve; two are as far apart.
    assert tests["muon"].p_value == pytest.approx(2 / 924)
    assert (tests["muon"].later, tests["stablemax"].later) == (0, 0.5)
    # Six tests, of which those that are missing may yet come out better.
    assert cells.after_holm(tests)["muon"].p_value == pytest.approx(6 * 2 / 924)
    judged = {c.text.split()[4]: c for c in studies.claims(study, members)[1:]}
    assert judged["muon"].adjusted_p == pytest.approx(6 * 2 / 924)
    members += runs_of("constant_norm", SOON[:5])
    members += [run("constant_norm", None, 37, state="running")]
    assert cells.compare(cells.best_cells(members)) == tests


ask = verdicts.asked(
    functools.partial(studies.claims, study), ("adamw", *cells.COMPARED)
)


@pytest.mark.parametrize("name", cells.COMPARED)
def test_claims_hold_fail_and_wait(name):
    members = runs_of("adamw", LATE, chosen=(150, 150))
    ask(name, members + runs_of(name, SOON), True)
    ask(name, members + runs_of(name, LATE), None)
    ask(name, members, None)
    soon = runs_of("adamw", AFTER, chosen=(30, 30))
    ask(name, soon + runs_of(name, LATE), False)
    running = runs_of(name, SOON[:5]) + [run(name, None, 37, state="running")]
    ask(name, members + running, None)


@pytest.mark.parametrize("name", cells.COMPARED)
def test_without_a_delay_there_is_nothing_to_shorten(name):
    """However clear the difference is: it says who learns sooner."""
    at_once = runs_of("adamw", (60,) * 6, chosen=(60, 60))
    ask("adamw", at_once, False)
    sooner = at_once + runs_of(name, (20,) * 6)
    assert ask(name, sooner, None, "0.00", "a tuned AdamW that is late").p_value < 0.01


def test_too_few_seeds_that_are_over_decide_nothing():
    ask("muon", runs_of("adamw", LATE[:3]) + runs_of("muon", SOON[:3]), None)
    ask("muon", runs_of("adamw", ()) + runs_of("muon", ()), None)
    training = run("adamw", None, 37, state="running")
    ask("adamw", [*runs_of("adamw", LATE[:-1]), training], None)


@pytest.mark.parametrize(
    ("times", "train", "expected"),
    [
        (LATE, 20, (True,)),
        (SOON, 70, (False,)),
        # At the same evaluation, or a little later.
        ((20, 30, 40, 50, 60, 60), 20, (False,)),
        ((60, 60, 60, 60, 70, 70), 20, (False,)),
        ((60, 60, 70, 70, 70, 70), 20, (True, "4 6 0")),  # And after twice 40.
        (6 * (None,), None, (False,)),
        (LATE[:4], 20, (None, "", "more pairs")),
        # A longer budget is missed where it could make most seeds late.
        ((150, 150, None, None, 30, 30), 20, (None, "2 6 2", "a longer budget")),
        ((150, 150, 150, 150, None, 30), 20, (True,)),
        ((150, None, None, 30, 30, 30), 20, (False,)),
    ],
)
def test_the_baseline_must_generalize_late(times, train, expected):
    """It memorizes in 40 updates, so it is late from 90 on."""
    ask("adamw", runs_of("adamw", times, train=train), *expected)


def test_a_claim_gives_its_numbers():
    members = runs_of("adamw", LATE) + runs_of("muon", SOON)
    found = ask("muon", members, True, "0.00 0.50 6 6")
    assert (
        found.text.startswith("Where AdamW is late, muon")
        and "arXiv:2504.16041" in found.source
    )


def test_the_table_has_a_row_for_each_recipe():
    members = runs_of("adamw", LATE) + runs_of("muon", SOON)
    columns = verdicts.columns(study.table(members))
    assert columns["recipe"] == ["adamw", "muon"]
    assert columns["median"] == ["165", "65"]
    assert columns["interval"] == ["140 - >230", "50 - 80"]
    assert columns["n/N"] == ["5/6", "6/6"]
    assert columns["p"] == ["", "0.013"]


def test_the_table_leaves_open_what_unfinished_runs_may_change():
    members = runs_of("adamw", LATE) + runs_of("muon", SOON[:5])
    members.append(run("muon", None, 37, state="running"))
    columns = verdicts.columns(study.table(members))
    assert (columns["median"][1], columns["p"][1]) == ("...", "")


def test_the_figure_has_a_row_for_each_recipe():
    members = runs_of("adamw", LATE) + runs_of("muon", SOON)
    (panel,) = study.figures(members)["times"].axes
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels == ["adamw (0.0005, 0.1)", "muon (0.0005, 0.1)"]
    drawn = collections.Counter()
    for line in panel.lines:
        drawn[line.get_marker()] += np.size(line.get_xdata())
    assert (drawn["o"], drawn[">"], drawn["|"]) == (11, 1, 2)
    assert study.figures([run("adamw", None, 35, state="running")]) == {}
