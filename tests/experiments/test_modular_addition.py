"""Every claim holds, fails and waits on runs that were made up for it."""

import itertools

import numpy as np
import pytest

from experiments.modular_addition import cells, claims, frequencies, study
from rdt_jax import config as configs
from rdt_jax.analysis import fourier, laws, statistics
from tests import fake_runs
from tests.conftest import ROOT

BASE = configs.load(f"{ROOT}/{study.CONFIG}:cpu")
SEEDS = range(5)
MODULUS = 31
CHANCE = np.log(MODULUS)
STEPS = np.arange(0, 231, 10)
ORDER = (
    "late", "data", "never", "law", "memorizes", "norm", "first", "excluded", "few",
    "network",
)  # fmt: skip


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    """Intervals and tests of planted effects need no more."""
    monkeypatch.setattr(laws, "BOOTSTRAPS", 100)
    monkeypatch.setattr(statistics, "DRAWS", 499)


def run(seed, generalized, *, memorized=20, decay=1.0, fraction=0.6, **options):
    """Returns a run that completes its phases 20 updates after the given ones."""
    # It rises to the middle and falls; where nothing is understood it stays.
    norm = options.pop("norm", (14.0, 17.0, 12.0 if generalized else 17.0))
    made = fake_runs.make(
        jumps={"train": memorized, "id": generalized},
        loops=options.pop("loops", 1),
        decay=decay,
        seed=seed,
        base=BASE,
        task__kwargs__train_fraction=fraction,
        **options,
    )
    for row in made.metrics:
        row["model/weight_norm"] = float(np.interp(row["step"], (0, 60, 230), norm))
    return made


def noisy(run, seed=0, size=0.1):
    """Returns a run whose norm rises by 3 to a plateau on which it fluctuates."""
    rng = np.random.default_rng([run.config.seed, seed])
    for row in run.metrics:
        level = np.interp(row["step"], (0, 60), (14.0, 17.0))
        row["model/weight_norm"] = float(level + size * rng.normal())
    return run


def base(generalized=100, **options):
    return [run(seed, generalized, snapshot_steps=(0, 10), **options) for seed in SEEDS]


def by_decay(exponent=1.0, memorized=20):
    """Returns runs whose time goes with decay by the exponent: 120 at 1."""
    found = []
    for decay in (0.6, 2.0):
        at = 120 * decay**-exponent - 20
        found += [
            run(seed, round(at + 10 * (seed % 2), -1), decay=decay, memorized=memorized)
            for seed in SEEDS
        ]
    return found


def by_fraction(*times):
    return [
        run(seed, at, fraction=fraction)
        for fraction, at in zip((0.4, 0.5, 0.8), times, strict=True)
        for seed in SEEDS
    ]


def without_decay(at=None, **options):
    return [run(seed, at, decay=0.0, **options) for seed in SEEDS]


def good_runs():
    return [
        *base(), *by_decay(), *by_fraction(None, 150, 50), *without_decay(),
    ]  # fmt: skip


