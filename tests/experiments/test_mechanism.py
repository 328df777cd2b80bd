"""The study of mechanism, on stored analyses that are made up."""

import itertools

import numpy as np
import pytest

from experiments.mechanism import study
from rdt_jax import config as configs
from rdt_jax.analysis import stages
from tests import fake_runs
from tests.experiments import verdicts
from tests.fake_inside import (
    FIRST,
    OOD,
    TRAIN,
    binding_of,
    geometry_of,
    lens_of,
    patching_of,
)

MEMORIZED, GENERALIZED = "memorized-after-20", "id_generalized-after-40"
PASSED, FINAL = "ood_generalized-after-90", "final"

# The claims, in their order.
(WITHOUT_BRIDGE, BRIDGE_FIRST, IN_FIRST_LOOP, LATER, NO_TARGET, FIRST_LOOP, GROWS,
 IN_TURN, ALIGNS) = range(9)  # fmt: skip
# Those about looped models that combine OOD facts.
COMBINING = (BRIDGE_FIRST, IN_FIRST_LOOP, LATER, FIRST_LOOP, IN_TURN, ALIGNS)

ask = verdicts.asked(study.claims, range(9))


LOW, HIGH = 5 * [0.02], [0.02, 0.6, 0.9, 0.9, 0.9]
LATE = [0.02, 0.02, 0.1, 0.9, 0.9]


def looped_model():
    """Checkpoint -> what -> result, as published, in two loops of two blocks."""
    attention = binding_of([0.9, 0.2, 0.2, 0.2], [0.2, 0.2, 0.9, 0.2])
    causal = patching_of([0, 0.8, 0.9, 0.1])
    early = {
        "lens": lens_of({TRAIN: LOW, OOD: LOW}, {TRAIN: LATE, OOD: LOW}),
        "patching": patching_of([0, 0.2, 0.3, 0.1], rows=(50, 0, 0)),
        "binding": attention,
        "geometry": geometry_of(5 * [0.1]),
    }
    middle = early | {
        "lens": lens_of({TRAIN: HIGH, OOD: LOW}, {TRAIN: LATE, OOD: LOW}),
        "patching": patching_of([0, 0.8, 0.9, 0.1], rows=(50, 50, 0)),
    }
    late = {
        "lens": lens_of({TRAIN: HIGH, OOD: HIGH}, {TRAIN: LATE, OOD: LATE}),
        "patching": causal,
        "binding": attention,
        "geometry": geometry_of([0.1, 0.4, 0.6, 0.6, 0.6]),
    }
    return {MEMORIZED: early, GENERALIZED: middle, PASSED: late, FINAL: late}


def vanilla_model():
    """Four blocks without a loop: the OOD bridge comes last, the OOD target never."""
    found = looped_model()
    found[FINAL] = found[GENERALIZED] | {
        "lens": lens_of(
            {TRAIN: HIGH, OOD: [0.02, 0.02, 0.1, 0.2, 0.6]},
            {TRAIN: LATE, OOD: LOW},
            loops=1,
        ),
        "geometry": geometry_of([0.1, 0.1, 0.1, 0.2, 0.2], loops=1),
    }
    del found[PASSED]
    return found


class World:
    """Runs of both models, two of each, whose stored analyses can be changed."""

    def __init__(self):
        self.runs, self.analyses = [], {}
        for (loops, blocks), seed in itertools.product(((2, 2), (1, 4)), (0, 1)):
            run = fake_runs.make(
                jumps={"train": 20, "id": 40, "ood": 80 if loops == 2 else None},
                loops=loops,
                seed=seed,
                model__core_blocks=blocks,
                task__kwargs__answer_at="pad",
            )
            self.runs.append(run)
            self.analyses[run.run_id] = (looped_model, vanilla_model)[loops == 1]()

    def stored(self, index):
        return self.analyses[self.runs[index].run_id]

    def store(self, index, checkpoint, what):
        self.stored(index)[checkpoint] |= what

    def clear(self, *indices):
        for index in indices:
            for kept in self.stored(index).values():
                kept.clear()

    def train(self, *indices):
        for index in indices:
            self.runs[index].status["state"] = "running"

    def forget(self, index, event):
        """Takes an event out of a run, which then never came to it."""
        events = self.runs[index].events
        events[:] = [row for row in events if row["event"] != event]

    def of_kind(self, run, kind):
        names = self.analyses[run.run_id]
        return [n for n in names if kind in (n, n.rpartition("-")[0])]

    def load(self, run, what, checkpoint):
        return self.analyses[run.run_id][checkpoint].get(what)

    def ask(self, claim, *expected):
        return ask(claim, self.runs, *expected)


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(stages.stored, "of_kind", made.of_kind)
    monkeypatch.setattr(stages.stored, "load", made.load)
    return made


