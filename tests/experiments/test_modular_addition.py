"""Every claim holds, fails and waits on runs that were made up for it."""

import itertools

import numpy as np
import pytest

from experiments.modular_addition import cells, claims, frequencies, study
from rdt_jax import config as configs
from rdt_jax.analysis import fourier, laws, statistics
from tests import fake_runs
from tests.conftest import ROOT
from tests.experiments import verdicts

BASE = configs.load(f"{ROOT}/{study.CONFIG}:cpu")
SEEDS = range(5)
MODULUS = 31
CHANCE = np.log(MODULUS)
STEPS = np.arange(0, 231, 10)
ORDER = (
    "late", "data", "percent", "never", "law", "time", "memorizes", "norm", "first",
    "excluded", "few", "heads", "entropies", "enough", "needed",
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


def base(generalized=100, **options):
    return [run(seed, generalized, snapshot_steps=(0, 10), **options) for seed in SEEDS]


def by_decay(exponent=1.0, memorized=20):
    """Returns runs whose delay goes with decay by the exponent: 80 at 1."""
    found = []
    for decay in (0.5, 4 / 3):
        at = 80 * decay**-exponent + memorized
        apart = (0, 10, -10, 0, 0) if decay < 1 else (0,) * 5
        found += [
            run(seed, round(at + apart[seed], -1), decay=decay, memorized=memorized)
            for seed in SEEDS
        ]
    return found


def by_fraction(*times):
    return [
        run(seed, at, fraction=fraction)
        for fraction, at in zip((0.4, 0.5, 0.8), times, strict=True)
        for seed in SEEDS
    ]


def without_decay(at=None, budget=1_200, **options):
    """Returns runs with the budget of the question, of which 230 updates are shown."""
    options = {"num_steps": budget, "snapshot_steps": (0, 10)} | options
    return [run(seed, at, decay=0.0, **options) for seed in SEEDS]


def good_runs():
    return base() + by_decay() + by_fraction(None, 150, 50) + without_decay()


def progress(
    restricted=80, whole=110, excluded=(1.0, 3.0), gini=(0.2, 0.6), ends=None,
    spikes=(), heads=(0.9, 0.4), entropies=(0.1, 0.5), last=230,
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
        step=STEPS * last // 230,
        head_similarity=np.interp(STEPS, (40, 230), heads),
        entropy_spread=np.interp(STEPS, (40, 230), entropies),
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


STILL = {"gini": (0.2, 0.2), "heads": (0.9, 0.9), "entropies": (0.1, 0.1)}


def ask(name, runs, *expected, without=STILL, **measures):
    """Checks a claim where the runs of the base cell have these measures.

    Those without decay have others, None for none.
    """

    def load(run, *_):
        given = measures if run.config.optimizer.weight_decay else without
        return None if given is None else progress(**given)

    inside = cells.followed([*cells.base(runs), *cells.controls(runs)], load)
    judge = lambda runs: claims.judge_all(runs, inside)
    return verdicts.asked(judge, ORDER)(name, runs, *expected)


@pytest.mark.parametrize("name", sorted({*ORDER} - {"percent", "time"}))
def test_a_claim_holds_as_published_and_is_open_while_runs_train(name):
    assert ask(name, good_runs(), True).seeds == 5
    going = {"until": 100, "state": "running", "reason": None}
    ask(name, base(None, **going) + by_decay() + without_decay(None, **going), None)


BAD = {
    "late": lambda: base(30),  # Soon after it memorized.
    "data": lambda: [*base(), *by_fraction(50, 100, 100)],
    "never": lambda: [*base(), *by_decay(), *without_decay(150)],
    "law": lambda: [*base(), *by_decay(0.3)],
    "time": lambda: [*base(), *by_decay(2.0)],
    "memorizes": lambda: [
        *base(memorized=60),
        *[run(s, 180, memorized=10, decay=0.3) for s in SEEDS],
        *[run(s, 180, memorized=150, decay=2.0) for s in SEEDS],
    ],
    "norm": lambda: base(norm=(14.0, 15.0, 16.0)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_claim_on_times_fails_on_runs_that_contradict_it(name):
    ask(name, BAD[name](), False)


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
    claim = ask("late", runs, holds)
    assert ("missing: a longer budget" in claim.measured) is (holds is None)


def test_a_run_that_failed_will_never_be_late():
    broken = {"state": "stopped", "reason": "nan", "snapshot_steps": (0, 10)}
    runs = [run(seed, None if seed else 100, **broken) for seed in SEEDS]
    ask("late", runs, False)


def test_a_norm_that_fluctuates_has_not_fallen():
    """From a plateau on it is below the largest value before, by how little."""
    rng, late = np.random.default_rng(0), base()
    for row in sum((one.metrics for one in late), []):
        level = np.interp(row["step"], (0, 60), (14.0, 17.0))
        row["model/weight_norm"] = float(level + 0.1 * rng.normal())
    runs = late + by_fraction(None, 150, 50)[:5]
    norms = [[row["model/weight_norm"] for row in one.metrics] for one in late]
    assert all(norm[12] < max(norm[:12]) for norm in norms)
    ask("norm", runs, False, "0 5 0 5")


def test_a_norm_that_falls_as_well_without_generalization_tells_nothing():
    late, falling = base(), (14.0, 17.0, 12.0)
    alike = [run(s, None, fraction=0.4, norm=falling) for s in SEEDS]
    ask("norm", [*late, *alike], False, "5 5 5 5")
    stay = [run(s, None, fraction=0.4) for s in SEEDS]
    ask("norm", [*late, *stay], True)
    ask("norm", [*late, *stay[:2], *alike[2:]], None, "", "more runs")


def test_the_norm_of_late_runs_is_told_from_that_of_others():
    ask("norm", base(), None, "", "one that memorizes only")
    soon = [run(s, 30, fraction=0.8, norm=(14.0, 15.0, 16.0)) for s in SEEDS]
    ask("norm", [*base(), *soon], None, "5 5 0 0")


@pytest.mark.parametrize(
    ("name", "low", "high", "holds"),
    [
        ("law", 0.6, 1.8, True),  # Of the time, inverse to decay.
        ("law", 0.23, 2.1, None),  # Of the root as well as the square.
        ("law", 0.4, 1.2, None),
        ("law", 0.9, 2.0, None),
        ("law", -1.0, 3.0, None),
        ("law", 1.2, 1.8, False),
        ("law", 0.0, 0.9, False),
        ("time", 0.7, 0.78, True),
        ("time", 0.78, 0.9, True),
        ("time", 0.4, 0.78, None),
        ("time", 0.78, 1.0, None),
        ("time", 0.4, 1.2, None),
        ("time", 0.6, 0.72, False),
        ("time", 0.8, 1.2, False),
        ("memorizes", -0.2, 0.25, True),
        ("memorizes", -0.3, 0.1, None),
        ("memorizes", 0.05, 0.4, None),
        ("memorizes", 0.3, 0.5, False),
        ("memorizes", -0.9, -0.3, False),
    ],
)
def test_a_time_depends_on_decay_within_bounds(monkeypatch, name, low, high, holds):
    law = laws.PowerLaw((low + high) / 2, low, high, 100.0, 15, 0)
    monkeypatch.setattr(laws, "fit_power", lambda *_: law)
    missing = "a narrower interval" if holds is None else ""
    ask(name, [*base(), *by_decay()], holds, "", missing)


@pytest.mark.parametrize(("name", "exponent"), [("law", 1), ("memorizes", 0)])
def test_a_seed_stands_at_every_decay_as_one(name, exponent):
    """Some seeds are two to five times as late as others, at every decay alike."""
    decays, first = (0.75, 1.0, 1.5), (60, 90, 120, 150, 90)
    outliers = {(1, 1.0), (2, 0.75), (3, 1.5)}
    if name == "memorizes":
        first = (40, 80, 120, 160, 200)
    runs = []
    for decay, s in itertools.product(decays, SEEDS):
        at = round(first[s] * decay**-exponent)  # It completes 20 later, as memorizing
        at -= 20 * (name == "memorizes")  # takes 20,
        at += 10 * ((s, decay) in outliers)  # or at the next evaluation.
        memorized = {"law": 10, "memorizes": at}[name]
        kept = {"snapshot_steps": (0, 10)} if decay == 1 else {}
        runs.append(run(s, at, memorized=memorized, decay=decay, **kept))
    ask(name, runs, True)


@pytest.mark.parametrize(
    ("name", "measures"),
    [
        ("first", {"restricted": 130}),
        ("first", {"restricted": 999}),  # Never.
        ("excluded", {"excluded": (3.0, 1.0)}),
        ("few", {"gini": (0.6, 0.2)}),
        ("few", {"without": STILL | {"gini": (0.2, 0.7)}}),  # Without decay more.
        ("heads", {"heads": (0.4, 0.9)}),
        ("entropies", {"entropies": (0.5, 0.1)}),
        ("enough", {"ends": (3.0, 4.0)}),
        ("needed", {"ends": (0.1, 0.2)}),
    ],
)
def test_a_claim_on_frequencies_fails_on_measures_that_contradict_it(name, measures):
    ask(name, good_runs(), False, **measures)


@pytest.mark.parametrize(
    ("name", "measures"),
    [
        ("first", {"restricted": 110}),  # At one snapshot.
        ("excluded", {"excluded": (2.0, 2.1)}),
        ("few", {"gini": (0.2, 0.24)}),
        ("few", {"without": STILL | {"gini": (0.2, 0.6)}}),
    ],
)
def test_what_differs_by_too_little_to_tell_is_open(name, measures):
    ask(name, good_runs(), None, "0 5 5", "a clear difference in 5 runs", **measures)


def test_a_control_must_be_measured_as_long():
    for without in (None, STILL | {"last": 200}):
        ask("few", good_runs(), None, "", "and their controls of 5", without=without)


def test_measures_that_are_not_stored_are_missed():
    found = claims.judge_all(good_runs(), [])
    assert [claim.holds for claim in found[-7:]] == [None] * 7
    assert "the stored progress measures of 5 runs" in found[-1].measured


def ask_needed(members, *expected, **measures):
    """Checks what frequencies claim of the network when only these are measured."""
    inside = cells.followed(members, lambda *_: progress(**measures))
    judge = lambda runs: frequencies.judge_all(runs, inside)
    return verdicts.asked(judge, ORDER[-7:])("needed", base(), *expected)


def test_runs_that_are_not_measured_are_counted():
    three = base()[:3]
    ask_needed(three, True, "3 5")
    ask_needed(three, False, ends=(0.1, 0.2))
    ask_needed(base()[:2], None, "2 5", "the stored progress measures")
    assert "measured" not in ask_needed(base(), True).measured


@pytest.mark.parametrize("over", [1, 2, 3])
def test_runs_that_still_train_are_waited_for_unless_they_cannot_matter(over):
    """Also those that have generalized and whose measures are stored already."""
    going = {"until": 200, "state": "running", "reason": None}
    options = [{} if seed < over else going for seed in SEEDS]
    runs = [run(s, 100, snapshot_steps=(0, 10), **options[s]) for s in SEEDS]
    decided = over == 3
    bad = {"ends": (0.1, 0.2), "excluded": (3.0, 1.0)}
    ask("needed", runs, True if decided else None)
    ask("excluded", runs, False if decided else None, **bad)
    waits = "" if decided else f"the end of {5 - over} runs"
    ask("needed", runs, False if decided else None, "", waits, **bad)


def test_one_snapshot_does_not_make_the_excluded_loss_rise():
    falls, rises = {"excluded": (3.0, 1.0)}, {"excluded": (1.0, 3.0)}
    ask("excluded", base(), False, "2.75 1.5", spikes=(120,), **falls)
    ask("excluded", base(), True, spikes=(40,), **rises)


def test_too_few_snapshots_say_nothing_of_the_excluded_loss():
    runs = base(90)  # 40 to 110, of which every 10th is kept
    ask("excluded", runs, None, "0 5", "with 9 snapshots between of 5 runs")


def test_too_wide_an_interval_decides_nothing():
    rng = np.random.default_rng(0)
    runs = base(memorized=10)
    for decay in (0.9, 1.1):
        runs += [
            run(s, int(rng.integers(3, 18)) * 10, decay=decay, memorized=10)
            for s in SEEDS
        ]
    ask("law", runs, None, "", "narrower interval")


def test_censored_runs_are_counted_and_not_dropped():
    """Two of the slow cell never arrive: the law is as before, and says so."""
    soon, slow = {"memorized": 10}, (120, 140, 160, None, None)
    runs = [run(s, at, decay=0.6, **soon) for s, at in enumerate(slow)]
    runs += [run(s, 80 + 10 * s, snapshot_steps=(0, 10), **soon) for s in SEEDS]
    runs += [run(s, 30 + 10 * s, decay=2.0, **soon) for s in SEEDS]
    claim = ask("law", runs, True, "2 15")
    assert "0.6: 160 (3/5)" in claim.measured


def test_a_median_that_a_lost_run_could_move_is_not_known():
    """Of 60, 110 and one that is gone the median lies anywhere between the two."""
    for others, said in (((40, 90), "not known yet (2/3)"), ((40, 40), "60 (2/3)")):
        runs = [run(s, at, snapshot_steps=(0, 10)) for s, at in enumerate(others)]
        runs.append(fake_runs.lost(run(2, 40, snapshot_steps=(0, 10))))
        assert f"1: {said}" in ask("time", runs, None).measured
        notes = [text.get_text() for text in study.figures(runs)["data_fraction"].texts]
        assert any(note.startswith("1 of 3 runs are not over, or") for note in notes)


def test_without_decay_the_budget_must_be_ten_times_what_it_takes_with_it():
    ask("never", [*base(None), *without_decay()], None, "", "runs with decay that")
    short = [*base(), *without_decay(budget=1_190)]
    ask("never", short, None, "0 5 1.19k 0 120", "a budget of 1.2k updates")
    runs = [*base(), *without_decay(memorized=None)]
    ask("never", runs, None, "", "runs without decay that memorize")


def test_a_run_that_generalizes_at_once_is_no_counterexample_to_never():
    at_once = without_decay(10)
    ask("never", [*base(), *at_once], None, "0 0 1.2k 5", "that memorize first")
    ask("never", [*base(), at_once[0], *without_decay()[1:]], True, "0 4 1.2k 1")
    ask("never", [*base(), *without_decay()[1:], *without_decay(30)[:1]], False, "1 5")


@pytest.mark.parametrize(
    ("slow", "holds", "said"),
    [
        ((110,) * 5, True, "5 5 0 0 0.45"),  # 130 updates after 20: 45 % for each.
        ((70,) * 5, False, "0 5 5 0 0.35"),
        ((None,) * 5, False, "0 5 0 5"),  # Beyond 230, which is 63 % for each.
        ((70, 70, 110, 110, None), None, "2 5 2 1"),
        ((70, 110, 110, 110, None), True, "3 5 1 1"),
    ],
)
def test_a_percent_of_the_pairs_counts(slow, holds, said):
    fast = [run(s, 10, fraction=0.3, snapshot_steps=(0, 10)) for s in SEEDS]
    runs = fast + [run(s, at, fraction=0.25) for s, at in enumerate(slow)]
    ask("percent", runs, holds, said, "" if holds is not None else "pairs of which")
    ask("percent", fast, None)


def test_the_law_is_of_decays_at_which_runs_are_late():
    """At decay 4 all arrive with memorization, as no law of the delay has it."""
    runs = [*base(), *by_decay(), *[run(s, 20, decay=4.0) for s in SEEDS]]
    assert set(cells.delayed(cells.by_decay(runs))) == {0.5, 1.0, 4 / 3}
    assert "over all decays: " in ask("law", runs, True).measured
    two = [*base(), *runs[5:10], *[run(s, 20, decay=4.0) for s in SEEDS]]
    ask("law", two, None, "", "three weight decays at which most runs are late")


@pytest.mark.parametrize("preset", study.SWEEPS)
def test_a_sweep_is_valid_and_has_its_cells(preset):
    trials = study.sweep(preset)
    config = configs.load(f"{ROOT}/{study.CONFIG}:{preset}")
    resolved = [configs.override(config, trial) for trial in trials]
    followed = [c for c in resolved if c.snapshot_steps and c.optimizer.weight_decay]
    assert all(not config.stop_after_phases for config in followed)
    assert 0 in followed[0].snapshot_steps
    assert followed[0].snapshot_steps[-1] == followed[0].num_steps
    flat = lambda c: (c.optimizer.weight_decay, c.task.kwargs.train_fraction)
    first = flat(followed[0])
    for config in resolved:
        if not config.snapshot_steps:
            assert config.recurrence.num_loops == 1
            assert sum(a != b for a, b in zip(flat(config), first, strict=True)) == 1


def test_cells_are_those_that_differ_in_one_number():
    runs = good_runs() + base(loops=2)
    assert set(cells.by_decay(runs)) == {0.0, 0.5, 1.0, 4 / 3}
    assert set(cells.by_fraction(runs)) == {0.4, 0.5, 0.6, 0.8}
    assert all(len(members) == 5 for members in cells.by_decay(runs).values())
    assert len(cells.base(runs)) == len(cells.base(runs, 2)) == 5


def test_the_table_has_a_row_for_each_cell():
    columns = verdicts.columns(study.table([*good_runs(), *base(loops=2)]))
    assert columns["R"] == ["1"] * 7 + ["2"]
    row = columns["decay"].index("0")
    assert columns["generalized"][row] == "> 230 0/5"
    assert columns["memorized"][row] == "40 5/5"


def test_the_figures_show_every_run(monkeypatch):
    followed = lambda runs, of=cells.followed: of(runs, lambda *_: progress())
    monkeypatch.setattr(cells, "followed", followed)
    runs = [*good_runs(), *base(loops=2)]
    found = study.figures(runs)
    assert set(found) == {"accuracy", "data_fraction", "weight_decay", "progress"}
    for name, count in (("data_fraction", 4), ("weight_decay", 3)):
        (panel,) = found[name].axes
        drawn = [line for line in panel.lines if line.get_marker() in ("o", "^")]
        assert sum(line.get_xdata().size for line in drawn) == 2 * count * 5
    assert len([line for line in panel.lines if line.get_linestyle() == "--"]) == 1
    texts = " ".join(text.get_text() for text in found["weight_decay"].texts)
    assert "At weight decay 0, not on this axis, 0 of 5 runs generalize" in texts
    panels = found["progress"].axes
    assert len(panels) == 4 * 2
    assert len([t for t in panels[4].texts if t.get_text().startswith("k = ")]) == 1


def test_there_is_nothing_to_draw_without_the_base_cell():
    with pytest.raises(ValueError, match="No run of the base cell yet"):
        study.figures(by_decay())