def progress(
    restricted=80, whole=110, excluded=(1.0, 3.0), gini=(0.2, 0.6), ends=None,
    spikes=(),
):  # fmt: skip
    """Returns measures: losses that fall at given steps, others that go evenly."""
    alone, without = ends or (0.1, 4.0)
    shape = (STEPS.size, 1, len(fourier.GROUPS))
    loss = lambda at: np.where(STEPS < at, 5.0, alone)[:, None, None] + np.zeros(shape)
    rising = np.interp(STEPS, (40, 120), excluded)[:, None, None] + np.zeros(shape)
    rising[-1, -1, 0] = without
    rising[np.isin(STEPS, spikes)] = 9.0
    frequencies = np.zeros((STEPS.size, 1, MODULUS // 2))
    return fourier.Progress(
        step=STEPS,
        is_key=np.arange(MODULUS // 2) < 3,
        share=frequencies,
        embedding_share=frequencies[:, 0],
        gini=np.interp(STEPS, (40, 230), gini)[:, None],
        embedding_gini=np.interp(STEPS, (40, 230), gini),
        loss=loss(whole),
        restricted_loss=loss(restricted),
        excluded_loss=rising,
        excluded_by_frequency=1.0 + frequencies,
        accuracy=np.ones(shape),
        sum_squared_weights=1.0 * STEPS,
    )


def judge(runs, **measures):
    """Returns the claims by name; all runs of the base cell have these measures."""
    inside = cells.followed(cells.base(runs), lambda *_: progress(**measures))
    found = claims.judge_all(runs, inside)
    return dict(zip(ORDER, found, strict=True))


def test_all_hold_on_runs_that_are_as_published():
    found = judge(good_runs())
    assert {name: claim.holds for name, claim in found.items()} == dict.fromkeys(
        ORDER, True
    ), found
    assert all(claim.seeds == 5 for claim in found.values())


def test_runs_that_still_train_leave_their_claims_open():
    going = {"until": 100, "state": "running", "reason": None}
    found = judge(base(None, **going) + by_decay() + without_decay(None, **going))
    assert {name for name, claim in found.items() if claim.holds is None} == set(ORDER)


REST = (by_decay, without_decay)
BAD = {
    "late": lambda: base(30),  # Soon after it memorized.
    "data": lambda: [*base(), *by_fraction(50, 100, 100)],
    "never": lambda: [*base(), *by_decay(), *without_decay(150)],
    "law": lambda: [*base(), *by_decay(0.3)],
    "memorizes": lambda: [
        *base(memorized=60),
        *[run(s, 180, memorized=10, decay=0.3) for s in SEEDS],
        *[run(s, 180, memorized=150, decay=2.0) for s in SEEDS],
    ],
    "norm": lambda: base(norm=(14.0, 15.0, 16.0)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_claim_on_times_fails_on_runs_that_contradict_it(name):
    assert judge(BAD[name]())[name].holds is False


# Updates at which accuracy jumps: late, soon, or in no budget so far.
SPENT = {"late": (100, 20), "soon": (30, 20), "memorized": (None, 20),
         "ignorant": (None, None)}  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "holds"),
    [
        (("late", "late", "memorized", "memorized", "soon"), None),
        (("late", "late", "late", "memorized", "soon"), True),
        (("late", "memorized", "soon", "soon", "soon"), False),
        (("late", "late", "memorized", "soon", "soon"), None),
        (("memorized",) * 5, None),
        (("late", "late", "soon", "ignorant", "ignorant"), False),
    ],
)
def test_a_longer_budget_is_missed_where_it_could_turn_the_majority(kinds, holds):
    runs = []
    for seed, (generalized, memorized) in enumerate(SPENT[kind] for kind in kinds):
        options = {"memorized": memorized, "snapshot_steps": (0, 10)}
        runs.append(run(seed, generalized, **options))
    claim = judge(runs)["late"]
    assert claim.holds is holds
    assert ("missing: a longer budget" in claim.measured) is (holds is None)


def test_a_run_that_failed_will_never_be_late():
    broken = {"state": "stopped", "reason": "nan", "snapshot_steps": (0, 10)}
    runs = [run(seed, None if seed else 100, **broken) for seed in SEEDS]
    assert judge(runs)["late"].holds is False


def test_a_norm_that_fluctuates_has_not_fallen():
    """At almost any time it is below the largest value before, and by how little."""
    runs = [noisy(one) for one in base()] + by_fraction(None, 150, 50)[:5]
    norms = [[row["model/weight_norm"] for row in one.metrics] for one in runs[:5]]
    assert all(norm[12] < max(norm[:12]) for norm in norms)
    claim = judge(runs)["norm"]
    assert claim.holds is False
    assert "0 of 5 late runs, 0 of 5 runs that memorized only" in claim.measured


def test_a_norm_that_falls_as_well_without_generalization_tells_nothing():
    late, falling = base(), (14.0, 17.0, 12.0)
    alike = [run(s, None, fraction=0.4, norm=falling) for s in SEEDS]
    claim = judge([*late, *alike])["norm"]
    assert claim.holds is False
    assert "5 of 5 late runs, 5 of 5 runs that memorized only" in claim.measured
    stay = [run(s, None, fraction=0.4) for s in SEEDS]
    assert judge([*late, *stay])["norm"].holds is True
    some = judge([*late, *stay[:2], *alike[2:]])["norm"]
    assert some.holds is None and "more runs: others fall as well" in some.measured


def test_the_norm_of_late_runs_is_told_from_that_of_others():
    claim = judge(base())["norm"]
    assert claim.holds is None and "one that memorizes only" in claim.measured
    soon = [run(s, 30, fraction=0.8, norm=(14.0, 15.0, 16.0)) for s in SEEDS]
    assert "5 of 5 late runs, 0 of 0" in judge([*base(), *soon])["norm"].measured


def law(low, high):
    middle = (low + high) / 2
    return lambda *_: laws.PowerLaw(middle, low, high, 100.0, 15, 0)


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [
        (0.6, 1.8, True),
        (0.23, 2.1, None),  # Of the root as well as the square.
        (0.4, 1.2, None),
        (0.9, 2.0, None),
        (-1.0, 3.0, None),
        (1.2, 1.8, False),
        (0.0, 0.9, False),
    ],
)
def test_a_time_is_inverse_to_decay_within_bounds(monkeypatch, low, high, holds):
    monkeypatch.setattr(laws, "fit_power", law(low, high))
    claim = judge([*base(), *by_decay()])["law"]
    assert claim.holds is holds
    assert ("a narrower interval" in claim.measured) is (holds is None)


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [
        (-0.2, 0.25, True),
        (-0.3, 0.1, None),
        (0.05, 0.4, None),
        (0.3, 0.5, False),
        (-0.9, -0.3, False),
    ],
)
def test_a_time_depends_on_decay_beyond_bounds(monkeypatch, low, high, holds):
    monkeypatch.setattr(laws, "fit_power", law(low, high))
    assert judge([*base(), *by_decay()])["memorizes"].holds is holds


@pytest.mark.parametrize(("name", "exponent"), [("law", 1), ("memorizes", 0)])
def test_a_seed_stands_at_every_decay_as_one(name, exponent):
    """Some seeds are two to five times as late as others, at every decay alike."""
    decays, first = (0.75, 1.0, 1.5), (60, 90, 120, 150, 90)
    outliers = {(1, 1.0), (2, 0.75), (3, 1.5)}
    if name == "memorizes":
        first = (40, 80, 120, 160, 200)
    runs = []
    for decay, s in itertools.product(decays, SEEDS):
        at = round(first[s] * decay**-exponent) - 20  # It completes 20 later,
        at += 10 * ((s, decay) in outliers)  # or at the next evaluation.
        memorized = {"law": 10, "memorizes": at}[name]
        kept = {"snapshot_steps": (0, 10)} if decay == 1 else {}
        runs.append(run(s, at, memorized=memorized, decay=decay, **kept))
    assert judge(runs)[name].holds is True


@pytest.mark.parametrize(
    ("name", "measures"),
    [
        ("first", {"restricted": 110}),  # Together.
        ("first", {"restricted": 130}),
        ("first", {"restricted": 999}),  # Never.
        ("excluded", {"excluded": (3.0, 1.0)}),
        ("excluded", {"excluded": (2.0, 2.0)}),
        ("few", {"gini": (0.6, 0.2)}),
        ("network", {"ends": (3.0, 4.0)}),  # The keys are not enough,
        ("network", {"ends": (0.1, 0.2)}),  # not needed.
    ],
)
def test_a_claim_on_frequencies_fails_on_measures_that_contradict_it(name, measures):
    assert judge(good_runs(), **measures)[name].holds is False


def test_measures_that_are_not_stored_are_missed():
    found = claims.judge_all(good_runs(), [])
    assert [claim.holds for claim in found[-4:]] == [None] * 4
    assert "the stored progress measures of 5 runs" in found[-1].measured


def few(members, **measures):
    """Returns the claims on frequencies when only these members are measured."""
    inside = cells.followed(members, lambda *_: progress(**measures))
    found = frequencies.judge_all(base(), inside)
    return dict(zip(ORDER[-4:], found, strict=True))


def test_runs_that_are_not_measured_are_counted():
    three, two = base()[:3], base()[:2]
    found = few(three)["network"]
    assert found.holds is True and "3 of 5 runs measured" in found.measured
    found = few(two)["network"]
    assert found.holds is None
    assert "2 of 5 runs measured; missing: the stored progress me" in found.measured
    assert few(three, ends=(0.1, 0.2))["network"].holds is False
    assert "measured" not in few(base())["network"].measured


@pytest.mark.parametrize("over", [1, 2, 3])
def test_runs_that_still_train_are_waited_for_unless_they_cannot_matter(over):
    """Also those that have generalized and whose measures are stored already."""
    going = {"until": 200, "state": "running", "reason": None}
    options = [{} if seed < over else going for seed in SEEDS]
    runs = [run(s, 100, snapshot_steps=(0, 10), **options[s]) for s in SEEDS]
    good, bad = judge(runs), judge(runs, ends=(0.1, 0.2), excluded=(3.0, 1.0))
    decided = over == 3
    assert good["network"].holds is (True if decided else None)
    assert bad["network"].holds is bad["excluded"].holds is (False if decided else None)
    assert decided or f"the end of {5 - over} runs" in bad["network"].measured


def test_one_snapshot_does_not_make_the_excluded_loss_rise():
    found = judge(base(), excluded=(3.0, 1.0), spikes=(120,))["excluded"]
    assert found.holds is False
    assert "medians (nats: first and last third) 2.75 and 1.5" in found.measured
    assert judge(base(), excluded=(1.0, 3.0), spikes=(40,))["excluded"].holds is True


def test_too_few_snapshots_say_nothing_of_the_excluded_loss():
    found = judge(base(90))["excluded"]  # 40 to 110, of which every 10th is kept
    assert found.holds is None
    assert "0 of 5 runs measured; missing: the stored progress" in found.measured
    assert "with 9 snapshots between of 5 runs" in found.measured


def test_too_wide_an_interval_decides_nothing():
    rng = np.random.default_rng(0)
    runs = [*base()]
    for decay in (0.9, 1.1):
        runs += [run(s, int(rng.integers(3, 18)) * 10, decay=decay) for s in SEEDS]
    claim = judge(runs)["law"]
    assert claim.holds is None and "narrower interval" in claim.measured


def test_censored_runs_are_counted_and_not_dropped():
    """Half of the slow cell never arrives: the law is as before, and says so."""
    slow = [run(s, at, decay=0.6) for s, at in enumerate((170, 190, None, None, None))]
    spread = [run(s, 80 + 10 * s, snapshot_steps=(0, 10)) for s in SEEDS]
    runs = [*spread, *slow, *[run(s, 20 + 10 * s, decay=2.0) for s in SEEDS]]
    claim = judge(runs)["law"]
    assert claim.holds is True
    assert "3 of 15 censored" in claim.measured
    assert "0.6: beyond the budget (2/5)" in claim.measured


def test_a_median_that_a_lost_run_could_move_is_not_known():
    """Of 60, 110 and one that is gone the median lies anywhere between the two."""
    for others, said in (((40, 90), "not known yet (2/3)"), ((40, 40), "60 (2/3)")):
        runs = [run(s, at, snapshot_steps=(0, 10)) for s, at in enumerate(others)]
        runs.append(fake_runs.lost(run(2, 40, snapshot_steps=(0, 10))))
        assert f"1: {said}" in judge(runs)["law"].measured
        notes = [text.get_text() for text in study.figures(runs)["data_fraction"].texts]
        assert any(note.startswith("1 of 3 runs are not over, or") for note in notes)


def test_without_decay_a_budget_must_suffice_with_it():
    never = [*base(None), *[run(s, None, decay=0.5) for s in SEEDS], *without_decay()]
    claim = judge(never)["never"]
    assert claim.holds is None and "a run with decay that" in claim.measured
    found = judge([*base(), *without_decay(memorized=None)])["never"]
    assert found.holds is None and "runs without decay that memorize" in found.measured


@pytest.mark.parametrize("preset", study.SWEEPS)
def test_a_sweep_is_valid_and_has_its_cells(preset):
    trials = study.sweep(preset)
    config = configs.load(f"{ROOT}/{study.CONFIG}:{preset}")
    resolved = [configs.override(config, trial) for trial in trials]
    followed = [config for config in resolved if config.snapshot_steps]
    assert all(not config.stop_after_phases for config in followed)
    assert 0 in followed[0].snapshot_steps
    assert followed[0].snapshot_steps[-1] == followed[0].num_steps
    others = [config for config in resolved if not config.snapshot_steps]
    keys = [study.DECAY, study.FRACTION]
    flat = lambda c: (c.optimizer.weight_decay, c.task.kwargs.train_fraction)
    first = flat(followed[0])
    for config in others:
        assert config.recurrence.num_loops == 1
        assert sum(a != b for a, b in zip(flat(config), first, strict=True)) == 1, keys


def test_cells_are_those_that_differ_in_one_number():
    runs = good_runs() + base(loops=2)
    assert set(cells.by_decay(runs)) == {0.0, 0.6, 1.0, 2.0}
    assert set(cells.by_fraction(runs)) == {0.4, 0.5, 0.6, 0.8}
    assert all(len(members) == 5 for members in cells.by_decay(runs).values())
    assert len(cells.base(runs)) == len(cells.base(runs, 2)) == 5


def test_the_table_has_a_row_for_each_cell():
    table = study.table([*good_runs(), *base(loops=2)])
    columns = {column.header: list(column.cells) for column in table.columns}
    assert columns["R"] == ["1"] * 7 + ["2"]
    row = columns["decay"].index("0")
    assert columns["generalized"][row] == "> 230 0/5"
    assert columns["memorized"][row] == "40 5/5"


def test_the_figures_show_every_run(monkeypatch):
    monkeypatch.setattr(cells, "followed", _followed)
    runs = [*good_runs(), *base(loops=2)]
    found = study.figures(runs)
    assert set(found) == {"accuracy", "data_fraction", "weight_decay", "progress"}
    (panel,) = found["data_fraction"].axes
    drawn = [line for line in panel.lines if line.get_marker() in ("o", "^")]
    assert sum(line.get_xdata().size for line in drawn) == 2 * 4 * 5
    (panel,) = found["weight_decay"].axes
    drawn = [line for line in panel.lines if line.get_marker() in ("o", "^")]
    assert sum(line.get_xdata().size for line in drawn) == 2 * 3 * 5
    assert len([line for line in panel.lines if line.get_linestyle() == "--"]) == 1
    texts = " ".join(text.get_text() for text in found["weight_decay"].texts)
    assert "At weight decay 0, not on this axis, 0 of 5 runs generalize" in texts
    panels = found["progress"].axes
    assert len(panels) == 5 * 2
    assert len([t for t in panels[4].texts if t.get_text().startswith("k = ")]) == 1


def _followed(runs):
    at = [
        tuple(cells.completed(run, e) for e in (cells.MEMORIZED, cells.GENERALIZED))
        for run in runs
    ]
    return [
        cells.Inside(run, progress(), *times)
        for run, times in zip(runs, at, strict=True)
    ]


def test_there_is_nothing_to_draw_without_the_base_cell():
    with pytest.raises(ValueError, match="No run of the base cell yet"):
        study.figures(by_decay())
