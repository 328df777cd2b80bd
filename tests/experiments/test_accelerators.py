"""The study of recipes: its sweep, its choice of cells, and claims that can fail."""

import numpy as np
import pytest

from experiments.accelerators import cells, study
from tests import fake_runs

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
    """Returns a cell: the two seeds that choose, then those that compare."""
    return [
        run(recipe, at, seed, cell, **options)
        for seed, at in enumerate((*chosen, *times))
    ]


SOON, LATE = (30, 40, 40, 50, 60, 60), (120, 130, 140, 150, 160, None)


def recipe_of_trial(trial):
    (name,) = (
        name
        for name in cells.NAMES
        if cells.overrides_of(name).items() <= trial.items()
    )
    return name


@pytest.mark.parametrize("preset", study.SWEEPS)
def test_a_sweep_gives_all_recipes_one_grid_and_is_valid(preset):
    trials = study.sweep(preset)
    grids, others = {}, {}
    for trial in trials:
        name = recipe_of_trial(trial)
        scale = cells.SCALE.get(name, 1.0)
        rate, decay = trial[cells.RATE] / scale, trial[cells.DECAY] * scale
        cell = (float(f"{rate:.6g}"), float(f"{decay:.6g}"))
        if trial["seed"] in cells.SELECT:
            grids.setdefault(name, set()).add((*cell, trial["seed"]))
        else:
            others.setdefault(name, {}).setdefault(cell, set()).add(trial["seed"])
    assert all(grid == grids[cells.BASELINE] for grid in grids.values())
    assert len(grids[cells.BASELINE]) == len(cells.SELECT) * len(
        {cell[:2] for cell in grids[cells.BASELINE]}
    )
    assert others.keys() == grids.keys()
    (first,) = others[cells.BASELINE].values()
    for seeds_of_cells in others.values():
        (seeds,) = seeds_of_cells.values()  # One cell, the tuned one, compares.
        assert seeds <= first and len(seeds) >= 2


def test_every_recipe_is_compared_at_cpu():
    names = {recipe_of_trial(trial) for trial in study.sweep("cpu")}
    assert names == set(cells.NAMES) and len(cells.NAMES) == len(set(cells.NAMES))
    assert not set(cells.COMPARED) & set(cells.OTHERS)


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


def test_a_scaled_cell_takes_the_same_share_of_a_weight():
    for name in cells.NAMES:
        cell = cells.cell_of(name, 2e-3, 0.1)
        assert cell[cells.RATE] == pytest.approx(2e-3 * cells.SCALE.get(name, 1))
        assert cell[cells.RATE] * cell[cells.DECAY] == pytest.approx(2e-4)


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
    assert _column(study.table(members), "chosen") == ["120*"]
    members += runs_of("adamw", SOON, cell=GRID[1])[2:]
    best = cells.best_cells(members)["adamw"]
    assert (best.rate, best.decay) == GRID[1] and best.again
    assert _column(study.table(members), "chosen") == ["90"]


def _column(table, header):
    (found,) = (list(c.cells) for c in table.columns if c.header == header)
    return found


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
    # All 924 ways to choose six of twelve; two are as far apart. Six tests, of which
    # those that are missing may yet come out better.
    assert tests["muon"].p_value == pytest.approx(6 * 2 / 924)
    assert (tests["muon"].later, tests["stablemax"].later) == (0, 0.5)
    # Recipes without a claim are corrected among themselves.
    members += runs_of("lion", SOON)
    tests = cells.compare(cells.best_cells(members))
    assert tests["muon"].p_value == pytest.approx(6 * 2 / 924)
    assert tests["lion"].p_value == pytest.approx(7 * 2 / 924)
    members += runs_of("constant_norm", SOON[:5])
    members += [run("constant_norm", None, 7, state="running")]
    assert cells.compare(cells.best_cells(members)) == tests


def judged(members):
    return {claim.text.split()[0]: claim.holds for claim in study.claims(members)}


def baseline(members):
    return study.claims(members)[0]