@pytest.mark.parametrize("preset", study.SWEEPS)
def test_a_control_is_as_deep_as_a_looped_model(root, preset):
    base = configs.load(f"{root / study.CONFIG}:{preset}")
    trials = [configs.override(base, trial) for trial in study.sweep(preset)]
    depths = {t.recurrence.num_loops * t.model.core_blocks for t in trials}
    controls = {t.model.core_blocks for t in trials if t.recurrence.num_loops == 1}
    assert controls & {4, 8} and controls & depths


def test_where_it_is_as_published_every_claim_holds(world):
    numbers = {BRIDGE_FIRST: "1 3", LATER: "1 4"}
    for claim in range(9):
        assert world.ask(claim, True, numbers.get(claim, "")).seeds == 2


def with_lens(bridge, target, loops=2):
    return {"lens": lens_of(bridge, target, loops)}


# Claim, whose run (its index), the checkpoint, and what is stored there instead.
BREAKING = [
    (WITHOUT_BRIDGE, 0, MEMORIZED, with_lens({TRAIN: HIGH}, {TRAIN: LATE})),
    (WITHOUT_BRIDGE, 1, MEMORIZED, with_lens({TRAIN: LOW}, {TRAIN: LOW})),
    (BRIDGE_FIRST, 0, PASSED, with_lens({OOD: LATE}, {OOD: LATE})),
    (BRIDGE_FIRST, 1, PASSED, with_lens({OOD: LOW}, {OOD: LATE})),
    # A target that is never decodable comes after nothing.
    (BRIDGE_FIRST, 0, PASSED, with_lens({OOD: HIGH}, {OOD: LOW})),
    (IN_FIRST_LOOP, 1, PASSED, with_lens({OOD: LATE}, {OOD: [0, 0, 0, 0, 0.9]})),
    (NO_TARGET, 2, FINAL, with_lens({OOD: LOW}, {OOD: [0, 0, 0, 0.2, 0]}, 1)),
    (FIRST_LOOP, 0, PASSED, {"patching": patching_of([0, 0.8, 0.9, 0.7])}),
    (FIRST_LOOP, 1, PASSED, {"patching": patching_of([0.9, 0.2, 0.3, 0.1])}),
    (IN_TURN, 0, PASSED, {"binding": binding_of(4 * [0.3], 4 * [0.9])}),
    # r1 sees h and itself: that is not attending to h.
    (IN_TURN, 1, PASSED, {"binding": binding_of(4 * [0.6], 4 * [0.9])}),
    (IN_TURN, 0, PASSED, {"binding": binding_of(4 * [0.9], 4 * [0.6])}),
    (IN_TURN, 1, PASSED, {"binding": binding_of(4 * [0.9], [0.9, 0.9, 0.2, 0.2])}),
    (ALIGNS, 0, PASSED, {"geometry": geometry_of(5 * [0.05])}),
]


@pytest.mark.parametrize(("claim", "index", "checkpoint", "instead"), BREAKING)
def test_one_run_that_differs_breaks_a_claim(world, claim, index, checkpoint, instead):
    world.store(index, checkpoint, instead)
    world.ask(claim, False)
    if index == 1:  # It waits for no other.
        world.clear(0)
        assert "measured" in world.ask(claim, False, "1 2").measured


def test_a_claim_about_medians_is_broken_by_all_runs(world):
    for index in (2, 3):
        world.store(index, FINAL, with_lens({OOD: HIGH}, {OOD: LOW}, 1))
        world.store(index, FINAL, {"geometry": geometry_of(5 * [0.9], 1)})
    for index in range(4):
        world.store(index, GENERALIZED, {"patching": patching_of(4 * [0.05])})
    for claim in (LATER, ALIGNS, GROWS):
        world.ask(claim, False)


def test_what_no_run_decides_is_not_tested(world):
    for claim in range(9):  # Without a control, and controls alone.
        known = claim not in (LATER, ALIGNS, NO_TARGET)
        ask(claim, world.runs[:2], True if known else None)
        ask(claim, world.runs[2:], True if claim in (NO_TARGET, GROWS) else None)
    world.clear(*range(4))
    for claim in range(9):
        world.ask(claim, None)


def test_looped_runs_that_never_combine_are_not_what_is_asked_about(world):
    for index in (0, 1):
        world.forget(index, "ood_generalized")
        del world.stored(index)[PASSED]
    for claim in COMBINING:
        both = claim in (LATER, ALIGNS)
        found = world.ask(claim, None, "", "" if both else "run that completes OOD.")
        assert "runs measured" not in found.measured


@pytest.mark.parametrize("claim", [WITHOUT_BRIDGE, *COMBINING, GROWS])
def test_a_looped_run_without_its_analysis_is_counted_and_waited_for(world, claim):
    world.clear(0)
    count = "3 4" if claim in (LATER, ALIGNS, GROWS) else "1 2"
    world.ask(claim, None, count, " of 1 run")


@pytest.mark.parametrize("claim", COMBINING)
def test_a_looped_run_that_still_trains_is_waited_for(world, claim):
    world.forget(0, "ood_generalized")
    world.train(0)
    del world.stored(0)[PASSED], world.stored(0)[FINAL]
    world.ask(claim, None, "", "the end of 1 run")
    # It has come to what the others are asked about.
    assert "measured" not in world.ask(WITHOUT_BRIDGE, True).measured


def test_a_median_waits_for_runs_that_may_move_it_only(world):
    world.train(3)
    world.store(2, FINAL, with_lens({OOD: HIGH}, {OOD: LOW}, 1))
    world.ask(LATER, None)  # It may come at none.
    for index in (0, 1):
        world.store(index, PASSED, with_lens({OOD: LOW}, {OOD: LATE}))
    world.ask(LATER, False)  # At none, with loops.
    world.store(2, FINAL, {"geometry": geometry_of(5 * [0.9], 1)})
    world.ask(ALIGNS, None, "", "1 run without loops")
    world.store(0, PASSED, {"geometry": geometry_of(5 * [0.05])})
    world.ask(ALIGNS, False)  # One falls.


def test_controls_alone_decide_no_comparison(world):
    world.train(0, 1)
    for looped, control in ((0, 2), (1, 3)):
        world.forget(looped, "ood_generalized")
        world.store(control, FINAL, with_lens({OOD: 5 * [0.9]}, {OOD: LOW}, 1))
    world.ask(LATER, None, "", "the end of 2 runs with loops.")


def test_a_model_of_another_depth_is_not_waited_for(world):
    other = fake_runs.make(
        jumps={"train": 20, "id": 40, "ood": None},
        loops=1,
        until=50,
        state="running",
        model__core_blocks=8,
    )
    world.runs.append(other)
    world.analyses[other.run_id] = {}
    assert "measured" not in world.ask(LATER, True).measured
    world.ask(NO_TARGET, None)


def test_patching_says_what_it_lacks(world):
    without = {"patching": patching_of([0, 0.8, 0.9, 0.1], rows=(50, 50, 0))}
    world.store(0, PASSED, without)
    found = world.ask(FIRST_LOOP, True, "1")
    assert "; 1 run without a question that counts" in found.measured
    world.store(1, PASSED, without)
    world.ask(FIRST_LOOP, None, "", "questions that count")
    for run in world.runs[:2]:
        run.config.model.core_blocks = 1
    world.ask(FIRST_LOOP, None, "", "of two or more blocks")


def test_where_facts_are_answered_at_r1_they_alone_bring_the_bridge_there(world):
    for run in world.runs:
        run.config.task.kwargs.answer_at = "last"
    world.ask(WITHOUT_BRIDGE, None, "", "task.kwargs.answer_at")
    for claim in range(WITHOUT_BRIDGE + 1, 9):
        world.ask(claim, True)


def test_an_unfinished_control_decides_nothing(world):
    world.train(2, 3)
    world.ask(NO_TARGET, None, "", "the end of 2 runs")
    world.ask(LATER, None)
    for index in (2, 3):  # Over, but without having learned ID.
        world.runs[index].status["state"] = "done"
        world.forget(index, "id_generalized")
        del world.stored(index)[GENERALIZED]
    world.ask(NO_TARGET, None)
    world.ask(LATER, None)