def test_claims_hold_fail_and_wait():
    members = runs_of("adamw", LATE, chosen=(150, 150))
    assert set(judged([]).values()) == {None}
    for name in cells.COMPARED:
        assert judged(members + runs_of(name, SOON))[name] is True
        assert judged(members + runs_of(name, LATE))[name] is None
        assert judged(members)[name] is None
        fast = runs_of("adamw", SOON, chosen=(30, 30))
        assert judged(fast + runs_of(name, LATE))[name] is False
        running = runs_of(name, SOON[:5]) + [run(name, None, 7, state="running")]
        assert judged(members + running)[name] is None


def test_too_few_seeds_decide_nothing():
    members = runs_of("adamw", LATE[:3]) + runs_of("muon", SOON[:3])
    assert judged(members)["muon"] is None
    assert judged(runs_of("adamw", ()) + runs_of("muon", ()))["muon"] is None


def test_the_baseline_must_generalize_late():
    """It memorizes in 40 updates, so it is late from 90 on."""
    assert baseline(runs_of("adamw", LATE)).holds is True
    assert baseline(runs_of("adamw", SOON, train=70)).holds is False
    at_once = [20, 30, 40, 50, 60, 60]  # At the same evaluation, or a little later,
    assert baseline(runs_of("adamw", at_once)).holds is False
    assert baseline(runs_of("adamw", [60, 60, 60, 60, 70, 70])).holds is False
    late = baseline(runs_of("adamw", [60, 60, 70, 70, 70, 70]))  # and after twice 40.
    assert late.holds is True and "4 of 6 seeds, 0 memorized only" in late.measured
    assert baseline(runs_of("adamw", [None] * 6, train=None)).holds is False
    few = baseline(runs_of("adamw", LATE[:4]))
    assert few.holds is None and "missing: more seeds" in few.measured
    training = [*runs_of("adamw", LATE[:-1]), run("adamw", None, 7, state="running")]
    assert baseline(training).holds is None


def test_a_longer_budget_is_missed_where_it_could_make_most_seeds_late():
    found = baseline(runs_of("adamw", [150, 150, None, None, 30, 30]))
    assert found.holds is None
    assert "2 of 6 seeds, 2 memorized only; missing: a longer budget" in found.measured
    assert baseline(runs_of("adamw", [150] * 4 + [None, 30])).holds is True
    assert baseline(runs_of("adamw", [150, None, None, 30, 30, 30])).holds is False


def test_a_claim_gives_its_numbers():
    members = runs_of("adamw", LATE) + runs_of("muon", SOON)
    found = next(c for c in study.claims(members) if c.text.startswith("muon"))
    assert found.measured == (
        "later than AdamW in 0.00 of the pairs (0.50: neither), p = 0.013 after Holm, "
        "6 against 6 seeds."
    )
    assert found.source == "Tveit et al. 2025, arXiv:2504.16041"


def test_the_table_has_a_row_for_each_recipe():
    members = runs_of("adamw", LATE) + runs_of("muon", SOON)
    table = study.table(members)
    columns = {column.header: list(column.cells) for column in table.columns}
    assert columns["recipe"] == ["adamw", "muon"]
    assert columns["median"] == ["165", "65"]
    assert columns["interval"] == ["140 - >230", "50 - 80"]
    assert columns["n/N"] == ["5/6", "6/6"]
    assert columns["p"] == ["", "0.013"]


def test_the_table_leaves_open_what_unfinished_runs_may_change():
    members = runs_of("adamw", LATE) + runs_of("muon", SOON[:5])
    table = study.table([*members, run("muon", None, 7, state="running")])
    columns = {column.header: list(column.cells) for column in table.columns}
    assert (columns["median"][1], columns["p"][1]) == ("...", "")


def test_the_figure_has_a_row_for_each_recipe():
    members = runs_of("adamw", LATE) + runs_of("muon", SOON)
    (panel,) = study.figures(members)["times"].axes
    labels = [label.get_text() for label in panel.get_yticklabels()]
    assert labels == ["adamw (0.0005, 0.1)", "muon (0.0005, 0.1)"]
    drawn = {line.get_marker(): 0 for line in panel.lines}
    for line in panel.lines:
        drawn[line.get_marker()] += (
            line.get_xdata().size if line.get_marker() != "|" else 1
        )
    assert drawn == {"o": 11, ">": 1, "|": 2}
    with pytest.raises(ValueError, match="No recipe has all of its runs"):
        study.figures([run("adamw", None, 5, state="running")])