def test_a_run_that_generalized_before_it_memorized_says_nothing_of_growth(world):
    for index, run in enumerate(world.runs):
        for row in run.events:
            if row["event"] == "memorized":
                row["step"] = 80
        kept = world.stored(index)
        kept["memorized-after-80"] = kept.pop(MEMORIZED)
    world.ask(GROWS, None, "", "runs that memorize before")


def ask_growth(world, pairs, *expected):
    """Asks whether the cause grows, of runs that begin and end at given effects."""
    for index, effects in enumerate(pairs):
        for checkpoint, effect in zip((MEMORIZED, GENERALIZED), effects, strict=True):
            world.store(index, checkpoint, {"patching": patching_of([0, effect, 0, 0])})
    return world.ask(GROWS, *expected)


@pytest.mark.parametrize(
    ("pairs", "holds"),
    [
        (4 * [(0.4, 0.8)], True),
        (4 * [(0.4, 0.45)], False),  # Less than counts as growth.
        (4 * [(0.97, 0.98)], None),  # At the ceiling.
        (3 * [(0.97, 0.98)] + [(0.4, 0.8)], True),
        (3 * [(0.97, 0.98)] + [(0.4, 0.41)], False),
        (3 * [(0.4, 0.8)] + [(0.8, 0.4)], True),
    ],
)
def test_a_cause_grows_by_some_and_from_below_the_ceiling(world, pairs, holds):
    missing = "below 0.9" if holds is None else ""
    found = ask_growth(world, pairs, holds, "", missing)
    full = sum(before > 0.9 for before, _ in pairs)
    assert ("; 3 with 0.9 or more" in found.measured) is (full == 3)


def test_growth_waits_for_what_may_still_memorize_first(world):
    world.train(0)
    world.forget(0, "id_generalized")
    ask_growth(world, 4 * [(0.4, 0.8)], None, "3 4", "the end of 1 run")
    world.forget(0, "memorized")
    ask_growth(world, 4 * [(0.4, 0.8)], None, "", "the end of 1 run")
    ask_growth(world, 4 * [(0.4, 0.41)], False)


def test_growth_is_not_read_off_patching_without_questions(world):
    empty = {"patching": patching_of([0, 0.2, 0.3, 0.1], rows=(0, 0, 0))}
    for index in (1, 2, 3):
        world.store(index, MEMORIZED, empty)
    found = world.ask(GROWS, True, "3")
    assert "; 3 runs without a question that counts" in found.measured


def test_the_figures_draw_what_is_stored(world):
    figures = study.figures(world.runs)
    assert list(figures) == ["lens", "patching", "attention", "geometry"]
    panels = figures["lens"].axes
    assert len(panels) == 6
    assert [p.get_title() for p in panels[:3]] == list(stages.NAMES.values())
    drawn = [line.get_ydata() for line in panels[2].lines]
    for expected in (HIGH, LATE):
        assert any(np.array_equal(values, expected) for values in drawn)
    rows = [text for panel in panels for text in verdicts.texts(panel)]
    assert "2 x 2 blocks" in rows and "1 x 4 blocks" in rows and "n = 2" in rows
    maps = [axis for axis in figures["patching"].axes if axis.images]
    np.testing.assert_array_equal(
        maps[-1].images[0].get_array()[FIRST], [0, 0.8, 0.9, 0.1]
    )
    for index in (2, 3):
        world.stored(index).clear()
    figures = study.figures(world.runs)
    for figure in figures.values():
        texts = sum(map(verdicts.texts, figure.axes), [])
        assert texts.count("no run with this analysis") == 3
    figures["patching"].draw_without_rendering()
    with pytest.raises(ValueError, match="at least one run, got no run"):
        study.figures([])


def test_the_table_has_a_row_per_model_and_stage(world):
    text = verdicts.printed(study.table(world.runs))
    assert "2 x 2 blocks" in text and "1 x 4 blocks" in text
    (line,) = [
        row for row in text.splitlines() if "OOD" in row and "0.90       0.90" in row
    ]
    assert line.split()[-5:] == ["2", "0.90", "0.90", "0.90", "0.60"]
    # Without a question that counts nothing is recovered.
    assert any(row.split()[-2:] == ["-", "0.10"] for row in text.splitlines())
